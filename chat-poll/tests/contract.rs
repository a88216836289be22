//! The checks of the checker against this stage's real binary: `cargo test -p chat-poll`.

use check::Profile;

fn main() {
    check::contract::run(Profile::ChatPoll, env!("CARGO_BIN_EXE_chat-poll"))
}
