//! The checks of `workbench` against this stage's real binary: `cargo test -p chat-threads`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::ChatThreads, env!("CARGO_BIN_EXE_chat-threads"))
}
