//! Reads the keys: Enter continues the tour, `q` ends it. On Unix, `q` needs no Enter after it.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::leave::leave;
use crate::terminal::{CTRL_D, cbreak, next_key};

/// Starts to read the keys. Returns a channel that gets a message for each Enter.
pub fn read_keys() -> Receiver<()> {
    cbreak::enter();
    let (sender, enters) = mpsc::channel();
    thread::spawn(move || {
        loop {
            match next_key() {
                Some(b'\n' | b'\r') if sender.send(()).is_err() => return,
                Some(b'q' | b'Q' | CTRL_D) | None => leave(0),
                Some(_) => {}
            }
        }
    });
    enters
}
