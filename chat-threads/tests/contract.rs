//! The checks of the checker against this stage's real binary: `cargo test -p chat-threads`.

use check::Profile;

fn main() {
    check::contract::run(Profile::ChatThreads, env!("CARGO_BIN_EXE_chat-threads"))
}
