//! Commands in the texts of this program: a user may copy them to a shell.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use check::{BOOK_IN_CLONE, BOOK_IN_RELEASE};

/// Returns the command as it has to be typed in a shell; bytes that are not UTF-8 are replaced.
pub fn quoted(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let quote = |word: &str| match shlex::try_quote(word) {
        // In a shell, braces are special only with a comma or `..` between them.
        Ok(_) if !word.contains("..") && word.replace(['{', '}'], "").chars().all(is_plain) => {
            word.to_owned()
        }
        Ok(quoted) => quoted.into_owned(),
        Err(_) => word.to_owned(),
    };
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn is_plain(ch: char) -> bool {
    // The shells of Windows do not treat a backslash as special.
    ch.is_ascii_alphanumeric() || "-_./:=@%+".contains(ch) || (cfg!(windows) && ch == '\\')
}

/// Returns the words that call a subcommand as this program was called: through cargo, or directly.
pub fn called_as(subcommand: &str) -> String {
    if is_called_through_cargo() {
        return format!("cargo tincan {subcommand}");
    }
    let program = env::args_os().next().unwrap_or_else(|| "tincan".into());
    format!("{} {subcommand}", quoted(&[program]))
}

/// Returns where a reader finds a page of the book: in the clone in which this program is called, or in the release.
pub fn book_page() -> &'static str {
    let is_in_clone = is_called_through_cargo() || Path::new("docs/src").is_dir();
    if is_in_clone { BOOK_IN_CLONE } else { BOOK_IN_RELEASE }
}

/// `cargo run` sets the name of the package for the program that it starts.
fn is_called_through_cargo() -> bool {
    env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"))
}
