//! The file that a drawing is written into: nothing else may be lost for it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use watch::SVG_BEGINS;

/// A place for a drawing; a file that was made for it goes away with this, unless it was drawn into.
#[derive(Debug)]
pub struct Place {
    made: Option<PathBuf>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(path) = &self.made else { return };
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
            // An empty file that stays does no harm.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes sure that a drawing can be written there, before anything is started.
pub fn make_ready(path: &Path) -> Result<Place, String> {
    let shown = path.display();
    let mut made = None;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(format!("cannot write {shown}: that is a folder; name a file in it"));
        }
        // A device or a pipe holds nothing that could be lost, and opening it may wait for long.
        Ok(found) if !found.is_file() => return Ok(Place { made }),
        Ok(_) => match is_ours(path) {
            Ok(true) => {}
            Ok(false) => {
                return Err(format!(
                    "{shown} is there already, and is not a drawing of tincan watch; it is left as \
                     it is. Name another file for --svg"
                ));
            }
            Err(err) => return Err(format!("cannot read {shown}, which is there already: {err}")),
        },
        Err(_) => made = Some(path.to_owned()),
    }
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(|_| Place { made }).map_err(|err| match path.parent() {
        Some(folder) if err.kind() == ErrorKind::NotFound && !folder.exists() => {
            format!("cannot write {shown}: there is no folder {}", folder.display())
        }
        _ => format!("cannot write {shown}: {err}"),
    })
}

/// Whether a file is an earlier drawing, or empty.
fn is_ours(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(SVG_BEGINS.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == SVG_BEGINS.as_bytes())
}
