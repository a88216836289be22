//! The folder of the results.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use lab::{Results, data, page, utc};
use tempfile::TempDir;

use crate::stages;

/// Every run with every figure.
const DATA: &str = "data.json";

/// The page for a browser.
const PAGE: &str = "report.html";

/// The folder of the results.
pub struct Folder {
    path: PathBuf,
    /// A folder for temporary files.
    scratch: TempDir,
}

/// Checks that results may be written into a folder: they must not replace other files.
pub fn check(path: &Path) -> Result<(), String> {
    if path.exists() && !path.is_dir() {
        return Err(format!("{} is not a folder: the results are several files", path.display()));
    }
    let taken: Vec<_> = [DATA, PAGE].into_iter().filter(|name| path.join(name).exists()).collect();
    match taken.first() {
        Some(name) if !has_earlier_results(path) => Err(format!(
            "there is a {name} in {} that is not the laboratory's: name another folder",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// Reports whether the files in a folder are earlier results.
fn has_earlier_results(path: &Path) -> bool {
    let data = fs::read_to_string(path.join(DATA)).unwrap_or_default();
    let data = serde_json::from_str::<serde_json::Value>(&data).unwrap_or_default();
    ["began", "machine"].iter().all(|key| data.get(key).is_some())
}

impl Folder {
    /// Creates the folder that was named, or a new one: in cargo's target folder if there is one, so that
    /// nothing is replaced and nothing gets into a repository.
    pub fn create(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => Self::unused(&utc(SystemTime::now()))?,
        };
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        Ok(Self { path, scratch })
    }

    fn unused(now: &str) -> Result<PathBuf> {
        let own = stages::own_folder()?;
        let base = stages::target(&own).map_or_else(|| "tincan-lab".into(), |it| it.join("lab"));
        let name = now.trim_end_matches(" UTC").replace(' ', "-").replace(':', "");
        let mut path = base.join(&name);
        let mut second = 1;
        while path.exists() {
            second += 1;
            path = base.join(format!("{name}-{second}"));
        }
        Ok(path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a folder that is deleted in the end.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub fn write(&self, results: &Results) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = self.path.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write(DATA, format!("{:#}\n", data(results)))?;
        write(PAGE, page(results))
    }

    /// Says where the page is, relative to the current folder: short, so that it fits into one line of a terminal.
    pub fn description(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let near = self.path.strip_prefix(&here).unwrap_or(&self.path);
        format!("See {} and {DATA}.", near.join(PAGE).display())
    }
}
