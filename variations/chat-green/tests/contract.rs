//! Runs the checks of `workbench` against the server's binary: `cargo test -p chat-green --test contract`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-green"))
}
