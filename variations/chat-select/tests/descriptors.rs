//! Started by a program that has left more than 1,024 descriptors open: `cargo test -p chat-select --test
//! descriptors`. This is the only test here, because all programs that it starts inherit them.
#![cfg(unix)]

use std::fs::File;
use std::net::TcpListener;

use anyhow::Result;
use rustix::io::{FdFlags, fcntl_setfd};
use workbench::server::Launch;
use workbench::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-select");

/// More than select(2) watches.
const OPEN: usize = 1100;

#[test]
fn server_and_client_say_so_and_exit_1() -> Result<()> {
    let limit = rlimit::increase_nofile_limit(4096)?;
    if limit < 2048 {
        return skip(&format!("this needs 2048 descriptors, and {limit} are allowed"));
    }
    let files: Vec<_> = (0..OPEN).map(|_| File::open("/dev/null")).collect::<Result<_, _>>()?;
    for file in &files {
        fcntl_setfd(file, FdFlags::empty())?; // std has set CLOEXEC
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    for (name, port, what) in [("server", "0", "connections"), ("ann", &port, "the server")] {
        let ended =
            Launch::new(PROGRAM, &[]).args(&["--name", name, "--port", port]).run_to_end()?;
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{ended}");
        let said = ended.stderr.concat();
        assert!(
            said.contains(&format!("cannot wait for {what}: select(2) watches 1024")),
            "{said}"
        );
    }
    Ok(())
}
