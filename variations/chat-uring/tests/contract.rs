//! Runs the checks of the checker against the server's binary: `cargo test -p chat-uring --test contract`.

use check::Profile;

fn main() {
    check::contract::run(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-uring"))
}
