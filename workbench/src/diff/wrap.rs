//! A line of text, cut into rows of a width that a terminal would give them.

use unicode_width::UnicodeWidthStr as _;

use super::words::Span;

/// How far a tab goes: to the next multiple.
const TAB: usize = 4;

/// A continued row begins so much further in than its line.
const HANGING: usize = 4;

/// What must not be torn: a character, and what combines with it.
#[derive(Clone)]
pub struct Piece {
    pub text: String,
    pub changed: bool,
    pub width: usize,
}

/// The rows of a line, none wider than `columns`. They end at a blank, or else at a mark, where
/// there is one in their second half.
pub fn wrap(spans: &[Span<'_>], columns: usize) -> Vec<Vec<Piece>> {
    let pieces = pieces(spans);
    let depth = pieces.iter().take_while(|piece| piece.text == " ").count();
    let indent = Piece { text: " ".into(), changed: false, width: 1 };
    let indent = vec![indent; (depth + HANGING).min(columns / 2)];
    let (mut rows, mut rest) = (Vec::new(), pieces.as_slice());
    loop {
        let mut row = if rows.is_empty() { Vec::new() } else { indent.clone() };
        let (now, later) = split(rest, columns - row.len());
        row.extend_from_slice(now);
        rows.push(row);
        if later.is_empty() {
            return rows;
        }
        rest = later;
    }
}

/// What goes into a row, and what is left; a blank between the two is dropped.
fn split(pieces: &[Piece], columns: usize) -> (&[Piece], &[Piece]) {
    let mut used = 0;
    let fits = pieces.iter().take_while(|piece| {
        used += piece.width;
        used <= columns
    });
    let fits = fits.count();
    if fits == pieces.len() {
        return (pieces, &[]);
    }
    match pieces[..=fits].iter().rposition(|piece| piece.text == " ") {
        Some(blank) if 2 * blank > fits => (&pieces[..blank], &pieces[blank + 1..]),
        _ => pieces.split_at(seam(&pieces[..fits]).unwrap_or(fits).max(1)),
    }
}

/// Where code may be cut that has no blank: before a dot, after another mark.
fn seam(pieces: &[Piece]) -> Option<usize> {
    let is_mark =
        |piece: &Piece| piece.text.starts_with(|c: char| c.is_ascii_punctuation() && c != '_');
    let at = pieces.iter().rposition(is_mark)?;
    let at = if pieces[at].text == "." { at } else { at + 1 };
    (2 * at > pieces.len()).then_some(at)
}

fn pieces(spans: &[Span<'_>]) -> Vec<Piece> {
    let (mut pieces, mut column) = (Vec::<Piece>::new(), 0);
    for span in spans {
        for c in span.text.trim_end_matches('\n').chars() {
            let text = match c {
                '\t' => " ".repeat(TAB - column % TAB),
                _ if c.is_control() => c.escape_default().to_string(),
                _ => c.to_string(),
            };
            column += add(&mut pieces, text, span.changed);
        }
    }
    pieces
}

/// Adds a character, to the last piece if it combines with that; gives the columns it takes.
fn add(pieces: &mut Vec<Piece>, text: String, changed: bool) -> usize {
    let width = text.width();
    if let Some(last) = pieces.last_mut()
        && (width == 0 || last.text.ends_with('\u{200d}'))
    {
        last.text.push_str(&text);
        let before = last.width;
        last.width = last.text.width();
        return last.width.saturating_sub(before);
    }
    pieces.push(Piece { text, changed, width });
    width
}
