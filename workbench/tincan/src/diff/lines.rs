//! Compares two texts line by line.

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, group_diff_ops};

/// The lines of two texts, and the smallest change from the old text to the new one.
pub struct Comparison<'a> {
    /// The lines with their line ends, which may be missing in the last line.
    pub old: Vec<&'a str>,
    pub new: Vec<&'a str>,
    pub ops: Vec<DiffOp>,
}

impl<'a> Comparison<'a> {
    pub fn new(old: &'a str, new: &'a str) -> Self {
        let old: Vec<_> = old.split_inclusive('\n').collect();
        let new: Vec<_> = new.split_inclusive('\n').collect();
        // Without heuristics, this changes the fewest lines, so the counts are those of `diff --minimal`.
        let mut hook = Compact::new(Replace::new(Capture::new()), &old, &new);
        let Ok(()) =
            myers::diff_deadline_raw(&mut hook, &old, 0..old.len(), &new, 0..new.len(), None);
        let ops = hook.into_inner().into_inner().into_ops();
        Comparison { old, new, ops }
    }

    /// Returns the number of lines that only the new text has.
    pub fn added(&self) -> usize {
        self.new.len() - self.unchanged()
    }

    /// Returns the number of lines that only the old text has.
    pub fn removed(&self) -> usize {
        self.old.len() - self.unchanged()
    }

    /// Returns the number of lines that both texts have.
    pub fn unchanged(&self) -> usize {
        let equal = self.ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. }));
        equal.map(|op| op.old_range().len()).sum()
    }

    /// Returns the changes, each with this number of lines around it. Changes whose lines touch become one.
    pub fn hunks(&self, context: usize) -> Vec<Vec<DiffOp>> {
        let all = self.old.len() + self.new.len();
        group_diff_ops(self.ops.clone(), context.min(all))
    }

    /// Returns the line at which the item with the old line `at` begins: the last line before it with a
    /// letter in the first column, which is where items begin in most languages.
    pub fn section(&self, at: usize) -> Option<&'a str> {
        let before = self.old[..at].iter().rev();
        let mut starts = before.filter(|line| line.starts_with(|c: char| c.is_alphabetic()));
        starts.next().map(|line| line.trim_end().trim_end_matches('{').trim_end())
    }
}
