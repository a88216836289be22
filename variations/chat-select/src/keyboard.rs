//! The keyboard as one descriptor among others.

use std::io::{IsTerminal as _, Stdin};

use nix::errno::Errno;
use nix::unistd;

/// Whether what is typed is for this program: one in the background that reads from its terminal is
/// stopped by the kernel (SIGTTIN).
pub fn is_ours(keyboard: &Stdin) -> bool {
    let in_front = || unistd::tcgetpgrp(keyboard).is_ok_and(|group| group == unistd::getpgrp());
    !keyboard.is_terminal() || in_front()
}

/// What has been typed; nothing, if nothing more will be.
pub fn typed(keyboard: &Stdin) -> Option<Vec<u8>> {
    // Not through `Stdin`'s own buffer: what that holds, select does not see.
    let mut text = [0; 4096];
    match unistd::read(keyboard, &mut text) {
        Err(Errno::EINTR | Errno::EAGAIN) => Some(Vec::new()),
        Err(_) | Ok(0) => None,
        Ok(n) => Some(text[..n].to_vec()),
    }
}
