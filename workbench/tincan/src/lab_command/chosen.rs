//! The servers and experiments that were asked for.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};
use lab::{EXPERIMENTS, Experiment, NatsServer, PEERS, PROJECT_SERVERS, ProjectServer, ServerSpec};
use probe::server;

use super::folder::Folder;
use crate::stages::{self, ServerPrograms, dies_with_us};

/// A server of the user.
#[derive(Clone, Debug)]
pub struct UserServer {
    name: String,
    command: Vec<OsString>,
    shown: String,
}

const EXPECTED: &str = "expected a name and a command, such as snake='python3 my_server.py {port}'";

/// Reads the value of `--mine`.
pub fn user_server(text: &str) -> Result<UserServer, String> {
    let (name, shown) = text.split_once('=').ok_or(EXPECTED)?;
    let name = name.trim();
    let shown = shown.trim();
    if name.is_empty() || name.contains(|ch: char| ch == ',' || ch.is_control()) {
        return Err(EXPECTED.to_owned());
    }
    if is_known(name) {
        return Err(format!("{name} is the name of a server of the laboratory: choose another"));
    }
    let words = shlex::split(shown).ok_or_else(|| {
        format!("in `{shown}`, a quotation mark is not closed, or nothing follows a backslash")
    })?;
    if words.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    let command = words.into_iter().map(Into::into).collect();
    Ok(UserServer { name: name.to_owned(), command, shown: shown.to_owned() })
}

/// Finds an experiment by its name.
pub fn experiment(text: &str) -> Result<&'static Experiment, String> {
    let found = EXPERIMENTS.iter().copied().find(|experiment| experiment.id == text);
    found.ok_or_else(|| {
        format!("there is no such experiment. There are:\n{}", list_experiments().trim_end())
    })
}

/// Lists all experiments with their questions.
pub fn list_experiments() -> String {
    let line = |it: &&Experiment| format!("  {:<14} {}\n", it.id, it.question);
    EXPERIMENTS.iter().map(line).collect()
}

fn is_known(name: &str) -> bool {
    PROJECT_SERVERS.iter().any(|server| server.name == name)
        || PEERS.iter().any(|peer| peer.name == name)
}

/// Checks the names of servers.
pub fn check(user_servers: &[UserServer], only: &[String], no_peers: bool) -> Result<(), String> {
    for (i, server) in user_servers.iter().enumerate() {
        if user_servers[..i].iter().any(|other| other.name == server.name) {
            return Err(format!("two servers cannot both be called {}", server.name));
        }
    }
    let is_users = |name: &str| user_servers.iter().any(|server| server.name == name);
    if let Some(name) = only.iter().find(|name| !is_known(name) && !is_users(name)) {
        let present = PROJECT_SERVERS.iter().filter(|it| is_present(it)).map(|it| it.name);
        let names: Vec<_> = present.chain(PEERS.iter().map(|peer| peer.name)).collect();
        return Err(format!(
            "--only {name}: there is no such server. There are: {}; and the servers that --mine names",
            names.join(", ")
        ));
    }
    let is_peer = |name: &&String| PEERS.iter().any(|peer| peer.name == **name);
    match only.iter().find(is_peer) {
        Some(name) if no_peers => {
            Err(format!("--only {name} and --no-peers contradict each other"))
        }
        _ => Ok(()),
    }
}

fn is_wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|it| it == name)
}

/// Reports whether the workspace contains a server. Without a workspace, reports whether the program of the
/// server is in the folder of this program.
fn is_present(server: &ProjectServer) -> bool {
    match stages::workspace() {
        Some(root) => server.is_in(&root),
        None => {
            ServerPrograms::existing().is_ok_and(|programs| programs.program(server.name).exists())
        }
    }
}

/// Returns the servers of this project that were asked for.
pub fn project_servers(only: &[String], variations: bool) -> Result<Vec<&'static ProjectServer>> {
    let is_default = |server: &ProjectServer| server.is_stage || variations || !only.is_empty();
    let is_asked = |server: &&ProjectServer| is_wanted(server.name, only) && is_default(server);
    let asked = PROJECT_SERVERS.iter().filter(is_asked);
    let (present, absent): (Vec<_>, Vec<&ProjectServer>) =
        asked.partition(|server| is_present(server));
    match &absent[..] {
        [absent, ..] if !only.is_empty() => {
            bail!("there is no {} here; a clone of Tin Can Chat has it", absent.name)
        }
        _ => Ok(present),
    }
}

/// Builds the programs of these servers, unless that has been done.
pub fn build(servers: &[&ProjectServer], are_built: bool) -> Result<Vec<ServerSpec>> {
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    let programs = match are_built || names.is_empty() {
        true => ServerPrograms::existing()?,
        false => ServerPrograms::build(&names)?,
    };
    let spec = |server: &ProjectServer| server.spec(&programs.program(server.name));
    servers.iter().map(|server| Ok(spec(server)?.wrapped(dies_with_us))).collect()
}

/// Adds a NATS server to each server that needs one. Leaves out these servers if NATS is not installed.
pub fn with_nats(
    servers: Vec<ServerSpec>,
    scratch: &Path,
    left_out: &mut Vec<String>,
) -> Vec<ServerSpec> {
    let mut ready = Vec::new();
    for server in servers {
        if !server.needs_nats() {
            ready.push(server);
        } else if let Some(nats) = NatsServer::find(scratch, dies_with_us) {
            ready.push(server.with_nats(nats));
        } else {
            let program = NatsServer::PROGRAM;
            left_out.push(format!("{} is left out: {program} is not installed.", server.name));
        }
    }
    ready
}

/// Starts each server of the user once, to find out which protocol it speaks.
pub fn recognize_all(user_servers: &[UserServer]) -> Result<Vec<ServerSpec>> {
    let recognize =
        |it: &UserServer| lab::user_server(&it.name, &it.command, &it.shown, dies_with_us);
    let servers = user_servers.iter().map(recognize).collect();
    // Ends processes that have left the group of their server.
    let _names = server::end_orphans();
    servers
}

/// Returns the peers that were asked for and can be started.
pub fn peers(only: &[String], folder: &Folder, left_out: &mut Vec<String>) -> Vec<ServerSpec> {
    let mut peers = Vec::new();
    for peer in PEERS.iter().filter(|peer| is_wanted(peer.name, only)) {
        match peer.prepare(folder.path(), folder.scratch()) {
            Ok(spec) => peers.push(spec.wrapped(dies_with_us)),
            Err(why) => left_out.push(format!("{} is left out: {why}.", peer.name)),
        }
    }
    peers
}
