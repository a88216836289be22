use std::env;
use std::process::Command;

/// Returns a command that runs cargo, for a test that needs the program of another package.
///
/// The command does not inherit the environment variables in which cargo describes the package of the test: a build
/// script that depends on them, such as the build script of `ring`, would run again.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}
