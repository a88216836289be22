//! What was seen: a lane of time for each thread.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::state::State;

/// Part of a lane in which nothing changed.
#[derive(Clone, Copy, Debug)]
struct Slice {
    from: Duration,
    to: Duration,
    cell: Cell,
}

/// What is drawn at one place of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What the thread did.
    pub state: State,
    /// Whether it ran in between, too briefly to be seen as running.
    pub ran: bool,
}

/// One thread, from when it was first seen to its end.
#[derive(Clone, Debug)]
pub struct Lane {
    key: u64,
    /// Its number; that of a process's first thread is the process's own.
    pub id: u32,
    /// What it is called.
    pub name: String,
    /// What it does now, or did last: the system call and what that is about.
    pub detail: String,
    /// Who was at the other end of the last connection that it was seen to read from or write to.
    pub peer: Option<String>,
    /// Whether it has not ended.
    pub lives: bool,
    slices: Vec<Slice>,
}

/// All lanes, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    all: Vec<Lane>,
    next_key: u64,
    /// When was last looked.
    now: Duration,
    /// Below this, older slices are merged.
    grain: Duration,
    limit: usize,
    forgotten: usize,
}

/// So many slices are kept before older ones are merged: some megabytes.
const SLICES: usize = 100_000;

/// So many lanes are kept of threads that have ended, and these first ones in any case.
const ENDED: usize = 1000;
const FIRST: usize = 64;

/// What is younger is never merged: it is what a live view shows.
const RECENT: Duration = Duration::from_secs(30);

impl Lanes {
    /// Begins a lane, for a thread that was not there at the last look, and gives its key.
    pub(crate) fn begin(&mut self, id: u32) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        let (name, detail) = (String::new(), String::new());
        self.all.push(Lane { key, id, name, detail, peer: None, lives: true, slices: Vec::new() });
        key
    }

    fn lane(&mut self, key: u64) -> Option<&mut Lane> {
        let at = self.all.binary_search_by_key(&key, |lane| lane.key).ok()?;
        self.all.get_mut(at)
    }

    /// Says what a thread is called, and what it does in detail.
    pub(crate) fn describe(&mut self, key: u64, name: &str, detail: String) {
        if let Some(lane) = self.lane(key) {
            if lane.name != name {
                name.clone_into(&mut lane.name);
            }
            lane.detail = detail;
        }
    }

    /// Says with whom a thread was seen to talk.
    pub(crate) fn connect(&mut self, key: u64, peer: String) {
        if let Some(lane) = self.lane(key) {
            lane.peer = Some(peer);
        }
    }

    /// Says what a thread was seen to do `at` that time, and so has done since the last look.
    pub(crate) fn add(&mut self, key: u64, at: Duration, cell: Cell) {
        let from = self.now;
        if let Some(lane) = self.lane(key) {
            match lane.slices.last_mut() {
                Some(last) if last.to == from && last.cell == cell => last.to = at,
                _ => lane.slices.push(Slice { from, to: at, cell }),
            }
        }
    }

    /// Says that a thread is not there any more.
    pub(crate) fn end(&mut self, key: u64) {
        if let Some(lane) = self.lane(key) {
            lane.lives = false;
        }
    }

    /// Says that all threads have been looked at, and makes room for more.
    pub(crate) fn looked(&mut self, at: Duration) {
        self.now = at;
        let ended = self.all.iter().skip(FIRST).filter(|lane| !lane.lives).count();
        if ended > ENDED {
            self.forget(ended - ENDED / 2);
        }
        if self.all.iter().map(|lane| lane.slices.len()).sum::<usize>() > self.limit.max(SLICES) {
            self.merge();
        }
    }

    /// Drops the oldest lanes of those that have ended, but not the very first.
    fn forget(&mut self, mut many: usize) {
        self.forgotten += many;
        let mut nth = 0;
        self.all.retain(|lane| {
            nth += 1;
            if nth <= FIRST || lane.lives || many == 0 {
                return true;
            }
            many -= 1;
            false
        });
    }

    /// Halves what the older parts of all lanes remember.
    fn merge(&mut self) {
        const FINEST: Duration = Duration::from_millis(50);
        self.grain = (self.grain * 2).max(FINEST);
        let (old, grain) = (self.now.saturating_sub(RECENT), self.grain);
        for lane in &mut self.all {
            lane.merge(old, grain);
        }
        let left: usize = self.all.iter().map(|lane| lane.slices.len()).sum();
        // What is recent alone may be that much.
        self.limit = 2 * left;
    }

    /// The lanes.
    #[must_use]
    pub fn all(&self) -> &[Lane] {
        &self.all
    }

    /// The lane of a thread that is there now.
    #[must_use]
    pub fn of_thread(&self, id: u32) -> Option<&Lane> {
        self.all.iter().rfind(|lane| lane.id == id && lane.lives)
    }

    /// How many threads there are now.
    #[must_use]
    pub fn living(&self) -> usize {
        self.all.iter().filter(|lane| lane.lives).count()
    }

    /// How many lanes of threads that have ended are not kept.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// How long was looked.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// When was last something to be seen.
    #[must_use]
    pub fn last_seen(&self) -> Duration {
        let ends = self.all.iter().filter_map(|lane| lane.slices.last());
        ends.map(|slice| slice.to).max().unwrap_or(self.now)
    }
}

impl Lane {
    /// What it did between two moments, in so many equal parts; nothing where it was not there.
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
            cells.push(most(&self.slices[next..], begin, begin + each));
        }
        cells
    }

    /// Whether it was there between two moments.
    #[must_use]
    pub fn was_there(&self, from: Duration, to: Duration) -> bool {
        let next = self.slices.partition_point(|slice| slice.to <= from);
        self.slices.get(next).is_some_and(|slice| slice.from < to)
    }

    /// What it does now, or did last.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.slices.last().map(|slice| slice.cell.state)
    }

    /// How long it did what, longest first.
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

    fn merge(&mut self, before: Duration, grain: Duration) {
        let old = self.slices.partition_point(|slice| slice.to <= before);
        let young = self.slices.split_off(old);
        let mut merged: Vec<Slice> = Vec::new();
        let mut rest = self.slices.as_slice();
        while let Some(first) = rest.first() {
            let until = first.to.max(first.from + grain);
            let many = rest.partition_point(|slice| slice.to <= until).max(1);
            // Where the thread stood still in between, nothing is filled.
            let many = rest[..many].windows(2).take_while(|it| it[0].to == it[1].from).count() + 1;
            let to = rest[many - 1].to;
            if let Some(cell) = most(&rest[..many], first.from, to) {
                match merged.last_mut() {
                    Some(last) if last.cell == cell && last.to == first.from => last.to = to,
                    _ => merged.push(Slice { from: first.from, to, cell }),
                }
            }
            rest = &rest[many..];
        }
        merged.extend(young);
        self.slices = merged;
    }
}

/// What a thread did most of the time between two moments.
fn most(slices: &[Slice], from: Duration, to: Duration) -> Option<Cell> {
    let mut times = BTreeMap::<State, Duration>::new();
    let mut ran = false;
    for slice in slices.iter().take_while(|slice| slice.from < to) {
        let time = slice.to.min(to).saturating_sub(slice.from.max(from));
        *times.entry(slice.cell.state).or_default() += time;
        ran |= slice.cell.ran || slice.cell.state == State::Running;
    }
    let (state, _) = times.into_iter().max_by_key(|(_, time)| *time)?;
    Some(Cell { state, ran: ran && state != State::Running })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cell(state: State) -> Cell {
        Cell { state, ran: false }
    }

    /// A lane that was looked at every ten milliseconds.
    fn lanes(seen: &[Option<State>]) -> Lanes {
        let mut lanes = Lanes::default();
        let key = lanes.begin(1);
        for (i, state) in (1..).zip(seen) {
            let at = Duration::from_millis(10 * i);
            if let Some(state) = *state {
                lanes.add(key, at, cell(state));
            }
            lanes.looked(at);
        }
        lanes
    }

    #[test]
    fn a_cell_shows_what_took_most_of_its_time_and_whether_the_thread_ran() {
        use State::{Read, Running, Write};
        let lanes = lanes(&[Some(Read), Some(Read), Some(Running), Some(Write), None, None]);
        let cells = lanes.all()[0].cells(Duration::ZERO, Duration::from_millis(60), 2);
        let read = Cell { state: Read, ran: true };
        assert_eq!(cells, [Some(read), Some(cell(Write))]);
        let cells = lanes.all()[0].cells(Duration::from_millis(40), Duration::from_millis(60), 2);
        assert_eq!(cells, [None, None]);
    }

    #[test]
    fn what_is_old_is_merged_and_what_is_recent_is_not() {
        let mut lanes = Lanes::default();
        let key = lanes.begin(1);
        let many = 5 * u32::try_from(SLICES).unwrap_or(0);
        for i in 1..=many {
            let at = Duration::from_millis(10) * i;
            lanes.add(key, at, cell(if i % 2 == 0 { State::Read } else { State::Write }));
            lanes.looked(at);
        }
        let slices = &lanes.all()[0].slices;
        assert!(slices.len() < 2 * SLICES, "{}", slices.len());
        assert!(slices.windows(2).all(|it| it[0].to == it[1].from), "no gaps, no overlaps");
        assert!(slices.windows(2).rev().take(2000).all(|it| it[0].cell != it[1].cell));
        assert_eq!(slices[0].from, Duration::ZERO);
    }

    #[test]
    fn lanes_that_have_ended_are_forgotten_in_the_end() {
        let mut lanes = Lanes::default();
        for i in 0..5000 {
            let key = lanes.begin(i);
            lanes.add(key, Duration::from_millis(u64::from(i)), cell(State::Read));
            lanes.end(key);
            lanes.looked(Duration::from_millis(u64::from(i)));
        }
        assert!(lanes.all().len() <= ENDED + FIRST, "{}", lanes.all().len());
        assert_eq!(lanes.all().len() + lanes.forgotten(), 5000);
        assert_eq!(lanes.all()[0].id, 0);
    }
}
