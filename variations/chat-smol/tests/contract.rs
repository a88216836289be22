//! Runs the checks of `check` against the server's binary: `cargo test -p chat-smol --test contract`.

use check::Profile;

fn main() {
    check::test_stage(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-smol"))
}
