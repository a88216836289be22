//! The checks of `workbench` against this stage's real binary: `cargo test -p chat-async`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-async"))
}
