//! Writes to standard output.

use std::io::{self, ErrorKind, Write};

use anyhow::{Error, Result};

/// Reports whether an error means that the reader of the output has closed it, as `head` does.
pub fn is_broken_pipe(err: &Error) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == ErrorKind::BrokenPipe)
}

/// Writes to standard output. A broken pipe is not an error: the command still does what comes after.
pub fn print(text: &[u8]) -> Result<()> {
    match write(text) {
        Err(err) if is_broken_pipe(&err) => Ok(()),
        written => written,
    }
}

/// Writes a line to standard output. A broken pipe is an error, which ends a command that only prints; `main`
/// does not report it.
pub fn print_line(line: &str) -> Result<()> {
    write(format!("{line}\n").as_bytes())
}

fn write(text: &[u8]) -> Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}
