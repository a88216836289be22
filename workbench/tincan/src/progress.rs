//! The progress of a learner, stored in the current folder until the next start of this program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// The file with the progress, in the current folder.
const FILE: &str = ".tincan-progress.json";

/// What a learner has reached in this folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The mutants that the learner has corrected.
    pub corrected: BTreeSet<String>,
    /// The results of the last run of each command with `--watch`, by its command line.
    pub servers: BTreeMap<String, ServerProgress>,
}

/// The results of the last run of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerProgress {
    /// The checks that the server has passed.
    pub passed: BTreeSet<String>,
    /// The check that the server has to pass next.
    pub next: Option<String>,
}

impl ServerProgress {
    /// Sets the check that the server has to pass next.
    pub fn set_next(&mut self, id: &str) {
        self.passed.remove(id);
        self.next = Some(id.to_owned());
    }
}

impl Progress {
    /// Reads the file; if there is none, returns an empty progress.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or this program did not write it.
    pub fn load() -> Result<Self> {
        let text = match fs::read_to_string(FILE) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("cannot read {FILE}"))?,
        };
        let parsed = serde_json::from_str(&text);
        parsed.with_context(|| format!("cannot read {FILE}: delete it to begin again"))
    }

    /// Reads the file, changes the progress and writes the file. Returns the new progress. The file is read again for
    /// each change, because this program may also run in another terminal.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn update(change: impl FnOnce(&mut Self)) -> Result<Self> {
        let mut progress = Self::load()?;
        change(&mut progress);
        progress.write().with_context(|| format!("cannot store the progress in {FILE}"))?;
        Ok(progress)
    }

    /// Writes a temporary file and renames it, so that the stored file is always complete.
    fn write(&self) -> Result<()> {
        let mut file = NamedTempFile::new_in(".")?;
        writeln!(file, "{}", serde_json::to_string_pretty(self)?)?;
        file.persist(FILE)?;
        Ok(())
    }
}
