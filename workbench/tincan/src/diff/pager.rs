//! Writes text to standard output, through a pager if it does not fit on the screen.

use std::env;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use anstream::AutoStream;
use anstream::adapter::strip_str;
use unicode_width::UnicodeWidthStr as _;

use super::paint::Screen;
use crate::signals;

/// Writes `text`, through the user's pager unless `no_pager` is set.
pub fn show(text: &str, screen: &Screen, no_pager: bool) -> io::Result<()> {
    let pager = if no_pager || fits(screen, text) { None } else { start_pager() };
    match pager {
        Some(pager) => feed(pager, text),
        None if screen.has_colour => write(text, AutoStream::always(io::stdout())),
        None => write(text, io::stdout()),
    }
}

fn write(text: &str, mut to: impl Write) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Reports whether the text fits on the screen above the next prompt. Everything fits if there is no screen.
fn fits(screen: &Screen, text: &str) -> bool {
    let rows = |line: &str| strip_str(line).to_string().width().max(1).div_ceil(screen.width);
    let rows: usize = text.lines().map(rows).sum();
    !screen.is_terminal || screen.height.is_none_or(|height| rows < height)
}

/// Starts the user's pager. Returns nothing if the user wants none, or if it cannot be started.
fn start_pager() -> Option<Child> {
    let words = match env::var("PAGER") {
        Ok(pager) => shlex::split(&pager)?,
        Err(_) => vec!["less".to_string()],
    };
    let (program, args) = words.split_first()?;
    let mut pager = Command::new(program);
    pager.args(args).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        pager.env("LESS", "FRX"); // colours are shown, and the text stays on the screen afterwards
    }
    pager.spawn().ok()
}

fn feed(mut pager: Child, text: &str) -> io::Result<()> {
    // Ctrl-C is for the pager. If it ended this program, the pager and the shell would read the same keys.
    signals::ignore_interrupts()?;
    let written = pager.stdin.take().map_or(Ok(()), |stdin| write(text, stdin));
    pager.wait()?;
    written
}
