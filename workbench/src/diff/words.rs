//! What changed within a line.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A part of a line: one that the other line has too, or one that it has not.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    pub text: &'a str,
    pub changed: bool,
}

/// Of two lines with less than this in common, in percent, nothing is emphasised: nearly all would be.
const EMPHASIS: usize = 50;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Word,
    Space,
    Mark,
}

/// A line's words, runs of white space, and single other characters.
pub fn tokens(line: &str) -> Vec<&str> {
    let (mut tokens, mut rest) = (Vec::new(), line);
    while let Some(first) = rest.chars().next() {
        let end = match kind(first) {
            Kind::Mark => first.len_utf8(),
            wanted => rest.find(|c| kind(c) != wanted).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn kind(c: char) -> Kind {
    match c {
        _ if c.is_alphanumeric() || c == '_' => Kind::Word,
        _ if c.is_whitespace() => Kind::Space,
        _ => Kind::Mark,
    }
}

/// How many characters tokens have, white space left out.
pub fn weight(tokens: &[&str]) -> usize {
    let solid = tokens.iter().filter(|token| !is_blank(token));
    solid.map(|token| token.chars().count()).sum()
}

/// How many characters two lines have in common, white space left out.
pub fn common(old: &[&str], new: &[&str]) -> usize {
    common_by(&capture_diff_slices(Algorithm::Myers, old, new), old)
}

fn common_by(ops: &[DiffOp], old: &[&str]) -> usize {
    let equal = ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. }));
    equal.map(|op| weight(&old[op.old_range()])).sum()
}

/// The two lines in spans, the changed words marked.
pub fn emphasise<'a>(old: &'a str, new: &'a str) -> [Vec<Span<'a>>; 2] {
    let (olds, news) = (tokens(old), tokens(new));
    let ops = capture_diff_slices(Algorithm::Myers, &olds, &news);
    let both = weight(&olds) + weight(&news);
    if 200 * common_by(&ops, &olds) < EMPHASIS * both {
        return [plain(old), plain(new)];
    }
    let (mut old_changed, mut new_changed) = (vec![false; olds.len()], vec![false; news.len()]);
    for op in ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        old_changed[op.old_range()].fill(true);
        new_changed[op.new_range()].fill(true);
    }
    [spans(old, &olds, old_changed), spans(new, &news, new_changed)]
}

/// A line in which nothing is marked.
pub fn plain(text: &str) -> Vec<Span<'_>> {
    vec![Span { text, changed: false }]
}

fn spans<'a>(line: &'a str, tokens: &[&str], mut changed: Vec<bool>) -> Vec<Span<'a>> {
    settle(tokens, &mut changed);
    let (mut spans, mut start, mut end) = (Vec::new(), 0, 0);
    for (i, token) in tokens.iter().enumerate() {
        end += token.len();
        if changed.get(i + 1) != Some(&changed[i]) {
            spans.push(Span { text: &line[start..end], changed: changed[i] });
            start = end;
        }
    }
    spans
}

/// Marks the white space between two marked words, and not that before the first word: an
/// indentation is worth marking only where nothing else changed.
fn settle(tokens: &[&str], changed: &mut [bool]) {
    for i in 1..tokens.len().saturating_sub(1) {
        if is_blank(tokens[i]) {
            changed[i] = changed[i - 1] && changed[i + 1];
        }
    }
    if changed.iter().skip(1).any(|&changed| changed)
        && let (Some(token), Some(first)) = (tokens.first(), changed.first_mut())
        && is_blank(token)
    {
        *first = false;
    }
}

fn is_blank(token: &str) -> bool {
    token.starts_with(char::is_whitespace)
}
