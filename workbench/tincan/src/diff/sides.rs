//! What is compared: a stage by its name, or a file by its path.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

/// Two stages of which the second was made from the first.
pub struct Pair {
    pub from: &'static str,
    pub to: &'static str,
    /// What the reader will see change.
    pub what: &'static str,
}

/// In reading order; the table in CONTRIBUTING.md is the rule, the variations need not exist.
pub const PAIRS: [Pair; 8] = [
    Pair {
        from: "echo-uni",
        to: "echo-multi",
        what: "The accept loop hands each client to a thread of its own.",
    },
    Pair {
        from: "echo-multi",
        to: "chat-threads",
        what: "Clients stay and hear each other: one table, one lock; a queue and a second thread each.",
    },
    Pair {
        from: "chat-threads",
        to: "chat-poll",
        what: "The threads go: one loop waits for all sockets, and keeps what a thread kept on its stack.",
    },
    Pair {
        from: "chat-threads",
        to: "chat-async",
        what: "Threads become tasks, and a call that blocked is followed by .await.",
    },
    Pair {
        from: "chat-threads",
        to: "chat-green",
        what: "Threads become green threads: the same calls, and one thread that switches stacks.",
    },
    Pair {
        from: "chat-async",
        to: "chat-smol",
        what: "The runtime changes: smol, the successor of async-std.",
    },
    Pair {
        from: "chat-async",
        to: "chat-tls",
        what: "Each connection begins with a handshake, and is private from then on.",
    },
    Pair {
        from: "chat-async",
        to: "chat-uring",
        what: "One thread; the kernel reads and writes, and owns the buffers meanwhile.",
    },
];

/// One of the two texts.
pub struct Side {
    /// How it is called in headings: relative to the workspace for a stage, else as it was typed.
    pub shown: String,
    pub text: String,
}

impl Side {
    /// What `arg` stands for. A stage's name wins over a file of that name; `./NAME` is the file.
    pub fn find(root: Option<&Path>, arg: &str) -> Result<Side> {
        let is_name = is_name(arg);
        if let (true, Some(root)) = (is_name, root)
            && let Some(side) = Side::stage(root, arg)?
        {
            return Ok(side);
        }
        let path = Path::new(arg);
        if path.is_dir() {
            let main = path.join("src").join("main.rs");
            if !main.is_file() {
                bail!("{arg} is a folder without a src/main.rs; {}", stages(root));
            }
            return Side::read(&main, main.display().to_string());
        }
        if !path.exists() {
            let stage = if is_name { "stage or " } else { "" };
            bail!("there is no {stage}file `{arg}`; {}", stages(root));
        }
        Side::read(path, arg.to_string())
    }

    /// The stage or variation of that name, if there is one.
    pub fn stage(root: &Path, name: &str) -> Result<Option<Side>> {
        for folder in ["", "variations/"] {
            let shown = format!("{folder}{name}/src/main.rs");
            let path = root.join(&shown);
            if path.is_file() {
                return Side::read(&path, shown).map(Some);
            }
        }
        Ok(None)
    }

    fn read(path: &Path, shown: String) -> Result<Side> {
        let bytes = fs::read(path).with_context(|| format!("reading {shown}"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            bail!("{shown} is not UTF-8 text, so there are no lines to compare");
        };
        Ok(Side { shown, text })
    }

    /// Whether it is Rust, as far as its name says.
    pub fn is_rust(&self) -> bool {
        Path::new(&self.shown).extension().is_some_and(|extension| extension == "rs")
    }
}

fn is_name(arg: &str) -> bool {
    !arg.is_empty() && !arg.starts_with('.') && !arg.contains(['/', '\\', ':'])
}

/// The folder that holds the stages: that of this program's source, or one above the current folder.
pub fn workspace() -> Option<PathBuf> {
    let holds_stages = |folder: &&Path| folder.join("echo-uni/src/main.rs").is_file();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).filter(holds_stages);
    if let Some(root) = built_in {
        return Some(root.to_path_buf());
    }
    env::current_dir().ok()?.ancestors().find(holds_stages).map(Path::to_path_buf)
}

/// For a message: which names there are.
fn stages(root: Option<&Path>) -> String {
    let Some(root) = root else {
        return "and the folder that holds the stages was not found".to_string();
    };
    let mut names = vec!["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"];
    let variations = variations(root);
    names.extend(variations.iter().map(String::as_str));
    format!("the stages are {}", names.join(", "))
}

fn variations(root: &Path) -> Vec<String> {
    let folders = fs::read_dir(root.join("variations")).into_iter().flatten().flatten();
    let mut names: Vec<_> = folders
        .filter(|folder| folder.path().join("src/main.rs").is_file())
        .filter_map(|folder| folder.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
