//! The keyboard: standard input as one descriptor among others.

use std::io::{IsTerminal as _, Stdin};

use nix::errno::Errno;
use nix::unistd;

/// Reports whether this program may read from its standard input: a program in the background that reads
/// from its terminal is stopped by the kernel (SIGTTIN).
pub fn may_read(keyboard: &Stdin) -> bool {
    if !keyboard.is_terminal() {
        return true; // a file or a pipe
    }
    let foreground = unistd::tcgetpgrp(keyboard);
    foreground.is_ok_and(|group| group == unistd::getpgrp())
}

/// Reads once what has been typed; does not wait if select has reported the keyboard as readable. Returns
/// `None` at the end of the input.
pub fn read_typed(keyboard: &Stdin) -> Option<Vec<u8>> {
    // The methods of `Stdin` are not used, because select does not see the bytes in their buffer.
    let mut text = [0; 4096];
    match unistd::read(keyboard, &mut text) {
        Ok(0) => None,
        Ok(n) => Some(text[..n].to_vec()),
        // A signal came, or another program with the same terminal has made the terminal non-blocking and
        // read the text.
        Err(Errno::EINTR | Errno::EAGAIN) => Some(Vec::new()),
        // The terminal is gone, or standard input is not open for reading.
        Err(_) => None,
    }
}
