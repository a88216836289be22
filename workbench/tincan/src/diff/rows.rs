//! Pairs the removed lines of a change with its added lines.

use std::ops::Range;

use similar::DiffOp;

use super::lines::Comparison;
use super::words;

/// The minimum of characters, in percent, that two lines have in common if they are a pair.
const COUNTERPART: usize = 40;

/// The maximum number of pairs of lines that are compared: two hundred removed and two hundred added lines.
const MAX_COMPARED: usize = 40_000;

/// Lines that are shown beside each other, as indices.
#[derive(Clone, Copy)]
pub enum Row {
    Same(usize, usize),
    /// The first line became the second line.
    Counterparts(usize, usize),
    /// One line was removed, and one was added, with little in common.
    Replaced(usize, usize),
    Removed(usize),
    Added(usize),
}

/// Returns the rows of one step from the old text to the new text.
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

/// Adds lines without a counterpart, in as few rows as possible.
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

/// Returns the pairs of lines, in order, that have the most characters in common together.
fn counterparts(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    if old.len() * new.len() > MAX_COMPARED {
        return Vec::new();
    }
    let common = in_common(old, new);
    // best[i][j]: the most characters that the old lines from i on and the new lines from j on can have in
    // common.
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

/// Returns, for each old line and each new line, the number of characters that they have in common, or 0 if
/// the two are not a pair.
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
                    return 0; // one is too short, whatever they have in common
                }
                Some(words::common(old, new)).filter(|&common| enough(common)).unwrap_or(0)
            };
            new.iter().zip(&weights).map(share).collect()
        })
        .collect()
}
