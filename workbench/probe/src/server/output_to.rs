use std::fs::OpenOptions;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};

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
            OutputTo::ReaderClosed => std::io::pipe()?.1.into(),
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
