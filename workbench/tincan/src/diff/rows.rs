//! Which changed line stands beside which.

use std::ops::Range;

use similar::DiffOp;

use super::lines::Comparison;
use super::words;

/// Two lines with less than this in common, in percent, are not each other's counterpart.
const COUNTERPART: usize = 40;

/// So many pairs of lines are tried for the best match: a block of two hundred lines on each side.
const TRIALS: usize = 40_000;

/// What stands beside each other, as indices of lines.
#[derive(Clone, Copy)]
pub enum Row {
    Same(usize, usize),
    /// The second is what became of the first.
    Counterparts(usize, usize),
    /// One went and the other came, and they have little in common.
    Replaced(usize, usize),
    Removed(usize),
    Added(usize),
}

/// The rows of one step from the old text to the new.
pub fn rows(lines: &Comparison<'_>, op: &DiffOp) -> Vec<Row> {
    let (old, new) = (op.old_range(), op.new_range());
    if matches!(op, DiffOp::Equal { .. }) {
        return old.zip(new).map(|(old, new)| Row::Same(old, new)).collect();
    }
    let mut rows = Vec::new();
    let (mut next_old, mut next_new) = (old.start, new.start);
    for (i, j) in counterparts(&lines.old[old.clone()], &lines.new[new.clone()]) {
        let (i, j) = (old.start + i, new.start + j);
        fill(&mut rows, next_old..i, next_new..j);
        rows.push(Row::Counterparts(i, j));
        (next_old, next_new) = (i + 1, j + 1);
    }
    fill(&mut rows, next_old..old.end, next_new..new.end);
    rows
}

/// Lines without a counterpart, in as few rows as they take.
fn fill(rows: &mut Vec<Row>, mut old: Range<usize>, mut new: Range<usize>) {
    loop {
        rows.push(match (old.next(), new.next()) {
            (Some(old), Some(new)) => Row::Replaced(old, new),
            (Some(old), None) => Row::Removed(old),
            (None, Some(new)) => Row::Added(new),
            (None, None) => return,
        });
    }
}

/// The lines that belong together, both in their order, chosen so that they have as much in common as
/// there can be.
fn counterparts(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    if old.len() * new.len() > TRIALS {
        return Vec::new();
    }
    let common = in_common(old, new);
    // best[i][j]: what the lines from i and from j on can have in common.
    let mut best = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let together = if common[i][j] > 0 { common[i][j] + best[i + 1][j + 1] } else { 0 };
            best[i][j] = together.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while i < old.len() && j < new.len() {
        if common[i][j] > 0 && best[i][j] == common[i][j] + best[i + 1][j + 1] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i][j] == best[i + 1][j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// For each old and each new line how much they share; 0 if that is too little.
fn in_common(old: &[&str], new: &[&str]) -> Vec<Vec<usize>> {
    let old: Vec<_> = old.iter().map(|line| words::tokens(line)).collect();
    let new: Vec<_> = new.iter().map(|line| words::tokens(line)).collect();
    let weights: Vec<_> = new.iter().map(|line| words::weight(line)).collect();
    old.iter()
        .map(|old| {
            let weight = words::weight(old);
            let share = |(new, &other): (&Vec<&str>, &usize)| {
                let enough = |common: usize| 200 * common >= COUNTERPART * (weight + other);
                if !enough(weight.min(other)) {
                    return 0; // however alike, one is too short
                }
                Some(words::common(old, new)).filter(|&common| enough(common)).unwrap_or(0)
            };
            new.iter().zip(&weights).map(share).collect()
        })
        .collect()
}
