//! The checks of `check` against this stage's real binary: `cargo test -p chat-poll`.

use check::Profile;

fn main() {
    check::test_stage(Profile::ChatPoll, env!("CARGO_BIN_EXE_chat-poll"))
}
