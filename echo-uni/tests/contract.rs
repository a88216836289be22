//! The checks of `check` against this stage's real binary: `cargo test -p echo-uni`.

use check::Profile;

fn main() {
    check::test_stage(Profile::EchoUni, env!("CARGO_BIN_EXE_echo-uni"))
}
