//! The checks of `check` against this stage's real binary: `cargo test -p chat-async`.

use check::Profile;

fn main() {
    check::test_stage(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-async"))
}
