use std::fs::OpenOptions;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::lines::Lines;

/// Where a server's standard output or standard error goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// Into a pipe that is read at once; all lines are kept.
    Collected,
    /// Into a pipe that is read at once; only the last lines are kept.
    LastLines,
    /// Into a pipe that is not read, and is soon full.
    Unread,
    /// Into a pipe whose reading end is already closed.
    ReaderGone,
    /// Nowhere: the descriptor is closed.
    Closed,
    /// Into a file or device.
    File(PathBuf),
}

impl Outlet {
    /// Returns the descriptor that the server's process gets.
    pub(super) fn stdio(&self) -> Result<Stdio> {
        Ok(match self {
            Outlet::Collected | Outlet::LastLines | Outlet::Unread => Stdio::piped(),
            Outlet::ReaderGone => std::io::pipe()?.1.into(),
            // A shell closes the descriptor before it starts the server.
            Outlet::Closed => Stdio::null(),
            Outlet::File(path) => {
                let file = OpenOptions::new().write(true).open(path);
                file.with_context(|| format!("could not open {}", path.display()))?.into()
            }
        })
    }

    /// Reads the pipe from now on, if it has to be read; otherwise also returns the pipe, which has to stay
    /// open.
    pub(super) fn collect<R: Read + Send + 'static>(&self, pipe: Option<R>) -> (Lines, Option<R>) {
        match (self, pipe) {
            (Outlet::Collected, Some(pipe)) => (Lines::collect(pipe), None),
            (Outlet::LastLines, Some(pipe)) => (Lines::collect_last(pipe), None),
            (_, pipe) => (Lines::default(), pipe),
        }
    }
}
