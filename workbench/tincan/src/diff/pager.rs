//! Text onto the screen, by way of a pager if there is more of it than fits.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anstream::AutoStream;
use anstream::adapter::strip_str;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use unicode_width::UnicodeWidthStr as _;

use super::paint::Screen;

/// Writes `text`. Whoever reads it may stop before its end: that is no error.
pub fn show(text: &str, screen: &Screen, at_once: bool) -> io::Result<()> {
    let reader = if at_once || !screen.is_overfull(text) { None } else { start() };
    let written = match reader {
        Some(reader) => feed(reader, text),
        None if screen.has_colour => write(text, AutoStream::always(io::stdout())),
        None => write(text, io::stdout()),
    };
    written.or_else(|err| match err.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(err),
    })
}

fn write(text: &str, mut to: impl Write) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

impl Screen {
    /// Whether this is a terminal, and the text does not fit on it above the next prompt.
    fn is_overfull(&self, text: &str) -> bool {
        let rows = |line: &str| strip_str(line).to_string().width().max(1).div_ceil(self.width);
        let rows: usize = text.lines().map(rows).sum();
        self.is_terminal && self.height.is_some_and(|height| rows >= height)
    }
}

/// Starts the reader's pager. None: the reader wants none, or there is none.
fn start() -> Option<Child> {
    let words = match env::var("PAGER") {
        Ok(pager) => shlex::split(&pager)?,
        Err(_) => vec!["less".to_string()],
    };
    let (program, args) = words.split_first()?;
    let mut pager = Command::new(program);
    pager.args(args).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        pager.env("LESS", "FRX"); // colours pass, and the text stays on the screen afterwards
    }
    pager.spawn().ok()
}

fn feed(mut pager: Child, text: &str) -> io::Result<()> {
    // Ctrl-C belongs to the pager. This program, ended by it, would leave the pager and the shell to
    // read the same keys.
    let _ = flag::register(SIGINT, Arc::default());
    let written = pager.stdin.take().map_or(Ok(()), |stdin| write(text, stdin));
    pager.wait()?;
    written
}
