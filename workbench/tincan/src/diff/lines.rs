//! Which lines two texts share.

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, group_diff_ops};

/// Two texts, line by line, and the shortest way from the one to the other.
pub struct Comparison<'a> {
    /// With their ends, which the last line may lack.
    pub old: Vec<&'a str>,
    pub new: Vec<&'a str>,
    pub ops: Vec<DiffOp>,
}

impl<'a> Comparison<'a> {
    pub fn new(old: &'a str, new: &'a str) -> Self {
        let old: Vec<_> = old.split_inclusive('\n').collect();
        let new: Vec<_> = new.split_inclusive('\n').collect();
        // Raw, without heuristics: the fewest lines, so that the numbers are those of diff(1).
        let mut hook = Compact::new(Replace::new(Capture::new()), &old, &new);
        let Ok(()) =
            myers::diff_deadline_raw(&mut hook, &old, 0..old.len(), &new, 0..new.len(), None);
        let ops = hook.into_inner().into_inner().into_ops();
        Comparison { old, new, ops }
    }

    /// How many lines of the new text the old one has not.
    pub fn added(&self) -> usize {
        self.new.len() - self.unchanged()
    }

    pub fn removed(&self) -> usize {
        self.old.len() - self.unchanged()
    }

    pub fn unchanged(&self) -> usize {
        let equal = self.ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. }));
        equal.map(|op| op.old_range().len()).sum()
    }

    /// The changes, each with that many lines around it; those that touch are one.
    pub fn hunks(&self, context: usize) -> Vec<Vec<DiffOp>> {
        let all = self.old.len() + self.new.len();
        group_diff_ops(self.ops.clone(), context.min(all))
    }

    /// The line that says what the old line `at` is part of: the last before it that starts with a
    /// letter in the first column, which in most languages is the beginning of an item.
    pub fn section(&self, at: usize) -> Option<&'a str> {
        let before = self.old[..at].iter().rev();
        let mut starts = before.filter(|line| line.starts_with(|c: char| c.is_alphabetic()));
        starts.next().map(|line| line.trim_end().trim_end_matches('{').trim_end())
    }
}
