use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};

/// The time between two looks at the files. Notifications of the kernel would be quicker, but network folders and
/// shared folders of containers do not send them.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long to wait for a file that an editor writes.
const MAX_WRITE_TIME: Duration = Duration::from_secs(2);

/// The most files that are looked at.
const MAX_FILES: usize = 1_000;

/// The most entries of folders that are visited to find the files.
const MAX_ENTRIES: usize = 10_000;

/// The most folders inside one another that are visited.
const MAX_DEPTH: usize = 8;

/// Folders that compilers and package managers fill.
const TOOL_FOLDERS: [&str; 5] = ["__pycache__", "build", "node_modules", "target", "venv"];

/// The files of a server.
///
/// These are the files that its command names. For each of them in the current folder or below, these are also the
/// files with the same extension in the same folder and below: a server may consist of several files. An interpreter
/// such as `/usr/bin/python3.12` is outside the current folder, so nothing else in its folder counts.
///
/// Hidden files and folders of tools are left out. If a file that the command names has an extension, those without one
/// are left out, too: a program that is compiled from the source changes during a run.
pub struct ServerFiles {
    /// Canonical, so that `server.py` and `./server.py` are one file.
    named: BTreeSet<PathBuf>,
    /// Each folder in which the files with this extension count.
    folders: BTreeSet<(PathBuf, OsString)>,
    seen: BTreeMap<PathBuf, Seen>,
}

/// A file as it was when it was last looked at.
#[derive(Clone)]
struct Seen {
    /// When it was modified, and its length. While both are the same, the file is not read again.
    modified: (Option<SystemTime>, u64),
    /// The hash of its contents: a program that is compiled again from the same source has not changed.
    hash: u64,
}

impl ServerFiles {
    /// Finds the files of a command. The words of a script after `sh -c` count as words of the command.
    ///
    /// # Errors
    ///
    /// No word of the command is a file, or its path cannot be resolved.
    pub fn of_command(command: &[OsString]) -> Result<Self> {
        let mut words: Vec<_> = command.iter().flat_map(|word| files_in_word(word)).collect();
        if words.is_empty() {
            bail!("--watch has no file to look at, because no word of the command is a file");
        }
        if words.iter().any(|path| path.extension().is_some()) {
            words.retain(|path| path.extension().is_some());
        }
        let current = fs::canonicalize(".").context("cannot find the current folder")?;
        let mut files =
            Self { named: BTreeSet::new(), folders: BTreeSet::new(), seen: BTreeMap::new() };
        for word in words {
            let path = fs::canonicalize(&word)
                .with_context(|| format!("cannot find the file {}", word.display()))?;
            if path.starts_with(&current)
                && let (Some(folder), Some(extension)) = (path.parent(), path.extension())
            {
                files.folders.insert((folder.to_owned(), extension.to_owned()));
            }
            files.named.insert(path);
        }
        files.have_changed();
        Ok(files)
    }

    /// Reports whether a file has new contents, has appeared or has gone since the last call.
    pub fn have_changed(&mut self) -> bool {
        let now: BTreeMap<_, _> =
            self.paths().into_iter().filter_map(|path| self.look_at(path)).collect();
        let has_changed = |(path, file): (&PathBuf, &Seen)| {
            self.seen.get(path).is_none_or(|seen| seen.hash != file.hash)
        };
        let have_changed = now.len() != self.seen.len() || now.iter().any(has_changed);
        self.seen = now;
        have_changed
    }

    /// Waits until nothing changes any more, and the files that the command names exist: an editor may remove a file
    /// and write it anew. If that takes too long, the next run reports what is wrong.
    pub fn wait_until_written(&mut self) {
        let deadline = Instant::now() + MAX_WRITE_TIME;
        while Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL / 2);
            if !self.have_changed() && self.named.iter().all(|path| path.is_file()) {
                return;
            }
        }
    }

    /// Returns the paths of all files.
    fn paths(&self) -> BTreeSet<PathBuf> {
        let mut walk = Walk { paths: self.named.clone(), visited: 0 };
        for (folder, extension) in &self.folders {
            walk.add_files(folder, extension, MAX_DEPTH);
        }
        walk.paths
    }

    /// Returns the state of a file, or `None` if it cannot be read.
    fn look_at(&self, path: PathBuf) -> Option<(PathBuf, Seen)> {
        let metadata = fs::metadata(&path).ok()?;
        let modified = (metadata.modified().ok(), metadata.len());
        if let Some(seen) = self.seen.get(&path).filter(|seen| seen.modified == modified) {
            let seen = seen.clone();
            return Some((path, seen));
        }
        let mut hasher = DefaultHasher::new();
        fs::read(&path).ok()?.hash(&mut hasher);
        Some((path, Seen { modified, hash: hasher.finish() }))
    }
}

/// Returns a word if it is a file; otherwise the files among the words in it. A shell's operators may touch a word.
fn files_in_word(word: &OsStr) -> Vec<PathBuf> {
    if Path::new(word).is_file() {
        return vec![word.into()];
    }
    let words = word.to_str().and_then(shlex::split).unwrap_or_default();
    let words = words.iter().flat_map(|word| word.split([';', '&', '|', '(', ')']));
    words.map(PathBuf::from).filter(|path| path.is_file()).collect()
}

/// A walk through folders. It stops after it has found or visited too much.
struct Walk {
    paths: BTreeSet<PathBuf>,
    /// The number of entries that were visited.
    visited: usize,
}

impl Walk {
    /// Adds the files with this extension, in a folder and the folders in it.
    fn add_files(&mut self, folder: &Path, extension: &OsStr, depth: usize) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            self.visited += 1;
            if self.visited > MAX_ENTRIES || self.paths.len() >= MAX_FILES {
                return;
            }
            let path = entry.path();
            let name = entry.file_name();
            let is_of_a_tool = name.as_encoded_bytes().starts_with(b".")
                || TOOL_FOLDERS.iter().any(|it| name == *it);
            if is_of_a_tool {
                continue;
            }
            // A link to a folder is not followed: it may lead back.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth > 0 => {
                    self.add_files(&path, extension, depth - 1);
                }
                Ok(kind) if kind.is_file() && path.extension() == Some(extension) => {
                    self.paths.insert(path);
                }
                _ => {}
            }
        }
    }
}
