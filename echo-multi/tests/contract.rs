//! The checks of `workbench` against this stage's real binary: `cargo test -p echo-multi`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::EchoMulti, env!("CARGO_BIN_EXE_echo-multi"))
}
