//! Keeps the heap small: gives memory back when many clients have left, and stays within a limited
//! address space.
//!
//! glibc returns freed memory only from the end of its heap, so one small block that is still in use
//! keeps all the free ones below it resident: 5,000 clients that had sent 16 KiB each left 100 to 400
//! MiB behind. `malloc_trim(3)` returns the free pages in the middle, too. Other allocators (jemalloc,
//! mimalloc) return them by themselves, but need more memory for each thread than a client does.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use crate::{AT_THE_DOOR, STACK_SIZE};

/// The number of clients from which a crowd counts; fewer leave too little behind to be worth a trim.
const CROWD: usize = 32;

/// The address space that a stack takes, in bytes: with its guard page, the stack on which an overflow
/// is handled, and the heap of the thread that has it.
const SPACE_FOR_STACK: usize = STACK_SIZE + 64 * 1024;

/// Counts clients, and gives memory back whenever half of the peak number have left.
///
/// So the memory of clients that have left is never much more than that of those who have stayed,
/// and enough clients have left each time to make the trim worth its cost.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    now: AtomicUsize,
    /// The most since memory was last given back.
    most: AtomicUsize,
    /// Whether they leave no memory behind, as those do that were refused.
    is_light: bool,
}

impl Crowd {
    /// Counts, and never trims the heap: strangers that are refused could make that happen all the time.
    pub(super) fn light() -> Self {
        Crowd { is_light: true, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(super) fn add(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    pub(super) fn remove(&self) {
        if self.is_half_gone_without_one() && !self.is_light {
            give_back();
        }
    }

    /// Removes a client; reports whether it was the one with which half of a crowd has left.
    fn is_half_gone_without_one(&self) -> bool {
        let now = self.now.fetch_sub(1, Ordering::SeqCst) - 1;
        let most = self.most.load(Ordering::SeqCst);
        most >= CROWD
            && now <= most / 2
            // Of several threads that find the same, one does it.
            && self.most.compare_exchange(most, now, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Returns the free pages of glibc's heaps to the system. Other systems' allocators do it themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // No crate offers this call in safe code.
fn give_back() {
    // SAFETY: malloc_trim(3) takes a number and no pointer, may be called by any thread at any time
    // (it is "MT-Safe"), and changes nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

/// Lowers the number of clients to that for which the address space has room, if the process may have
/// only so much of it (`RLIMIT_AS` in getrlimit(2)).
///
/// A quarter of the free address space is kept for everything else: where the heap cannot grow, Rust aborts the process.
pub(super) fn limit_by_address_space(limit: usize, stacks_each: usize) -> usize {
    let Some(free) = free_address_space().filter(|_| stacks_each > 0) else { return limit };
    let stacks = (free / 4 * 3 / SPACE_FOR_STACK).saturating_sub(AT_THE_DOOR);
    let room = (stacks / stacks_each).max(1);
    if limit > room {
        let free = free / 1024 / 1024;
        let stack = SPACE_FOR_STACK / 1024;
        warn!(
            "at most {room} clients, not {limit}: each takes {stacks_each} stacks of {stack} KiB, and of the \
             {free} MiB of address space that are free, three quarters are for stacks"
        );
    }
    limit.min(room)
}

/// Returns how many bytes of address space the process may still take, if there is a limit.
#[cfg(unix)]
fn free_address_space() -> Option<usize> {
    let (limit, _) = rlimit::Resource::AS.get().ok()?;
    let limit = usize::try_from(limit).ok().filter(|_| limit != rlimit::INFINITY)?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let taken = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let taken = taken.and_then(|kib| kib.trim_end_matches("kB").trim().parse::<usize>().ok());
    Some(limit.saturating_sub(taken.unwrap_or_default() * 1024))
}

#[cfg(not(unix))]
fn free_address_space() -> Option<usize> {
    None
}

/// Lets all threads share the first heap where the address space is limited. To be called while there is
/// only one thread.
///
/// glibc gives the first threads a heap each, of 64 MiB of address space, which would leave none for what
/// is really used.
pub(super) fn share_one_heap_if_limited() {
    if free_address_space().is_some() {
        share_one_heap();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)] // No crate offers this call in safe code.
fn share_one_heap() {
    // SAFETY: mallopt(3) takes numbers and no pointer, may be called by any thread, and concerns only
    // heaps that have not been made yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn share_one_heap() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_each_time_half_have_left() {
        let crowd = Crowd::default();
        (0..1000).for_each(|_| crowd.add());
        let left: Vec<_> = (0..1000).map(|_| crowd.is_half_gone_without_one()).collect();
        let at: Vec<_> = (0..1000).filter(|&i| left[i]).map(|i| 999 - i).collect();
        assert_eq!(at, [500, 250, 125, 62, 31]);
        assert_eq!(crowd.len(), 0);
    }

    #[test]
    fn a_few_are_no_crowd() {
        let crowd = Crowd::default();
        for _ in 0..1000 {
            (0..CROWD - 1).for_each(|_| crowd.add());
            (0..CROWD - 1).for_each(|_| assert!(!crowd.is_half_gone_without_one()));
        }
    }
}
