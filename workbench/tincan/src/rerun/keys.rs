use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::signals;
use crate::terminal::{CTRL_D, cbreak, next_key};

/// A key that the user presses.
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

/// Reports whether the user can press keys: standard input and standard output are a terminal, on Unix. On other
/// systems, a key would arrive only after the user has pressed Enter.
pub fn has_keys() -> bool {
    cfg!(unix) && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Starts a thread that reads keys. Returns `None` if the user cannot press keys. At `q`, Ctrl-D or the end of the
/// input, the thread ends the program at once, with the exit code at that moment, even while a check runs.
///
/// Upper-case letters are not keys: an arrow key sends one, after two other bytes.
pub fn read(exit_code: Arc<AtomicU8>) -> Option<Receiver<Key>> {
    if !has_keys() {
        return None;
    }
    cbreak::enter();
    let (sender, keys) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let key = match next_key() {
                Some(b'h') => Key::Hint,
                Some(b'a') => Key::All,
                Some(b'l') => Key::List,
                Some(b'r' | b'\n' | b'\r') => Key::Run,
                Some(b'q' | CTRL_D) | None => {
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
