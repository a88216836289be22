//! The NATS server that chat-nats needs.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::installed::installed;
use probe::server::{Launch, Server};

/// A NATS server, which is started anew for each server that needs it, with an empty store.
#[derive(Clone, Debug)]
pub struct NatsServer {
    program: PathBuf,
    /// The folder in which it stores messages. It is emptied at each start.
    store: PathBuf,
    wrap: fn(Launch) -> Launch,
}

impl NatsServer {
    /// The name of its program.
    pub const PROGRAM: &str = "nats-server";

    /// What a reader has to know about the figures of a server that needs one.
    pub const NOTE: &str = "the NATS server that it needs ran on the same cores; its memory and its \
                            processor time are not counted";

    /// Finds the program, if it is installed. Its store is made in `folder`.
    #[must_use]
    pub fn find(folder: &Path, wrap: fn(Launch) -> Launch) -> Option<Self> {
        Some(Self { program: installed(Self::PROGRAM)?, store: folder.join("nats"), wrap })
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
        (self.wrap)(launch.args(&["-js", "-a", "127.0.0.1", "-p", "{port}"])).start_on_free_port()
    }
}
