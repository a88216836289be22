//! The colours and the width of the texts.

use anstyle::{AnsiColor, Style};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const UNSURE: Style = AnsiColor::Yellow.on_default();
pub(crate) const LABEL: Style = Style::new().dimmed();

/// The longest line of a text after its label, in columns: with the label, a line has at most 80.
pub(crate) const WIDTH: usize = 69;
