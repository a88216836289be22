//! Finds the words that changed in a line.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A part of a line, which the other line also has, or which has changed.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    pub text: &'a str,
    pub changed: bool,
}

/// The minimum of characters, in percent, that two lines have in common if changed words are marked. With
/// less in common, nearly all words would be marked.
const EMPHASIS: usize = 50;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Word,
    Space,
    Mark,
}

/// Returns a line's tokens: words, runs of white space, and other characters one by one.
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

/// Returns the number of characters of tokens, without white space.
pub fn weight(tokens: &[&str]) -> usize {
    let solid = tokens.iter().filter(|token| !is_blank(token));
    solid.map(|token| token.chars().count()).sum()
}

/// Returns the number of characters that two lines have in common, without white space.
pub fn common(old: &[&str], new: &[&str]) -> usize {
    common_by(&capture_diff_slices(Algorithm::Myers, old, new), old)
}

fn common_by(ops: &[DiffOp], old: &[&str]) -> usize {
    let equal = ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. }));
    equal.map(|op| weight(&old[op.old_range()])).sum()
}

/// Divides two lines into spans, with the changed words marked.
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
    unmark_blanks([&olds, &news], &mut changed);
    [spans(old, &olds, &changed[0]), spans(new, &news, &changed[1])]
}

/// Returns a line as one span, which is not marked.
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

/// Unmarks white space, except between two marked words. If only white space changed, it stays marked.
fn unmark_blanks(tokens: [&[&str]; 2], changed: &mut [Vec<bool>; 2]) {
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
