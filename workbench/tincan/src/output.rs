use std::io::{self, ErrorKind, Write};

use anyhow::{Error, Result};

/// Whether it is that nobody reads what was printed.
pub fn is_broken_pipe(err: &Error) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == ErrorKind::BrokenPipe)
}

/// Writes to standard output; a reader that has seen enough is no error.
pub fn print(text: &[u8]) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
