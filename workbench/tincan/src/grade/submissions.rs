//! Finds the submissions, and makes the command of each.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use probe::wire::show_text;

/// A submission.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The name of its folder, safe to print on a terminal.
    pub name: String,
    /// Its folder, as an absolute path.
    pub folder: PathBuf,
}

/// Returns the submissions in a folder, sorted by name: each folder in it whose name does not begin with a dot.
pub fn find(folder: &Path) -> Result<Vec<Submission>> {
    let reading = || format!("reading {}", folder.display());
    let folder = std::path::absolute(folder).with_context(reading)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && !name.as_encoded_bytes().starts_with(b".") {
            found.push(Submission { name: show_text(name.as_encoded_bytes()), folder: path });
        }
    }
    if found.is_empty() {
        bail!("{} contains no folder; each submission must be a folder in it", folder.display());
    }
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(found)
}

/// Splits a command into words as a shell does.
pub fn words(command: &str) -> Result<Vec<String>, String> {
    match shlex::split(command) {
        None => {
            Err("a quotation mark is not closed, or the command ends with a backslash".to_owned())
        }
        Some(words) if words.is_empty() => Err("the command is empty".to_owned()),
        Some(words) => Ok(words),
    }
}

impl Submission {
    /// Returns the command that starts the server of this submission: `{dir}` is replaced by its folder.
    pub fn command(&self, words: &[String]) -> Vec<OsString> {
        words.iter().map(|word| replace_dir(word, self.folder.as_os_str())).collect()
    }
}

fn replace_dir(word: &str, folder: &OsStr) -> OsString {
    let mut parts = word.split("{dir}");
    let mut whole = OsString::from(parts.next().unwrap_or_default());
    for part in parts {
        whole.push(folder);
        whole.push(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_a_word_whatever_the_folder_is_called() {
        let submission = Submission { name: "a".to_owned(), folder: "/of/Ann Lee's".into() };
        let words = words("sh -c 'exec \"$0\"' {dir}/bin/{dir} {port}").unwrap();
        let expected = ["sh", "-c", "exec \"$0\"", "/of/Ann Lee's/bin//of/Ann Lee's", "{port}"];
        assert_eq!(submission.command(&words), expected.map(OsString::from));
        assert!(super::words("python3 'open").is_err());
        assert!(super::words(" ").is_err());
    }
}
