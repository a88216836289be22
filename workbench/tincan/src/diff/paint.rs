//! Where the text goes, and how it looks there.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use terminal_size::{Height, Width};

use super::words::Span;

/// Columns, where there is no terminal to ask.
const WIDTH: usize = 160;

pub struct Screen {
    pub is_terminal: bool,
    pub has_colour: bool,
    pub width: usize,
    /// No height: no terminal.
    pub height: Option<usize>,
    pub palette: Palette,
}

impl Screen {
    pub fn new(colour: ColorChoice, width: Option<u16>) -> Self {
        let size = terminal_size::terminal_size_of(io::stdout());
        let choice = match colour {
            ColorChoice::Auto => AutoStream::choice(&io::stdout()),
            chosen => chosen,
        };
        let has_colour = choice != ColorChoice::Never;
        Screen {
            is_terminal: io::stdout().is_terminal(),
            has_colour,
            width: width.or(size.map(|(Width(w), _)| w)).map_or(WIDTH, usize::from),
            height: size.map(|(_, Height(h))| usize::from(h)),
            palette: if has_colour { Palette::coloured() } else { Palette::default() },
        }
    }

    /// Whether a program reads this, which wants a file's bytes as they are; a terminal must not
    /// obey what stands in a file.
    pub fn is_read_by_program(&self) -> bool {
        !self.is_terminal && !self.has_colour
    }
}

/// The styles; by default, none.
#[derive(Default)]
pub struct Palette {
    pub removed: Style,
    pub added: Style,
    pub removed_word: Style,
    pub added_word: Style,
    pub number: Style,
    pub heading: Style,
    pub place: Style,
}

impl Palette {
    fn coloured() -> Self {
        let removed = AnsiColor::Red.on_default();
        let added = AnsiColor::Green.on_default();
        Palette {
            removed,
            added,
            removed_word: removed.bold().invert(),
            added_word: added.bold().invert(),
            number: Style::new().dimmed(),
            heading: Style::new().bold(),
            place: AnsiColor::Cyan.on_default(),
        }
    }

    /// The style of a part of a removed line.
    pub fn removed(&self, span: Span<'_>) -> Style {
        if span.changed { self.removed_word } else { self.removed }
    }

    pub fn added(&self, span: Span<'_>) -> Style {
        if span.changed { self.added_word } else { self.added }
    }
}

/// Text without control characters that a terminal would obey: each as Rust writes it.
pub fn visible(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\t';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| match obeyed(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    Cow::Owned(escaped.collect())
}
