//! A server that inherits more than 1,024 open descriptors: `cargo test -p echo-mixins --test descriptors`.
//!
//! This is the only test in this file, because every program that is started here inherits the descriptors.
#![cfg(unix)]

use std::fs::File;

use anyhow::Result;
use probe::report_skipped;
use probe::server::Launch;
use rustix::io::{FdFlags, fcntl_setfd};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-mixins");

/// More descriptors than select(2) can watch.
const OPEN: usize = 1100;

#[test]
fn a_server_whose_listener_select_cannot_watch_does_not_start() -> Result<()> {
    let limit = rlimit::increase_nofile_limit(4096)?;
    if limit < 2048 {
        return report_skipped(&format!("this needs 2,048 descriptors, and the limit is {limit}"));
    }
    let files: Vec<_> = (0..OPEN).map(|_| File::open("/dev/null")).collect::<Result<_, _>>()?;
    for file in &files {
        fcntl_setfd(file, FdFlags::empty())?; // std has set CLOEXEC, which would close them
    }
    for mixin in ["fork", "thread"] {
        let launch = Launch::new(PROGRAM, &[]).args(&["--mixin", mixin, "--port", "0"]);
        let ended = launch.run_to_end()?;
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{ended}");
        let why = "cannot wait for connections: select(2) watches descriptors below 1024";
        assert!(ended.stderr.concat().contains(why), "{ended}");
    }
    Ok(())
}
