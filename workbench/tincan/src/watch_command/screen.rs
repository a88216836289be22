//! A picture that is drawn in place, again and again, and stays when the program ends.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};
use anyhow::Result;

use crate::tour::keys::mode;

/// A terminal on which lines are drawn over one another.
pub struct Screen {
    /// How many lines stand above the cursor.
    drawn: usize,
    size: (usize, usize),
    coloured: bool,
    quit: Arc<AtomicBool>,
}

impl Screen {
    /// The terminal, if standard output is one that can be drawn on.
    pub fn new() -> Option<Self> {
        let can_move = env::var_os("TERM").is_none_or(|term| term != "dumb");
        (io::stdout().is_terminal() && can_move).then(|| {
            let coloured = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
            let quit = Arc::new(AtomicBool::new(false));
            if io::stdin().is_terminal() {
                // What is typed must not stand amid the picture.
                mode::take();
                let pressed = Arc::clone(&quit);
                std::thread::spawn(move || listen(&pressed));
            }
            Self { drawn: 0, size: size(), coloured, quit }
        })
    }

    /// Columns and rows, as they are now.
    pub fn size() -> (usize, usize) {
        size()
    }

    /// Whether the reader has pressed q.
    pub fn is_quit(&self) -> bool {
        self.quit.load(Ordering::Relaxed)
    }

    /// Draws lines in place of those before; no more than there are rows, and none wider.
    pub fn draw(&mut self, lines: &[String]) -> Result<()> {
        /// Lines are cut where the terminal ends, in case it has just become narrower.
        const NO_WRAP: &str = "\x1b[?7l";
        let size = size();
        let mut bytes = NO_WRAP.to_owned();
        if size != self.size {
            // The terminal may have broken the old lines into others: nobody knows where they are.
            bytes += "\x1b[H\x1b[2J";
            self.size = size;
        } else if self.drawn > 0 {
            let _ = write!(bytes, "\x1b[{}A", self.drawn);
        }
        for line in lines {
            // Not behind it: in the last column, that would take the last letter away.
            bytes += "\x1b[2K";
            if self.coloured {
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

    /// Others may have written to the terminal, or changed its mode: the next picture stands below.
    pub fn begin_anew(&mut self) {
        self.drawn = 0;
        if io::stdin().is_terminal() {
            mode::take_again();
        }
    }
}

/// Long lines go on in the next row again.
const WRAP: &str = "\x1b[?7h";

impl Drop for Screen {
    fn drop(&mut self) {
        mode::put_back();
        let _ = io::stdout().write_all(WRAP.as_bytes());
        let _ = io::stdout().flush();
    }
}

fn size() -> (usize, usize) {
    let found = terminal_size::terminal_size();
    let (columns, rows) = found.map_or((80, 24), |(width, height)| (width.0, height.0));
    // A terminal that says nothing says zero.
    let known = |number: u16, usual| if number == 0 { usual } else { usize::from(number) };
    (known(columns, 80), known(rows, 24))
}

/// Waits for a q.
fn listen(quit: &AtomicBool) {
    const CTRL_D: u8 = 4;
    let mut key = [0];
    loop {
        match io::stdin().read(&mut key) {
            Ok(1..) if matches!(key[0], b'q' | b'Q' | CTRL_D) => {
                quit.store(true, Ordering::Relaxed);
            }
            Err(err) if err.kind() != io::ErrorKind::Interrupted => return,
            Ok(0) => return,
            Ok(_) | Err(_) => {}
        }
    }
}
