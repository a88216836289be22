//! Wraps lines of code.
//!
//! Not with the crate `textwrap`, which wraps prose: a line of code here consists of marked and unmarked
//! spans, which keep their marks; blanks count, at the beginning of a line and between words; tabs and
//! control characters are replaced; long names are broken at the marks of the language, such as `.`; and the
//! rest of a line is indented further than its beginning.

use unicode_width::UnicodeWidthStr as _;

use super::words::Span;

/// A tab extends to the next multiple of this column.
const TAB: usize = 4;

/// The additional indentation of all rows of a line but the first.
const HANGING: usize = 4;

/// A character with the characters that combine with it, which stay together.
#[derive(Clone)]
pub struct Piece {
    pub text: String,
    pub changed: bool,
    pub width: usize,
}

/// Returns the rows of a line, which are at most `columns` wide. A row ends at a blank or, if its second half
/// has none, at a mark; it ends inside a word only if the word is wider than a row.
pub fn wrap_code(spans: &[Span<'_>], columns: usize) -> Vec<Vec<Piece>> {
    let pieces = pieces(spans);
    let depth = pieces.iter().take_while(|piece| piece.text == " ").count();
    let words = pieces.chunk_by(|a, b| is_in_word(a) && is_in_word(b));
    let longest = words.map(|word| word.iter().map(|piece| piece.width).sum()).max().unwrap_or(0);
    // The longest word fits into a row, with a mark after it.
    let deepest = (columns / 2).min(columns.saturating_sub(longest + 1));
    let indent = Piece { text: " ".into(), changed: false, width: 1 };
    let indent = vec![indent; (depth + HANGING).min(deepest)];
    // A line with a deep indentation is moved to the left if its first word would not fit otherwise.
    let first_word: usize =
        pieces[depth..].iter().take_while(|it| is_in_word(it)).map(|it| it.width).sum();
    let excess = (depth + first_word + 1).saturating_sub(columns).min(depth);
    let (mut rows, mut rest) = (Vec::new(), &pieces[excess..]);
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

/// Divides pieces into a row and the rest. A blank between the two is dropped.
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
    // A row contains more than the line's own indentation.
    let first = pieces.iter().position(|piece| piece.text != " ").unwrap_or(0) + 1;
    let blank = (first..=fits).rev().find(|at| pieces[*at].text == " ");
    let seam = (first..=fits).rev().find(|at| is_seam(&pieces[at - 1], &pieces[*at]));
    match (blank, seam) {
        (Some(blank), _) if 2 * blank > fits => (&pieces[..blank], &pieces[blank + 1..]),
        (Some(blank), seam) if seam.is_none_or(|seam| seam < blank) => {
            (&pieces[..blank], &pieces[blank + 1..])
        }
        (_, Some(seam)) => pieces.split_at(seam),
        (_, None) => pieces.split_at(fits.max(1)),
    }
}

/// Reports whether code may be broken between two characters without a blank between them: before a dot, or
/// after another mark, but not between two marks that belong together.
fn is_seam(before: &Piece, after: &Piece) -> bool {
    match (before.text.as_str(), after.text.as_str()) {
        (".", _) => false,
        (before, ".") => before != "." && before != " ",
        ("(" | "[" | "{" | "<", "&" | "\"" | "'" | "*" | "|" | "#") => true,
        ("(" | "[" | "{" | "<" | "," | ";" | ":" | "=" | "|" | "/" | "-", _) => is_in_word(after),
        _ => false,
    }
}

/// Reports whether a piece is part of a name, a number or a word.
fn is_in_word(piece: &Piece) -> bool {
    piece.text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
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

/// Adds a character, to the last piece if it combines with it. Returns the additional width.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use probe::servers;

    use super::*;

    /// Returns the text of a row without its indentation.
    fn text(row: &[Piece]) -> String {
        row.iter().map(|piece| piece.text.as_str()).collect::<String>().trim().to_owned()
    }

    /// At 80 columns, beside each other and below each other.
    #[test]
    fn no_word_of_the_stages_is_cut() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for stage in servers::stages() {
            let code = fs::read_to_string(root.join(stage.source)).unwrap();
            for (line, columns) in code.lines().flat_map(|line| [(line, 34), (line, 79)]) {
                let rows = wrap_code(&super::super::words::plain(line), columns);
                let mut rest = line.trim_start();
                for row in &rows {
                    assert!(row.iter().map(|piece| piece.width).sum::<usize>() <= columns);
                    rest = rest.strip_prefix(&text(row)).unwrap();
                    let ends_in_word =
                        text(row).ends_with(|c: char| c.is_alphanumeric() || c == '_');
                    let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                    assert!(
                        !(ends_in_word && goes_on),
                        "{line}\n{:#?}",
                        rows.iter().map(|row| text(row)).collect::<Vec<_>>()
                    );
                    rest = rest.trim_start();
                }
                assert_eq!(rest, "", "{line}");
            }
        }
    }
}
