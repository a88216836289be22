//! Prints the one line on stdout.
//!
//! A write to stdout blocks when stdout is a pipe that is not read or a terminal that is stopped. So a
//! separate thread writes the line, and then ends. (A thread that blocks there does not keep the process
//! alive: when the process ends, std flushes stdout only if no thread has locked it.)

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a server waits for its line to be written. After that, it serves clients anyway.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// Prints on stdout that a server is ready: `Listening on ADDR`, the only line that it ever prints there.
///
/// Returns when the line has been written. An error of stdout is ignored: a server can serve clients
/// without stdout. If stdout is blocked, this returns after 100 ms, and the line is written when stdout is
/// no longer blocked.
///
/// # Errors
///
/// Any error of [`TcpListener::local_addr`].
///
/// ```
/// use serverkit::announce;
/// use tincanchat::create_listen_socket;
///
/// announce(&create_listen_socket("127.0.0.1", 0)?)?; // prints, for example, Listening on 127.0.0.1:37465
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn announce(listener: &TcpListener) -> io::Result<()> {
    announce_to(listener, |line| {
        let (written, is_written) = mpsc::channel();
        let own_line = line.to_vec();
        let writer = thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            write_line(&own_line);
            let _ = written.send(()); // fails after 100 ms: the server has stopped waiting
        });
        match writer {
            Ok(_) => _ = is_written.recv_timeout(WRITE_TIMEOUT),
            // No thread can be started. A script may be waiting for the line, so this thread writes it. It
            // is unlikely that stdout is blocked too.
            Err(_) => write_line(line),
        }
    })
}

/// Passes the line to `write` without starting a thread: for a server that forks, which must have only one
/// thread.
///
/// `write` must not block.
///
/// # Errors
///
/// Any error of [`TcpListener::local_addr`].
///
/// ```
/// use serverkit::announce_to;
/// use tincanchat::create_listen_socket;
///
/// announce_to(&create_listen_socket("127.0.0.1", 0)?, |line| {
///     assert!(line.starts_with(b"Listening on 127.0.0.1:"));
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn announce_to(listener: &TcpListener, write: impl FnOnce(&[u8])) -> io::Result<()> {
    let line = format!("Listening on {}\n", listener.local_addr()?);
    write(line.as_bytes());
    Ok(())
}

fn write_line(line: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line).and_then(|()| stdout.flush());
}
