//! Prepares the file for a picture, so that no other file is overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use watch::SVG_START;

/// A file for a picture. If the file is new, and still empty when this is dropped, it is removed.
#[derive(Debug)]
pub struct SvgFile {
    new: Option<PathBuf>,
}

impl Drop for SvgFile {
    fn drop(&mut self) {
        let Some(path) = &self.new else { return };
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
            // If it cannot be removed, an empty file remains, which does no harm.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes sure that a picture can be written to this path, or returns the reason why it cannot.
pub fn prepare(path: &Path) -> Result<SvgFile, String> {
    let shown = path.display();
    let mut new = None;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(format!("cannot write {shown}: this is a folder; name a file in it"));
        }
        // A device or a pipe has no contents to lose, and opening it may block.
        Ok(found) if !found.is_file() => return Ok(SvgFile { new }),
        Ok(_) => match is_picture_or_empty(path) {
            Ok(true) => {}
            Ok(false) => {
                return Err(format!(
                    "{shown} exists, is not a picture of tincan watch, and is left as it is; name \
                     another file for --svg"
                ));
            }
            Err(err) => return Err(format!("{shown} exists, and cannot be read: {err}")),
        },
        Err(_) => new = Some(path.to_owned()),
    }
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(|_| SvgFile { new }).map_err(|err| match path.parent() {
        Some(folder) if err.kind() == ErrorKind::NotFound && !folder.exists() => {
            format!("cannot write {shown}: there is no folder {}", folder.display())
        }
        _ => format!("cannot write {shown}: {err}"),
    })
}

fn is_picture_or_empty(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(SVG_START.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == SVG_START.as_bytes())
}
