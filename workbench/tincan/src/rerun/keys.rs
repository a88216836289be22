use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::signals;
use crate::terminal::{CTRL_D, cbreak};

/// A key that the learner presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// h: show one more hint.
    Hint,
    /// a: show all of the report, or its beginning again.
    All,
    /// l: list the checks, or show the report again.
    List,
    /// r or Enter: run the checks again.
    Run,
}

/// Reads keys, if standard input and standard output are a terminal. `q` and Ctrl-D end the program at once, with
/// this exit code, also while a check runs.
pub fn read(exit_code: Arc<AtomicU8>) -> Option<Receiver<Key>> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    cbreak::enter();
    let (sender, keys) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let key = match cbreak::next_key() {
                Some(b'h' | b'H') => Key::Hint,
                Some(b'a' | b'A') => Key::All,
                Some(b'l' | b'L') => Key::List,
                Some(b'r' | b'R' | b'\n' | b'\r') => Key::Run,
                Some(b'q' | b'Q' | CTRL_D) | None => {
                    signals::end_servers_and_exit(exit_code.load(Ordering::Relaxed))
                }
                Some(_) => continue,
            };
            if sender.send(key).is_err() {
                return;
            }
        }
    });
    Some(keys)
}
