//! The checks of `check` against this stage's real binary: `cargo test -p chat-threads`.

use check::Profile;

fn main() {
    check::test_stage(Profile::ChatThreads, env!("CARGO_BIN_EXE_chat-threads"))
}
