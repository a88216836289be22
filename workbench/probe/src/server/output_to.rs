use std::fs::OpenOptions;
use std::io::{self, PipeWriter, Read};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, poll};
#[cfg(unix)]
use rustix::io::Errno;

use super::lines::OutputLines;

/// Where a server's standard output or standard error goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputTo {
    /// Into a pipe that is read at once; all lines are kept.
    Collected,
    /// Into a pipe that is read at once; only the last lines are kept.
    CollectedLast,
    /// Into a pipe that is not read, and is soon full.
    Unread,
    /// Into a pipe whose reading end is already closed.
    ReaderClosed,
    /// Nowhere: the descriptor is closed.
    Closed,
    /// Into a file or device, which must exist.
    File(PathBuf),
}

impl OutputTo {
    /// Returns the descriptor that the server's process gets.
    pub(super) fn stdio(&self) -> Result<Stdio> {
        Ok(match self {
            OutputTo::Collected | OutputTo::CollectedLast | OutputTo::Unread => Stdio::piped(),
            OutputTo::ReaderClosed => pipe_without_reader()?.into(),
            // A shell closes the descriptor before it starts the server.
            OutputTo::Closed => Stdio::null(),
            OutputTo::File(path) => {
                let file = OpenOptions::new().write(true).open(path);
                file.with_context(|| format!("could not open {}", path.display()))?.into()
            }
        })
    }

    /// Reads the pipe from now on if its lines are collected. Otherwise also returns the pipe, which has to stay open.
    pub(super) fn collect<R: Read + Send + 'static>(
        &self,
        pipe: Option<R>,
    ) -> (OutputLines, Option<R>) {
        match (self, pipe) {
            (OutputTo::Collected, Some(pipe)) => (OutputLines::collect(pipe), None),
            (OutputTo::CollectedLast, Some(pipe)) => (OutputLines::collect_last(pipe), None),
            (_, pipe) => (OutputLines::default(), pipe),
        }
    }
}

/// Returns a pipe into which a write fails with `EPIPE`, because nobody can read from it any more.
///
/// It is not enough to close the reading end: a process that another thread starts at this moment owns a copy of it
/// until it executes its program. So this waits until all copies are closed, which poll(2) reports as `POLLERR`.
///
/// # Errors
///
/// What pipe(2) and poll(2) report, such as `EMFILE`.
#[cfg(unix)]
pub fn pipe_without_reader() -> io::Result<PipeWriter> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    loop {
        // `POLLERR` is reported without being asked for.
        match poll(&mut [PollFd::new(&writer, PollFlags::empty())], None) {
            Ok(_) => return Ok(writer),
            Err(Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

/// Returns a pipe whose reading end is closed.
#[cfg(not(unix))]
pub fn pipe_without_reader() -> io::Result<PipeWriter> {
    Ok(io::pipe()?.1)
}
