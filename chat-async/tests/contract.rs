//! The checks of the checker against this stage's real binary: `cargo test -p chat-async`.

use check::Profile;

fn main() {
    check::contract::run(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-async"))
}
