//! The checks of the checker against this stage's real binary: `cargo test -p echo-multi`.

use check::Profile;

fn main() {
    check::contract::run(Profile::EchoMulti, env!("CARGO_BIN_EXE_echo-multi"))
}
