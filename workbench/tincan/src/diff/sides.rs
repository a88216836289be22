//! Finds the two texts: a server by its name, or a file by its path.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use probe::servers::{self, SERVERS};

use crate::stages;

/// Two servers, of which the second was made from a copy of the first.
#[derive(Clone, Copy)]
pub struct Pair {
    pub from: &'static str,
    pub to: &'static str,
    /// What changes from the first to the second.
    pub change: &'static str,
}

/// Returns all pairs, in reading order.
pub fn pairs() -> impl Iterator<Item = Pair> {
    SERVERS.iter().filter_map(|server| {
        let comparison = server.compared_with?;
        Some(Pair { from: comparison.server, to: server.name, change: comparison.change? })
    })
}

/// One of the two texts.
pub struct Side {
    /// The name in headings: the path relative to the workspace for a server, otherwise the path as it was
    /// typed.
    pub shown: String,
    pub text: String,
}

impl Side {
    /// Returns the text that an argument names. A server's name has precedence over a file with that name;
    /// `./NAME` is the file.
    pub fn find(root: Option<&Path>, arg: &str) -> Result<Side> {
        let is_name = is_name(arg);
        if let (true, Some(root)) = (is_name, root)
            && let Some(side) = Side::server(root, arg)?
        {
            return Ok(side);
        }
        let path = Path::new(arg);
        if path.is_dir() {
            let main = path.join("src").join("main.rs");
            if !main.is_file() {
                bail!("{arg} is a folder without a src/main.rs; {}", known_servers(root));
            }
            return Side::read(&main, main.display().to_string());
        }
        if !path.exists() {
            let server = if is_name { "server or " } else { "" };
            bail!("there is no {server}file `{arg}`; {}", known_servers(root));
        }
        Side::read(path, arg.to_string())
    }

    /// Returns the text of the server with this name, if it exists in the workspace. A server that is not in
    /// the list of servers is looked for in a folder with its name.
    pub fn server(root: &Path, name: &str) -> Result<Option<Side>> {
        let listed = servers::find(name).map(|server| server.source.to_owned());
        let in_folder = ["", "variations/"].map(|folder| format!("{folder}{name}/src/main.rs"));
        for shown in listed.into_iter().chain(in_folder) {
            let path = root.join(&shown);
            if path.is_file() {
                return Side::read(&path, shown).map(Some);
            }
        }
        Ok(None)
    }

    fn read(path: &Path, shown: String) -> Result<Side> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            bail!("{shown} is not UTF-8 text, so it has no lines to compare");
        };
        Ok(Side { shown, text })
    }

    /// Reports whether the name of the file is that of a Rust file.
    pub fn is_rust(&self) -> bool {
        Path::new(&self.shown).extension().is_some_and(|extension| extension == "rs")
    }
}

fn is_name(arg: &str) -> bool {
    !arg.is_empty() && !arg.starts_with('.') && !arg.contains(['/', '\\', ':'])
}

/// Returns the folder that contains the stages: the workspace in which this program was built, or the current
/// folder, or a folder that contains it.
pub fn workspace() -> Option<PathBuf> {
    let has_stages =
        |folder: &&Path| servers::stages().all(|stage| folder.join(stage.source).is_file());
    let built_in = stages::workspace().filter(|root| has_stages(&root.as_path()));
    built_in
        .or_else(|| env::current_dir().ok()?.ancestors().find(has_stages).map(Path::to_path_buf))
}

/// Returns the names of the servers, for a message.
fn known_servers(root: Option<&Path>) -> String {
    let Some(root) = root else {
        return "the servers of Tin Can Chat are found in a clone of it".to_string();
    };
    let exists = |server: &&servers::ServerInfo| root.join(server.source).is_file();
    let names: Vec<_> = SERVERS.iter().filter(exists).map(|server| server.name).collect();
    format!("the servers are {}", names.join(", "))
}
