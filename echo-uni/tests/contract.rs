//! The checks of the checker against this stage's real binary: `cargo test -p echo-uni`.

use check::Profile;

fn main() {
    check::contract::run(Profile::EchoUni, env!("CARGO_BIN_EXE_echo-uni"))
}
