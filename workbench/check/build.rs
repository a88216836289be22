//! Writes lists of the files in `mutants`, which `src/mutants.rs` includes: a program that uses this crate contains the
//! files, and does not need the folder.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn Error>> {
    // A new file in the folder changes the lists. The compiler itself notices that a listed file has changed.
    println!("cargo::rerun-if-changed=mutants");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("mutants");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let diffs = files(&folder, &["diff"])?;
    let right = files(&folder.join("right"), &["c", "java", "js", "pl", "py", "rs"])?;
    fs::write(out.join("diffs.rs"), slice_source(&diffs)?)?;
    fs::write(out.join("right.rs"), slice_source(&right)?)?;
    Ok(())
}

/// Returns the files in a folder that have one of these extensions, sorted by name. Other files are those of editors,
/// compilers and systems, and so are files whose name begins with a dot.
fn files(folder: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files: Vec<_> = entries.collect::<io::Result<_>>()?;
    files.retain(|path| {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        let is_wanted =
            path.extension().is_some_and(|it| extensions.iter().any(|wanted| it == *wanted));
        is_wanted && !is_hidden && path.is_file()
    });
    files.sort();
    Ok(files)
}

/// Returns the source of a slice that has the name and the contents of each file.
fn slice_source(files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let mut source = String::from("&[\n");
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a name is not UTF-8")?;
        let path = path.to_str().ok_or("the path of the source is not UTF-8")?;
        writeln!(source, "    ({name:?}, include_str!({path:?})),")?;
    }
    Ok(source + "]\n")
}
