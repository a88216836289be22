//! The checks of `workbench` against this variation's real binary: `cargo test -p chat-uring`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::ChatAsync, env!("CARGO_BIN_EXE_chat-uring"))
}
