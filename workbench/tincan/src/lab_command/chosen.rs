use std::path::Path;

use anyhow::{Result, bail};
use lab::{BROKER, Broker, EXPERIMENTS, Experiment, PEERS, STAGES, Stage, Subject};
use probe::server;

use super::{Words, list};
use crate::stages::{self, Stages, dies_with_us};

/// A server of the reader's.
#[derive(Clone, Debug)]
pub struct Mine {
    name: String,
    command: Words,
    shown: String,
}

/// What is wanted where a server of one's own is named.
const MINE: &str = "a name and a command are wanted, such as snake='python3 my_server.py {port}'";

pub fn mine(text: &str) -> Result<Mine, String> {
    let (name, shown) = text.split_once('=').ok_or(MINE)?;
    let (name, shown) = (name.trim(), shown.trim());
    if name.is_empty() || name.contains(|ch: char| ch == ',' || ch.is_control()) {
        return Err(MINE.to_owned());
    }
    if is_known(name) {
        return Err(format!("{name} is the name of a server of the laboratory: take another"));
    }
    let words = shlex::split(shown).ok_or_else(|| {
        format!("a quotation mark in `{shown}` has no second one, or a backslash nothing behind it")
    })?;
    if words.is_empty() {
        return Err(MINE.to_owned());
    }
    let command = words.into_iter().map(Into::into).collect();
    Ok(Mine { name: name.to_owned(), command, shown: shown.to_owned() })
}

pub fn experiment(text: &str) -> Result<&'static Experiment, String> {
    let found = EXPERIMENTS.iter().copied().find(|experiment| experiment.id == text);
    found.ok_or_else(|| format!("there is no such experiment. There are:\n{}", list().trim_end()))
}

fn is_known(name: &str) -> bool {
    STAGES.iter().any(|stage| stage.name == name) || PEERS.iter().any(|peer| peer.name == name)
}

/// What one word alone does not show.
pub fn check(mine: &[Mine], only: &[String], no_peers: bool) -> Result<(), String> {
    for (i, one) in mine.iter().enumerate() {
        if mine[..i].iter().any(|other| other.name == one.name) {
            return Err(format!("two servers cannot both be called {}", one.name));
        }
    }
    let is_mine = |name: &str| mine.iter().any(|one| one.name == name);
    if let Some(name) = only.iter().find(|name| !is_known(name) && !is_mine(name)) {
        let ours = STAGES.iter().filter(|stage| is_here(stage)).map(|stage| stage.name);
        let names: Vec<_> = ours.chain(PEERS.iter().map(|peer| peer.name)).collect();
        return Err(format!(
            "--only {name}: there is no such server. There are: {}; and those that --mine names",
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

/// Whether a stage is in the workspace; outside of one, whether its program is beside this one.
fn is_here(stage: &Stage) -> bool {
    match stages::workspace() {
        Some(root) => stage.is_in(&root),
        None => Stages::here().is_ok_and(|stages| stages.program(stage.name).exists()),
    }
}

/// Those of this project that are wanted.
pub fn stages(only: &[String], variations: bool) -> Result<Vec<&'static Stage>> {
    let is_usual = |stage: &Stage| stage.is_stage || variations || !only.is_empty();
    let is_asked = |stage: &&Stage| is_wanted(stage.name, only) && is_usual(stage);
    let asked = STAGES.iter().filter(is_asked);
    let (here, absent): (Vec<_>, Vec<&Stage>) = asked.partition(|stage| is_here(stage));
    match &absent[..] {
        [absent, ..] if !only.is_empty() => bail!("there is no {} in this workspace", absent.name),
        _ => Ok(here),
    }
}

/// Builds those that are wanted, unless they are.
pub fn ours(here: &[&Stage], are_built: bool) -> Result<Vec<Subject>> {
    let names: Vec<_> = here.iter().map(|stage| stage.name).collect();
    let programs = match are_built || names.is_empty() {
        true => Stages::here()?,
        false => Stages::ready(&names)?,
    };
    let subject = |stage: &Stage| Subject::ours(stage, &programs.program(stage.name));
    here.iter().map(|stage| Ok(subject(stage)?.wrapped(dies_with_us))).collect()
}

/// Gives each what it needs beside it, which keeps what it is told in the folder; a sentence for each
/// that has to be left out.
pub fn equipped(ours: Vec<Subject>, folder: &Path, left_out: &mut Vec<String>) -> Vec<Subject> {
    let mut equipped = Vec::new();
    for subject in ours {
        match subject.needs_broker().then(|| Broker::find(folder, dies_with_us)) {
            None => equipped.push(subject),
            Some(Some(broker)) => equipped.push(subject.beside(broker)),
            Some(None) => {
                left_out.push(format!("{BROKER} is not installed: {} is left out.", subject.name));
            }
        }
    }
    equipped
}

/// Starts each, to see what it is.
pub fn recognized(mine: &[Mine]) -> Result<Vec<Subject>> {
    let recognize =
        |it: &Mine| Subject::mine(&it.name, &it.command, it.shown.clone(), dies_with_us);
    let subjects = mine.iter().map(recognize).collect();
    let _ended_too = server::end_escaped();
    subjects
}

/// Those that are wanted and installed; a sentence for each that is not.
pub fn peers(only: &[String], folder: &Path, left_out: &mut Vec<String>) -> Result<Vec<Subject>> {
    let mut peers = Vec::new();
    for peer in PEERS.iter().filter(|peer| is_wanted(peer.name, only)) {
        match peer.find(folder)? {
            Some(subject) => peers.push(subject.wrapped(dies_with_us)),
            None => left_out.push(format!("{} is not installed: left out.", peer.program)),
        }
    }
    Ok(peers)
}
