//! Keeps samples: one lane over time for each thread.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::state::State;

/// A part of a lane in which the state did not change.
#[derive(Clone, Copy, Debug)]
struct Slice {
    from: Duration,
    to: Duration,
    cell: Cell,
}

/// The state of a thread in one part of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The state of the thread.
    pub state: State,
    /// Whether the thread ran in this part, too briefly to be seen running.
    pub ran_briefly: bool,
}

/// One thread, from the first sample of it to its end.
#[derive(Clone, Debug)]
pub struct Lane {
    key: u64,
    /// The thread's number, which for the first thread of a process is the number of the process.
    pub id: u32,
    /// The thread's name.
    pub name: String,
    /// The system call in which the thread is now or was last, and the object of the system call.
    pub detail: String,
    /// The address of the peer of the last connection that the thread was seen to read from or write to.
    pub peer: Option<String>,
    /// Whether the thread still exists.
    pub is_alive: bool,
    slices: Vec<Slice>,
}

/// All lanes, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    all: Vec<Lane>,
    next_key: u64,
    /// The time of the last sample.
    now: Duration,
    /// Old slices that are shorter than this are merged.
    min_slice: Duration,
    limit: usize,
}

/// The number of slices, some megabytes, above which old slices are merged.
const MAX_SLICES: usize = 100_000;

/// The number of lanes that are kept of threads that have ended.
const MAX_ENDED: usize = 1000;

/// The number of the oldest lanes, which are kept in any case.
const KEPT_FIRST: usize = 64;

/// The age up to which slices are not merged: a live view shows them.
const UNMERGED: Duration = Duration::from_secs(30);

impl Lanes {
    /// Starts a lane for a thread that did not exist at the last sample, and returns the key of the lane.
    pub(crate) fn add_lane(&mut self, id: u32) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        let (name, detail) = (String::new(), String::new());
        self.all.push(Lane {
            key,
            id,
            name,
            detail,
            peer: None,
            is_alive: true,
            slices: Vec::new(),
        });
        key
    }

    fn lane(&mut self, key: u64) -> Option<&mut Lane> {
        let at = self.all.binary_search_by_key(&key, |lane| lane.key).ok()?;
        self.all.get_mut(at)
    }

    /// Sets the name of a thread, and the details of its state.
    pub(crate) fn describe(&mut self, key: u64, name: &str, detail: String) {
        if let Some(lane) = self.lane(key) {
            if lane.name != name {
                name.clone_into(&mut lane.name);
            }
            lane.detail = detail;
        }
    }

    /// Sets the peer that a thread was seen to read from or write to.
    pub(crate) fn set_peer(&mut self, key: u64, peer: String) {
        if let Some(lane) = self.lane(key) {
            lane.peer = Some(peer);
        }
    }

    /// Adds a sample, taken at the time `at`. It counts for the time since the sample before.
    pub(crate) fn add(&mut self, key: u64, at: Duration, cell: Cell) {
        let from = self.now;
        if let Some(lane) = self.lane(key) {
            match lane.slices.last_mut() {
                Some(last) if last.to == from && last.cell == cell => last.to = at,
                _ => lane.slices.push(Slice { from, to: at, cell }),
            }
        }
    }

    /// Notes that a thread has ended.
    pub(crate) fn end(&mut self, key: u64) {
        if let Some(lane) = self.lane(key) {
            lane.is_alive = false;
        }
    }

    /// Ends a pass over all threads, and frees memory if there are too many lanes or slices.
    pub(crate) fn end_pass(&mut self, at: Duration) {
        self.now = at;
        let ended = self.all.iter().skip(KEPT_FIRST).filter(|lane| !lane.is_alive).count();
        if ended > MAX_ENDED {
            self.drop_ended(ended - MAX_ENDED / 2);
        }
        if self.all.iter().map(|lane| lane.slices.len()).sum::<usize>() > self.limit.max(MAX_SLICES)
        {
            self.merge();
        }
    }

    /// Drops the oldest lanes of threads that have ended, except for the first lanes.
    fn drop_ended(&mut self, mut count: usize) {
        let mut nth = 0;
        self.all.retain(|lane| {
            nth += 1;
            if nth <= KEPT_FIRST || lane.is_alive || count == 0 {
                return true;
            }
            count -= 1;
            false
        });
    }

    /// Doubles the time below which slices are merged, and merges the older slices of all lanes.
    fn merge(&mut self) {
        const FINEST: Duration = Duration::from_millis(50);
        self.min_slice = (self.min_slice * 2).max(FINEST);
        let (old, min_slice) = (self.now.saturating_sub(UNMERGED), self.min_slice);
        for lane in &mut self.all {
            lane.merge(old, min_slice);
        }
        let left: usize = self.all.iter().map(|lane| lane.slices.len()).sum();
        // The slices that are too young to be merged may be more than the usual limit.
        self.limit = 2 * left;
    }

    /// Returns all lanes.
    #[must_use]
    pub fn all(&self) -> &[Lane] {
        &self.all
    }

    /// Returns the number of threads that exist now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.all.iter().filter(|lane| lane.is_alive).count()
    }

    /// Returns the time of the last sample, counted from the first.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Returns the time at which a thread was last seen.
    #[must_use]
    pub fn last_seen(&self) -> Duration {
        let ends = self.all.iter().filter_map(|lane| lane.slices.last());
        ends.map(|slice| slice.to).max().unwrap_or(self.now)
    }
}

impl Lane {
    /// Divides the time between two moments into equal parts, and returns the state of the thread in each part, or
    /// `None` for a part in which the thread did not exist.
    #[must_use]
    pub fn cells(&self, from: Duration, to: Duration, parts: u32) -> Vec<Option<Cell>> {
        let each = to.saturating_sub(from) / parts.max(1);
        let mut next = self.slices.partition_point(|slice| slice.to <= from);
        let mut cells = Vec::new();
        for i in 0..parts {
            let begin = from + each * i;
            while self.slices.get(next).is_some_and(|slice| slice.to <= begin) {
                next += 1;
            }
            cells.push(dominant_cell(&self.slices[next..], begin, begin + each));
        }
        cells
    }

    /// Reports whether the thread existed between two moments.
    #[must_use]
    pub fn existed(&self, from: Duration, to: Duration) -> bool {
        let next = self.slices.partition_point(|slice| slice.to <= from);
        self.slices.get(next).is_some_and(|slice| slice.from < to)
    }

    /// Returns the last state of the thread.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.slices.last().map(|slice| slice.cell.state)
    }

    /// Returns how long the thread was in each state, the longest time first.
    #[must_use]
    pub fn shares(&self) -> Vec<(State, Duration)> {
        let mut shares = BTreeMap::<State, Duration>::new();
        for slice in &self.slices {
            *shares.entry(slice.cell.state).or_default() += slice.to.saturating_sub(slice.from);
        }
        let mut shares: Vec<_> = shares.into_iter().collect();
        shares.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        shares
    }

    fn merge(&mut self, before: Duration, min_slice: Duration) {
        let old = self.slices.partition_point(|slice| slice.to <= before);
        let young = self.slices.split_off(old);
        let mut merged: Vec<Slice> = Vec::new();
        let mut rest = self.slices.as_slice();
        while let Some(first) = rest.first() {
            let until = first.to.max(first.from + min_slice);
            let count = rest.partition_point(|slice| slice.to <= until).max(1);
            // A gap, in which the thread was stopped, stays a gap.
            let count =
                rest[..count].windows(2).take_while(|it| it[0].to == it[1].from).count() + 1;
            let to = rest[count - 1].to;
            if let Some(cell) = dominant_cell(&rest[..count], first.from, to) {
                match merged.last_mut() {
                    Some(last) if last.cell == cell && last.to == first.from => last.to = to,
                    _ => merged.push(Slice { from: first.from, to, cell }),
                }
            }
            rest = &rest[count..];
        }
        merged.extend(young);
        self.slices = merged;
    }
}

/// Returns the state that took most of the time between two moments, or `None` if there are no slices.
fn dominant_cell(slices: &[Slice], from: Duration, to: Duration) -> Option<Cell> {
    let mut times = BTreeMap::<State, Duration>::new();
    let mut ran = false;
    for slice in slices.iter().take_while(|slice| slice.from < to) {
        let time = slice.to.min(to).saturating_sub(slice.from.max(from));
        *times.entry(slice.cell.state).or_default() += time;
        ran |= slice.cell.ran_briefly || slice.cell.state == State::Running;
    }
    let (state, _) = times.into_iter().max_by_key(|(_, time)| *time)?;
    Some(Cell { state, ran_briefly: ran && state != State::Running })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cell(state: State) -> Cell {
        Cell { state, ran_briefly: false }
    }

    /// Returns a lane with a sample every ten milliseconds.
    fn lanes(seen: &[Option<State>]) -> Lanes {
        let mut lanes = Lanes::default();
        let key = lanes.add_lane(1);
        for (i, state) in (1..).zip(seen) {
            let at = Duration::from_millis(10 * i);
            if let Some(state) = *state {
                lanes.add(key, at, cell(state));
            }
            lanes.end_pass(at);
        }
        lanes
    }

    #[test]
    fn a_cell_shows_what_took_most_of_its_time_and_whether_the_thread_ran() {
        use State::{Read, Running, Write};
        let lanes = lanes(&[Some(Read), Some(Read), Some(Running), Some(Write), None, None]);
        let cells = lanes.all()[0].cells(Duration::ZERO, Duration::from_millis(60), 2);
        let read = Cell { state: Read, ran_briefly: true };
        assert_eq!(cells, [Some(read), Some(cell(Write))]);
        let cells = lanes.all()[0].cells(Duration::from_millis(40), Duration::from_millis(60), 2);
        assert_eq!(cells, [None, None]);
    }

    #[test]
    fn old_slices_are_merged_and_recent_ones_are_not() {
        let mut lanes = Lanes::default();
        let key = lanes.add_lane(1);
        let count = 5 * u32::try_from(MAX_SLICES).unwrap_or(0);
        for i in 1..=count {
            let at = Duration::from_millis(10) * i;
            lanes.add(key, at, cell(if i % 2 == 0 { State::Read } else { State::Write }));
            lanes.end_pass(at);
        }
        let slices = &lanes.all()[0].slices;
        assert!(slices.len() < 2 * MAX_SLICES, "{}", slices.len());
        assert!(slices.windows(2).all(|it| it[0].to == it[1].from), "no gaps, no overlaps");
        assert!(slices.windows(2).rev().take(2000).all(|it| it[0].cell != it[1].cell));
        assert_eq!(slices[0].from, Duration::ZERO);
    }

    #[test]
    fn old_lanes_of_ended_threads_are_dropped() {
        let mut lanes = Lanes::default();
        for i in 0..5000 {
            let key = lanes.add_lane(i);
            lanes.add(key, Duration::from_millis(u64::from(i)), cell(State::Read));
            lanes.end(key);
            lanes.end_pass(Duration::from_millis(u64::from(i)));
        }
        assert!(lanes.all().len() <= MAX_ENDED + KEPT_FIRST, "{}", lanes.all().len());
        assert_eq!(lanes.all()[0].id, 0);
    }
}
