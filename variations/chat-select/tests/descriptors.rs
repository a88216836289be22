//! Programs that inherit more than 1,024 open descriptors: `cargo test -p chat-select --test descriptors`.
//!
//! This is the only test in this file, because every program that is started here inherits the descriptors.
#![cfg(unix)]

use std::fs::File;
use std::net::TcpListener;

use anyhow::Result;
use probe::report_skipped;
use probe::server::Launch;
use rustix::io::{FdFlags, fcntl_setfd};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-select");

/// More descriptors than select(2) can watch.
const OPEN: usize = 1100;

#[test]
fn server_and_client_say_what_select_cannot_watch_and_exit_1() -> Result<()> {
    let limit = rlimit::increase_nofile_limit(4096)?;
    if limit < 2048 {
        return report_skipped(&format!("this needs 2,048 descriptors, and the limit is {limit}"));
    }
    let files: Vec<_> = (0..OPEN).map(|_| File::open("/dev/null")).collect::<Result<_, _>>()?;
    for file in &files {
        fcntl_setfd(file, FdFlags::empty())?; // std has set CLOEXEC, which would close them
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    for (name, port, what) in [("server", "0", "connections"), ("ann", &port, "the server")] {
        let ended =
            Launch::new(PROGRAM, &[]).args(&["--name", name, "--port", port]).run_to_end()?;
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{ended}");
        let why = format!(
            "cannot wait for {what}: select(2) watches descriptors below 1024, and this is"
        );
        assert!(ended.stderr.concat().contains(&why), "{ended}");
    }
    Ok(())
}
