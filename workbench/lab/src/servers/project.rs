//! The servers of this project: the stages and the variations.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tincanchat::{MAX_CLIENTS, MAX_CLIENTS_THREADS};

use super::super::origin::Origin;
use super::super::protocol::Protocol;
use super::spec::{ClientLimit, ServerSpec};
use probe::server::Launch;

/// A server of this project.
#[derive(Clone, Copy, Debug)]
pub struct ProjectServer {
    /// The name of its package and of its program.
    pub name: &'static str,
    /// The protocol that it speaks.
    pub protocol: Protocol,
    /// Whether it is a stage, which every workspace has. A variation may be missing.
    pub is_stage: bool,
    /// How many clients it takes. It is told the number where that is more than its default.
    pub limit: Option<ClientLimit>,
    /// How it serves many clients, in a few words.
    pub design: &'static str,
}

impl ProjectServer {
    const fn new(
        name: &'static str,
        protocol: Protocol,
        is_stage: bool,
        limit: Option<ClientLimit>,
        design: &'static str,
    ) -> Self {
        Self { name, protocol, is_stage, limit, design }
    }

    /// Reports whether its package is in this workspace.
    #[must_use]
    pub fn is_in(&self, workspace: &Path) -> bool {
        let folders = [workspace.join(self.name), workspace.join("variations").join(self.name)];
        folders.iter().any(|folder| folder.join("Cargo.toml").exists())
    }

    /// Describes how its program is started.
    pub fn spec(&self, program: &Path) -> Result<ServerSpec> {
        let launch = Launch::new(program, &[]).args(&["-qqq"]);
        let command = format!("{} --port 0 -qqq", self.name);
        let mut spec = ServerSpec::new(self.name, Origin::Project, self.protocol, command, launch);
        spec.limit = self.limit;
        if let Some(ClientLimit { clients, .. }) = self.limit {
            spec = spec.with_args(&["--max-clients", &clients.to_string()]);
            spec.command = format!("{} --max-clients {clients}", spec.command);
        }
        if spec.is_in_tls() {
            let folder = TempDir::new().context("cannot make a folder for a certificate")?;
            spec = spec.with_args(&["--dev-cert", &folder.path().to_string_lossy()]);
            spec.command += " --dev-cert dev";
            spec.files = Some(Arc::new(folder));
        }
        Ok(spec)
    }
}

/// All servers of this project that are measured, in the order in which they are shown.
pub const PROJECT_SERVERS: &[ProjectServer] = &[
    ProjectServer::new("echo-uni", Protocol::Echo, true, None, "one client at a time"),
    ProjectServer::new("echo-multi", Protocol::Echo, true, None, "one thread per client"),
    ProjectServer::new(
        "echo-mixins",
        Protocol::Echo,
        false,
        None,
        "one process or thread per client",
    ),
    ProjectServer::new("chat-threads", Protocol::TinCan, true, THREADS, "two threads per client"),
    ProjectServer::new("chat-green", Protocol::TinCan, false, MANY, "two green threads per client"),
    ProjectServer::new("chat-poll", Protocol::TinCan, true, MANY, "one loop over readiness"),
    ProjectServer::new("chat-uring", Protocol::TinCan, false, MANY, "one loop over completion"),
    ProjectServer::new("chat-async", Protocol::TinCan, true, MANY, "two tasks per client"),
    ProjectServer::new("chat-smol", Protocol::TinCan, false, MANY, "two tasks per client"),
    ProjectServer::new(
        "chat-tls",
        Protocol::TinCanTls,
        false,
        MANY,
        "two tasks per client, inside TLS",
    ),
    ProjectServer::new(
        "chat-nats",
        Protocol::TinCan,
        false,
        MANY,
        "two tasks per client, over NATS",
    ),
];

/// Two threads for each client; Rust aborts a program that has about 16,000 threads.
const THREADS: Option<ClientLimit> = Some(ClientLimit {
    clients: 7500,
    why: "it has two threads for each client",
    default: Some(MAX_CLIENTS_THREADS),
});

/// Ten thousand clients, and some that send in addition.
const MANY: Option<ClientLimit> = Some(ClientLimit {
    clients: 12_000,
    why: "it was started with this limit",
    default: Some(MAX_CLIENTS),
});
