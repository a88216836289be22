//! Limits the memory of the process: returns memory to the system when clients have left, and adapts to a
//! limited address space.
//!
//! glibc returns freed memory only from the end of its heap. One small block that is still in use keeps all
//! free blocks before it in memory: after 5,000 clients had sent 16 KiB each and left, 100 to 400 MiB
//! stayed in use. `malloc_trim(3)` also returns the free pages in between. Other allocators (jemalloc,
//! mimalloc) do that on their own, but need more memory for each thread than a client needs.

use std::sync::atomic::{AtomicUsize, Ordering};

use tincanchat::{MAX_REFUSING, STACK_SIZE};
use tracing::warn;

/// The smallest number of clients for which the heap is trimmed when half of them have left: with fewer, a
/// trim would not return much memory.
const MIN_PEAK: usize = 32;

/// The address space for one stack, in bytes: the stack, its guard page, the alternate stack on which Rust
/// handles an overflow, and the thread's share of the heap.
const SPACE_FOR_STACK: usize = STACK_SIZE + 64 * 1024;

/// Counts clients, and trims the heap each time half of them have left.
///
/// So the memory of the clients that have left is never much more than the memory of the clients that have
/// stayed, and trims, which take time, are rare.
#[derive(Debug, Default)]
pub(crate) struct ClientCount {
    now: AtomicUsize,
    /// The highest number since the heap was last trimmed.
    peak: AtomicUsize,
    never_trims: bool,
}

impl ClientCount {
    /// Returns a count that never trims the heap: for clients that are refused. They leave little memory
    /// behind, and anyone who connects could cause one trim after the other.
    pub(crate) fn without_trim() -> Self {
        ClientCount { never_trims: true, ..Self::default() }
    }

    pub(crate) fn get(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
    }

    pub(crate) fn remove(&self) {
        if self.remove_and_check_half() && !self.never_trims {
            trim_heap();
        }
    }

    /// Removes a client; reports whether half of the peak number have now left.
    fn remove_and_check_half(&self) -> bool {
        let now = self.now.fetch_sub(1, Ordering::SeqCst) - 1;
        let peak = self.peak.load(Ordering::SeqCst);
        if peak < MIN_PEAK || now > peak / 2 {
            return false;
        }
        // Several threads may get here at the same time. Only one of them changes the peak.
        self.peak.compare_exchange(peak, now, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Returns the free pages of glibc's heaps to the system. The allocators of other systems do that on their
/// own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // No crate offers this call in safe code.
fn trim_heap() {
    // SAFETY: malloc_trim(3) takes a number and no pointer, may be called by any thread at any time
    // (it is "MT-Safe"), and changes nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim_heap() {}

/// Lowers the number of clients to the number for which the address space has room, if the address space is
/// limited (`RLIMIT_AS` in getrlimit(2)).
///
/// A quarter of the free address space is kept for everything except stacks: if the heap cannot grow, Rust
/// aborts the process.
pub(crate) fn limit_by_address_space(limit: usize, stacks_each: usize) -> usize {
    if stacks_each == 0 {
        return limit;
    }
    let Some(free) = free_address_space() else {
        return limit;
    };
    // The threads that refuse clients have stacks too.
    let stacks = (free / 4 * 3 / SPACE_FOR_STACK).saturating_sub(MAX_REFUSING);
    let room = (stacks / stacks_each).max(1);
    if limit > room {
        let free = free / 1024 / 1024;
        let stack = SPACE_FOR_STACK / 1024;
        warn!(
            "at most {room} clients, not {limit}: each takes {stacks_each} stacks of {stack} KiB, and {free} MiB of \
             address space are free, of which three quarters are for stacks"
        );
    }
    limit.min(room)
}

/// Returns how many more bytes of address space the process may use; `None` if there is no limit.
#[cfg(unix)]
fn free_address_space() -> Option<usize> {
    let (limit, _) = rlimit::Resource::AS.get().ok()?;
    let limit = usize::try_from(limit).ok().filter(|_| limit != rlimit::INFINITY)?;
    // On a system without this file, no address space counts as used.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let size = size.and_then(|kib| kib.trim_end_matches("kB").trim().parse::<usize>().ok());
    Some(limit.saturating_sub(size.unwrap_or_default() * 1024))
}

#[cfg(not(unix))]
fn free_address_space() -> Option<usize> {
    None
}

/// Makes all threads share the first heap if the address space is limited. Must be called while there is
/// only one thread.
///
/// By default, each of the first threads gets a heap of its own from glibc, and each heap reserves 64 MiB
/// of address space, most of which it does not use.
pub(crate) fn share_one_heap_if_limited() {
    if free_address_space().is_some() {
        share_one_heap();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // No crate offers this call in safe code.
fn share_one_heap() {
    // SAFETY: mallopt(3) takes numbers and no pointer, may be called by any thread, and has an effect only
    // on heaps that are made later.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn share_one_heap() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_trimmed_each_time_half_have_left() {
        let count = ClientCount::default();
        (0..1000).for_each(|_| count.add());
        let left: Vec<_> = (0..1000).map(|_| count.remove_and_check_half()).collect();
        let at: Vec<_> = (0..1000).filter(|&i| left[i]).map(|i| 999 - i).collect();
        assert_eq!(at, [500, 250, 125, 62, 31]);
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn the_heap_is_not_trimmed_for_a_few_clients() {
        let count = ClientCount::default();
        for _ in 0..1000 {
            (0..MIN_PEAK - 1).for_each(|_| count.add());
            (0..MIN_PEAK - 1).for_each(|_| assert!(!count.remove_and_check_half()));
        }
    }
}
