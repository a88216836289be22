//! Draws lines in a terminal again and again in the same place. The last ones stay when the program ends.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};
use anyhow::Result;

use crate::terminal::{self, CTRL_D, cbreak, next_key};

pub struct Screen {
    /// The number of lines above the cursor.
    drawn: usize,
    size: (usize, usize),
    has_colour: bool,
    quit: Arc<AtomicBool>,
}

impl Screen {
    /// Returns the terminal, if standard output is a terminal in which the cursor can move.
    pub fn new() -> Option<Self> {
        let can_move = env::var_os("TERM").is_none_or(|term| term != "dumb");
        (io::stdout().is_terminal() && can_move).then(|| {
            let has_colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
            let quit = Arc::new(AtomicBool::new(false));
            if io::stdin().is_terminal() {
                // The keys that are typed do not appear among the lines.
                cbreak::enter();
                let pressed = Arc::clone(&quit);
                std::thread::spawn(move || read_keys(&pressed));
            }
            Self { drawn: 0, size: Self::size(), has_colour, quit }
        })
    }

    /// Returns the current columns and rows.
    pub fn size() -> (usize, usize) {
        terminal::size()
    }

    /// Reports whether the user has pressed q.
    pub fn is_quit(&self) -> bool {
        self.quit.load(Ordering::Relaxed)
    }

    /// Replaces the lines that were drawn before. There may not be more lines than rows, nor wider lines than
    /// columns.
    pub fn draw(&mut self, lines: &[String]) -> Result<()> {
        /// The terminal cuts long lines: it may have become narrower in the meantime.
        const NO_WRAP: &str = "\x1b[?7l";
        let size = Self::size();
        let mut bytes = NO_WRAP.to_owned();
        if size != self.size {
            // The terminal may have wrapped the old lines, so their places are unknown.
            bytes += "\x1b[H\x1b[2J";
            self.size = size;
        } else if self.drawn > 0 {
            let _ = write!(bytes, "\x1b[{}A", self.drawn);
        }
        for line in lines {
            // Erased before the line is written: in the last column, erasing would remove the last letter.
            bytes += "\x1b[2K";
            if self.has_colour {
                bytes += line;
            } else {
                bytes += &anstream::adapter::strip_str(line).to_string();
            }
            bytes += "\r\n";
        }
        bytes += "\x1b[J";
        bytes += WRAP;
        let mut out = io::stdout().lock();
        out.write_all(bytes.as_bytes())?;
        out.flush()?;
        self.drawn = lines.len();
        Ok(())
    }

    /// Draws below the current lines from now on, after this program was suspended: other programs may have
    /// written to the terminal, and changed its mode.
    pub fn restart(&mut self) {
        self.drawn = 0;
        if io::stdin().is_terminal() {
            cbreak::enter_again();
        }
    }
}

/// The terminal wraps long lines again.
const WRAP: &str = "\x1b[?7h";

impl Drop for Screen {
    fn drop(&mut self) {
        cbreak::leave();
        let _ = io::stdout().write_all(WRAP.as_bytes());
        let _ = io::stdout().flush();
    }
}

/// Reads the keys, and notes a q.
fn read_keys(quit: &AtomicBool) {
    while let Some(key) = next_key() {
        if matches!(key, b'q' | b'Q' | CTRL_D) {
            quit.store(true, Ordering::Relaxed);
        }
    }
}
