//! The checks of `workbench` against this stage's real binary: `cargo test -p echo-uni`.

use workbench::check::Profile;

fn main() {
    workbench::contract::run(Profile::EchoUni, env!("CARGO_BIN_EXE_echo-uni"))
}
