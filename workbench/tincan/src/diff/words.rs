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
    let mut changed = [vec![false; olds.len()], vec![false; news.len()]];
    for op in ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        changed[0][op.old_range()].fill(true);
        changed[1][op.new_range()].fill(true);
    }
    settle([&olds, &news], &mut changed);
    [spans(old, &olds, &changed[0]), spans(new, &news, &changed[1])]
}

/// A line in which nothing is marked.
pub fn plain(text: &str) -> Vec<Span<'_>> {
    vec![Span { text, changed: false }]
}

fn spans<'a>(line: &'a str, tokens: &[&str], changed: &[bool]) -> Vec<Span<'a>> {
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

/// Marks the white space between two marked words, and no other: but where only white space changed,
/// that is what there is to see.
fn settle(tokens: [&[&str]; 2], changed: &mut [Vec<bool>; 2]) {
    let has_changed_word = |(tokens, changed): (&&[&str], &Vec<bool>)| {
        tokens.iter().zip(changed).any(|(token, &changed)| changed && !is_blank(token))
    };
    if !tokens.iter().zip(&*changed).any(has_changed_word) {
        return;
    }
    for (tokens, changed) in tokens.iter().zip(changed) {
        for i in (0..tokens.len()).filter(|&i| is_blank(tokens[i])) {
            let is_between = i > 0 && changed[i - 1] && changed.get(i + 1) == Some(&true);
            changed[i] = is_between;
        }
    }
}

fn is_blank(token: &str) -> bool {
    token.starts_with(char::is_whitespace)
}
