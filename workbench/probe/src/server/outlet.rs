use std::fs::OpenOptions;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::lines::Lines;

/// What happens to what a server prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// It is read at once, line by line.
    Collected,
    /// It is read at once, and only the last lines are kept.
    LastLines,
    /// It goes into a pipe that nobody reads, which is soon full.
    Unread,
    /// It goes into a pipe whose other end is closed already.
    ReaderGone,
    /// There is no such descriptor at all.
    Closed,
    /// It goes into a file or device.
    File(PathBuf),
}

pub(super) fn stdio(outlet: &Outlet) -> Result<Stdio> {
    Ok(match outlet {
        Outlet::Collected | Outlet::LastLines | Outlet::Unread => Stdio::piped(),
        Outlet::ReaderGone => std::io::pipe()?.1.into(),
        Outlet::Closed => Stdio::null(),
        Outlet::File(path) => {
            let file = OpenOptions::new().write(true).open(path);
            file.with_context(|| format!("could not open {}", path.display()))?.into()
        }
    })
}

/// Gives what to collect, and what to hold open without reading it.
pub(super) fn outlet<R: Read + Send + 'static>(
    outlet: &Outlet,
    pipe: Option<R>,
) -> (Lines, Option<Box<dyn Read + Send>>) {
    match (outlet, pipe) {
        (Outlet::Collected, Some(pipe)) => (Lines::collect(pipe), None),
        (Outlet::LastLines, Some(pipe)) => (Lines::collect_last(pipe), None),
        (_, Some(pipe)) => (Lines::default(), Some(Box::new(pipe))),
        (_, None) => (Lines::default(), None),
    }
}
