//! The checks of `check` against this stage's real binary: `cargo test -p echo-multi`.

use check::Profile;

fn main() {
    check::test_stage(Profile::EchoMulti, env!("CARGO_BIN_EXE_echo-multi"))
}
