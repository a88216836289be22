//! Reads the keys: Enter continues the tour, `q` ends it at once, without an Enter after it.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::leave::leave;
use crate::terminal::cbreak;

/// The byte of Ctrl-D in cbreak mode.
const CTRL_D: u8 = 4;

/// Starts to read the keys. Returns a channel that gets a message for each Enter.
pub fn read_keys() -> Receiver<()> {
    cbreak::enter();
    let (sender, enters) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let mut key = [0];
            match io::stdin().read(&mut key) {
                Ok(1..) => match key[0] {
                    b'\n' | b'\r' if sender.send(()).is_err() => return,
                    b'q' | b'Q' | CTRL_D => leave(0),
                    _ => {}
                },
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => leave(0),
            }
        }
    });
    enters
}
