//! Counts the changed lines, in all and by item.

use std::fmt::Write as _;

use similar::DiffOp;

use super::items::items;
use super::lines::Comparison;
use super::paint::{Palette, visible};
use super::sides::Side;

pub fn render(old: &Side, new: &Side, lines: &Comparison<'_>, paint: &Palette) -> String {
    let (a, r, b) = (paint.added, paint.removed, paint.heading);
    let (old_name, new_name) = (visible(&old.shown), visible(&new.shown));
    let mut out = format!("{b}{old_name} → {new_name}{b:#}\n\n");
    let (before, after) = (lines.old.len(), lines.new.len());
    let _ = writeln!(out, "lines      {before} → {after}");
    let _ = writeln!(out, "added      {a}{}{a:#}", lines.added());
    let _ = writeln!(out, "removed    {r}{}{r:#}", lines.removed());
    let _ = write!(out, "unchanged  {}", lines.unchanged());
    if let Some(tenths) = (1000 * lines.unchanged() + after / 2).checked_div(after) {
        let _ = write!(out, ", {}.{} % of the lines of {new_name}", tenths / 10, tenths % 10);
    }
    out.push('\n');
    if old.is_rust() && new.is_rust() {
        let counts = by_item(lines);
        let width = counts.iter().map(|count| count.item.chars().count()).max().unwrap_or(0);
        out.push('\n');
        for Count { item, added, removed } in &counts {
            let of = |sign, lines: &usize| match lines {
                0 => String::new(),
                lines => format!("{sign}{lines}"),
            };
            let (added, removed) = (of('+', added), of('-', removed));
            let row = format!("{item:<width$}  {a}{added:>4}{a:#} {r}{removed:>4}{r:#}");
            let _ = writeln!(out, "{}", row.trim_end());
        }
    }
    out
}

struct Count {
    item: String,
    added: usize,
    removed: usize,
}

/// Returns the items that changed, in the order of the changes.
fn by_item(lines: &Comparison<'_>) -> Vec<Count> {
    let (old, new) = (items(&lines.old), items(&lines.new));
    let mut counts: Vec<Count> = Vec::new();
    let mut count =
        |item: &String, added, removed| match counts.iter_mut().find(|count| count.item == *item) {
            Some(count) => {
                count.added += added;
                count.removed += removed;
            }
            None => counts.push(Count { item: item.clone(), added, removed }),
        };
    for op in lines.ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        old[op.old_range()].iter().for_each(|item| count(item, 0, 1));
        new[op.new_range()].iter().for_each(|item| count(item, 1, 0));
    }
    counts
}
