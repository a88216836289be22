//! Prepares the file for a picture or a page, so that no file of another kind is overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// A kind of file, recognized by its first bytes.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The text with which every file of this kind begins.
    pub start: &'static str,
    /// The name of the kind, after "is not".
    pub name: &'static str,
    /// The option that names the file.
    pub option: &'static str,
}

/// A file to write. If it was created here, and is still empty when this is dropped, it is removed.
#[derive(Debug)]
pub struct OutputFile {
    created: Option<PathBuf>,
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        let Some(path) = &self.created else { return };
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
            // If it cannot be removed, an empty file remains, which does no harm.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes sure that a file of this kind can be written to this path, or returns the reason why it cannot.
pub fn prepare(path: &Path, kind: Kind) -> Result<OutputFile, String> {
    let shown = path.display();
    let mut is_new = false;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(format!("cannot write {shown}: this is a folder; name a file in it"));
        }
        // A device or a pipe has no contents to lose, and opening it may block.
        Ok(found) if !found.is_file() => return Ok(OutputFile { created: None }),
        Ok(_) => match begins_with_or_empty(path, kind.start) {
            Ok(true) => {}
            Ok(false) => {
                let Kind { name, option, .. } = kind;
                return Err(format!(
                    "{shown} exists, is not {name}, and is left as it is; name another file for {option}"
                ));
            }
            Err(err) => return Err(format!("{shown} exists, and cannot be read: {err}")),
        },
        Err(_) => is_new = true,
    }
    let opened = OpenOptions::new().create(true).append(true).open(path);
    // The path may be a link to a file that did not exist: the link stays.
    let created = || fs::canonicalize(path).ok().filter(|_| is_new);
    opened.map(|_| OutputFile { created: created() }).map_err(|err| match path.parent() {
        Some(folder) if err.kind() == ErrorKind::NotFound && !folder.exists() => {
            format!("cannot write {shown}: there is no folder {}", folder.display())
        }
        _ => format!("cannot write {shown}: {err}"),
    })
}

fn begins_with_or_empty(path: &Path, start: &str) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(start.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == start.as_bytes())
}
