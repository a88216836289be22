//! The checks of `workbench` against this server's real binary: `cargo test -p chat-green`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-green"))
}
