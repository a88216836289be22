//! The checks of `workbench` against this stage's real binary: `cargo test -p chat-poll`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::ChatPoll, env!("CARGO_BIN_EXE_chat-poll"))
}
