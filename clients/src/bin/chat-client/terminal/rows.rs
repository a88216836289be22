//! Breaks text where a row of the terminal ends, and counts columns as rustyline does.

use std::borrow::Cow;
use std::io;
use std::iter;

use rustix::termios::tcgetwinsize;
use rustyline::GraphemeClusterMode;
use unicode_segmentation::UnicodeSegmentation;

/// The distance between tab stops that rustyline assumes, in columns.
const TAB_STOP: usize = 8;

/// The width that rustyline assumes for a terminal that does not report one, in columns.
const DEFAULT_WIDTH: usize = 80;

/// Text with a line feed at the end of each row but the last.
pub struct Rows<'a> {
    pub text: Cow<'a, str>,
    /// The column after the last character.
    pub end_column: usize,
}

/// Returns the width of the terminal in columns.
pub fn terminal_width() -> usize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => DEFAULT_WIDTH,
    }
}

/// Breaks text that begins in column `column` of a terminal into rows of at most `width` columns. Tabs
/// become spaces.
pub fn break_into_rows(text: &str, mut column: usize, width: usize) -> Rows<'_> {
    let measure = GraphemeClusterMode::from_env();
    let mut rows = String::with_capacity(text.len() + 16);
    for character in text.graphemes(true) {
        if character == "\n" {
            rows.push('\n');
            column = 0;
            continue;
        }
        let is_tab = character == "\t";
        let columns = match is_tab {
            true => TAB_STOP - column % TAB_STOP,
            false => usize::from(measure.width(character)),
        };
        if column + columns > width {
            rows.push('\n');
            column = 0;
        }
        column += columns;
        match is_tab {
            // A terminal never moves to the next row at a tab. rustyline counts as if it did.
            true => rows.extend(iter::repeat_n(' ', columns)),
            false => rows.push_str(character),
        }
    }
    Rows { text: Cow::Owned(rows), end_column: column }
}
