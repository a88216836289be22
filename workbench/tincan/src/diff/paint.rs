//! The size of the output, and its colours.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use terminal_size::{Height, Width};

use super::words::Span;

/// The width of output that does not go to a terminal.
const WIDTH: usize = 160;

pub struct Screen {
    pub is_terminal: bool,
    pub has_colour: bool,
    pub width: usize,
    /// Nothing if there is no terminal.
    pub height: Option<usize>,
    pub palette: Palette,
}

impl Screen {
    pub fn new(colour: ColorChoice, width: Option<u16>) -> Self {
        // Only of standard output: in a pipe, the output does not depend on the terminal of standard error.
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

    /// Reports whether a program reads the output, and gets the bytes of a file unchanged. In a terminal,
    /// control characters of a file are escaped, so that the terminal does not obey them.
    pub fn is_read_by_program(&self) -> bool {
        !self.is_terminal && !self.has_colour
    }
}

/// The styles. The default is no style at all.
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

    /// Returns the style of a part of a removed line.
    pub fn removed(&self, span: Span<'_>) -> Style {
        if span.changed { self.removed_word } else { self.removed }
    }

    /// Returns the style of a part of an added line.
    pub fn added(&self, span: Span<'_>) -> Style {
        if span.changed { self.added_word } else { self.added }
    }
}

/// Returns a text in which control characters, which a terminal would obey, are escaped as in Rust.
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
