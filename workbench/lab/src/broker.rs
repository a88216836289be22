//! The NATS server that chat-nats needs beside it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::subject::installed;
use probe::server::{Launch, Server};

/// What it is called.
pub const PROGRAM: &str = "nats-server";

/// What a reader has to know of the figures of whoever needs one.
pub const NOT_COUNTED: &str = "the NATS server that it needs ran on the same cores; its memory and \
                               its processor time are not counted";

/// A NATS server that is started anew for each server that needs one, and remembers nothing.
#[derive(Clone, Debug)]
pub struct Broker {
    program: PathBuf,
    /// Where it keeps what it is told, until it is started again.
    store: PathBuf,
    wrap: fn(Launch) -> Launch,
}

impl Broker {
    /// Prepares to start it, if it is installed; what it is told goes into the folder.
    #[must_use]
    pub fn find(folder: &Path, wrap: fn(Launch) -> Launch) -> Option<Self> {
        Some(Self { program: installed(PROGRAM)?, store: folder.join("nats"), wrap })
    }

    /// Starts it, and waits until it listens.
    pub(super) fn start(&self) -> Result<Server> {
        let store = &self.store;
        match fs::remove_dir_all(store) {
            Err(err) if err.kind() != ErrorKind::NotFound => {
                return Err(err).with_context(|| format!("cannot empty {}", store.display()));
            }
            _ => {}
        }
        let launch = Launch::new(&self.program, &["-sd".into(), store.into()]);
        (self.wrap)(launch.args(&["-js", "-a", "127.0.0.1", "-p", "{port}"])).start_anything()
    }
}
