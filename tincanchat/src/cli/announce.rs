//! The one line on stdout; a stdout that is stuck keeps no server waiting for long.
//!
//! A write to stdout blocks when it is a pipe that is full or a terminal that is stopped. So a thread
//! writes the line, and ends. (A stuck thread does not keep the process alive: at its end, std flushes
//! stdout only if no thread has it locked.)

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a server waits for its line to be written before it serves all the same.
const PATIENCE: Duration = Duration::from_millis(100);

/// Says on stdout that a server is ready, in the one line that it ever prints there: `Listening on
/// ADDR`.
///
/// Returns when the line is written. A stdout that is closed or full is no reason not to serve, so an
/// error there is ignored. The server waits at most 100 ms for a stdout that is blocked; the line is still
/// written if it unblocks later.
///
/// # Errors
///
/// Those of asking the listener for its address.
///
/// ```
/// use tincanchat::{cli::announce, create_listen_socket};
///
/// announce(&create_listen_socket("127.0.0.1", 0)?)?; // prints, say, Listening on 127.0.0.1:37465
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn announce(listener: &TcpListener) -> io::Result<()> {
    announce_to(listener, |line| {
        let (written, is_written) = mpsc::channel();
        let own_line = line.to_vec();
        let writer = thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            write_out(&own_line);
            let _ = written.send(()); // an error if nobody waits any more
        });
        match writer {
            Ok(_) => _ = is_written.recv_timeout(PATIENCE),
            // There is no room for a thread. A script may be waiting for the line, and a stdout that
            // is full as well is rare.
            Err(_) => write_out(line),
        }
    })
}

/// Hands the line to `write`, which must not block, and starts no thread: for a server that forks, which
/// must have only one.
///
/// # Errors
///
/// Those of asking the listener for its address.
///
/// ```
/// use tincanchat::{cli::announce_to, create_listen_socket};
///
/// announce_to(&create_listen_socket("127.0.0.1", 0)?, |line| {
///     assert!(line.starts_with(b"Listening on 127.0.0.1:"));
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn announce_to(listener: &TcpListener, write: impl FnOnce(&[u8])) -> io::Result<()> {
    write(format!("Listening on {}\n", listener.local_addr()?).as_bytes());
    Ok(())
}

fn write_out(line: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line).and_then(|()| stdout.flush());
}
