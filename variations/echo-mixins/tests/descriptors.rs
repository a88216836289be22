//! Started by a program that has left more than 1,024 descriptors open: `cargo test -p echo-mixins --test
//! descriptors`. This is the only test here, because all programs that it starts inherit them.
#![cfg(unix)]

use std::fs::File;

use anyhow::Result;
use rustix::io::{FdFlags, fcntl_setfd};
use workbench::server::Launch;
use workbench::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-mixins");

/// More than select(2) watches.
const OPEN: usize = 1100;

#[test]
fn the_server_says_so_before_it_listens() -> Result<()> {
    let limit = rlimit::increase_nofile_limit(4096)?;
    if limit < 2048 {
        return skip(&format!("this needs 2048 descriptors, and {limit} are allowed"));
    }
    let files: Vec<_> = (0..OPEN).map(|_| File::open("/dev/null")).collect::<Result<_, _>>()?;
    for file in &files {
        fcntl_setfd(file, FdFlags::empty())?; // std has set CLOEXEC
    }
    for mixin in ["fork", "thread"] {
        let launch = Launch::new(PROGRAM, &[]).args(&["--mixin", mixin, "--port", "0"]);
        let ended = launch.run_to_end()?;
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{ended}");
        let said = ended.stderr.concat();
        assert!(said.contains("cannot wait for connections: select(2) watches 1024"), "{said}");
    }
    Ok(())
}
