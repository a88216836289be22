use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process;

use anyhow::Context as _;
use tincanchat::without_brackets;

use crate::ClientArgs;

impl ClientArgs {
    /// Connects to the server that the arguments name; returns the socket and the server's address.
    ///
    /// Blocks until the connection is established. The host may be an IPv6 address in brackets. A name may
    /// have several addresses, which are tried one after the other. (The address is returned because the
    /// socket no longer knows it once the server has reset the connection.)
    ///
    /// # Errors
    ///
    /// If the host is not found, or if no server accepts the connection. The text of the error contains the
    /// host, the port and the reason.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use serverkit::ClientArgs;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let port = listener.local_addr()?.port();
    /// let args = ClientArgs { host: "127.0.0.1".to_owned(), port }; // as clap would return them
    /// let (sock, server) = args.connect()?;
    /// assert_eq!(server, listener.local_addr()?);
    /// assert_eq!(listener.accept()?.1, sock.local_addr()?);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn connect(&self) -> anyhow::Result<(TcpStream, SocketAddr)> {
        let connected = connect(without_brackets(&self.host), self.port).map_err(readable_error);
        let (sock, server) = connected
            .with_context(|| format!("cannot connect to {} port {}", self.host, self.port))?;
        // A message is written as a whole, so the kernel need not wait for more bytes.
        sock.set_nodelay(true).map_err(readable_error)?;
        Ok((sock, server))
    }
}

/// Connects to the first address of a name at which a server accepts the connection.
fn connect(name: &str, port: u16) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last_err = io::Error::other("the name has no address");
    for addr in (name, port).to_socket_addrs()? {
        match TcpStream::connect(addr) {
            Ok(sock) => return Ok((sock, addr)),
            Err(err) => last_err = err,
        }
    }
    Err(last_err)
}

/// Replaces the text of a system error with a text for the user of a client. It says what happened to the
/// connection, and contains no error number.
///
/// The kind of the error stays the same. An error with a text of its own is returned unchanged.
///
/// ```
/// use std::io;
/// use serverkit::readable_error;
///
/// let reset = io::Error::from_raw_os_error(104); // on Linux: Connection reset by peer (os error 104)
/// # #[cfg(target_os = "linux")]
/// assert_eq!(readable_error(reset).to_string(), "the server has reset the connection");
/// let own = io::Error::other("no close_notify");
/// assert_eq!(readable_error(own).to_string(), "no close_notify");
/// ```
#[must_use]
pub fn readable_error(err: io::Error) -> io::Error {
    let Some(number) = err.raw_os_error() else {
        return err;
    };
    let text = err.to_string();
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
    let readable = match err.kind() {
        ErrorKind::ConnectionRefused => &format!("{text}: no server listens there"),
        // A call that follows the one that reported the reset fails with NotConnected.
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
            "the server has reset the connection"
        }
        ErrorKind::BrokenPipe => "the server has closed the connection",
        ErrorKind::TimedOut => "the server's machine does not answer",
        _ => text,
    };
    io::Error::new(err.kind(), readable)
}

/// Prints text on stdout, and flushes it.
///
/// If stdout is a pipe whose reader has ended, as in `| head -1`, this ends the program with exit code 0
/// and without a message: the user has seen as much as was asked for.
///
/// # Errors
///
/// Any other error of stdout, such as a full disk.
///
/// ```
/// serverkit::print_or_exit("Hello\n")?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn print_or_exit(lines: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() == ErrorKind::BrokenPipe => process::exit(0),
        result => result.map_err(readable_error).context("cannot write to stdout"),
    }
}
