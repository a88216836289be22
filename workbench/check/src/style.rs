//! The colours and the width of the texts.

use anstyle::{AnsiColor, Style};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const UNSURE: Style = AnsiColor::Yellow.on_default();
pub(crate) const LABEL: Style = Style::new().dimmed();

/// The longest line of a text, in columns.
pub(crate) const WIDTH: usize = 76;
