use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

/// How often the files are looked at. Notifications of the kernel would be quicker, but network folders and shared
/// folders of containers do not send them.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The most files that are looked at.
const MOST: usize = 1_000;

/// The most folders inside one another that are looked at.
const DEEPEST: usize = 8;

/// The files of a server: those that its command names, and those with the same ending in the same folders and below.
pub struct ServerFiles {
    named: Vec<PathBuf>,
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
    /// No word of the command is a file.
    pub fn of_command(command: &[OsString]) -> Result<Self> {
        let named: Vec<_> = command.iter().flat_map(|word| files_in_word(word)).collect();
        if named.is_empty() {
            bail!("--watch has no file to look at, because no word of the command is a file");
        }
        let mut files = Self { named, seen: BTreeMap::new() };
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
    /// and write it anew.
    pub fn wait_until_written(&mut self) {
        loop {
            std::thread::sleep(LOOK_INTERVAL / 2);
            if !self.have_changed() && self.named.iter().all(|path| path.is_file()) {
                return;
            }
        }
    }

    /// Returns the paths of all files, in no order.
    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.named.clone();
        for file in &self.named {
            if let (Some(folder), Some(extension)) = (file.parent(), file.extension()) {
                let folder = if folder == Path::new("") { Path::new(".") } else { folder };
                add_files(folder, extension, DEEPEST, &mut paths);
            }
        }
        paths
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

/// Returns a word if it is a file; otherwise the files among the words in it.
fn files_in_word(word: &OsStr) -> Vec<PathBuf> {
    if Path::new(word).is_file() {
        return vec![word.into()];
    }
    let words = word.to_str().and_then(shlex::split).unwrap_or_default();
    words.into_iter().map(PathBuf::from).filter(|path| path.is_file()).collect()
}

/// Adds the files with this extension, in a folder and the folders in it. Folders of tools are left out.
fn add_files(folder: &Path, extension: &OsStr, depth: usize, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if paths.len() >= MOST {
            return;
        }
        let (path, name) = (entry.path(), entry.file_name());
        let is_of_a_tool = name.as_encoded_bytes().starts_with(b".")
            || ["target", "node_modules"].iter().any(|it| name == *it);
        // A link to a folder is not followed: it may lead back.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 && !is_of_a_tool => {
                add_files(&path, extension, depth - 1, paths);
            }
            Ok(kind) if kind.is_file() && path.extension() == Some(extension) => paths.push(path),
            _ => {}
        }
    }
}
