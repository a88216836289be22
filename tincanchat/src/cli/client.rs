use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process;

use anyhow::Context;

use super::ClientArgs;
use crate::without_brackets;

impl ClientArgs {
    /// Connects to the server that the arguments name, and returns the address that it has found.
    ///
    /// The host may be an IPv6 address in brackets. The address comes with the connection because a
    /// connection that the server has reset does not know its peer any more.
    ///
    /// # Errors
    ///
    /// Those of finding the host and of connecting, with the host and the port.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use tincanchat::cli::ClientArgs;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let port = listener.local_addr()?.port();
    /// let args = ClientArgs { host: "127.0.0.1".to_owned(), port }; // as clap makes them
    /// let (sock, server) = args.connect()?;
    /// assert_eq!(server, listener.local_addr()?);
    /// assert_eq!(listener.accept()?.1, sock.local_addr()?);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn connect(&self) -> anyhow::Result<(TcpStream, SocketAddr)> {
        let connected = connect(without_brackets(&self.host), self.port).map_err(in_words);
        let (sock, server) = connected
            .with_context(|| format!("cannot connect to {} port {}", self.host, self.port))?;
        // What is typed goes out when Enter is hit; there is nothing to wait for.
        sock.set_nodelay(true).map_err(in_words)?;
        Ok((sock, server))
    }
}

/// Connects to the first address of a name that answers.
fn connect(name: &str, port: u16) -> io::Result<(TcpStream, SocketAddr)> {
    let mut why = io::Error::other("the name has no address");
    for addr in (name, port).to_socket_addrs()? {
        match TcpStream::connect(addr) {
            Ok(sock) => return Ok((sock, addr)),
            Err(err) => why = err,
        }
    }
    Err(why)
}

/// Replaces the text of a system error by words for the user of a client: what has happened to the
/// connection, without the number of the error.
///
/// The kind of the error stays. An error that has a text of its own stays as it is.
///
/// ```
/// use std::io;
/// use tincanchat::cli::in_words;
///
/// let reset = io::Error::from_raw_os_error(104); // on Linux: Connection reset by peer (os error 104)
/// # #[cfg(target_os = "linux")]
/// assert_eq!(in_words(reset).to_string(), "the server has reset the connection");
/// let own = io::Error::other("no close_notify");
/// assert_eq!(in_words(own).to_string(), "no close_notify");
/// ```
#[must_use]
pub fn in_words(err: io::Error) -> io::Error {
    let Some(number) = err.raw_os_error() else {
        return err;
    };
    let text = err.to_string();
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
    let words = match err.kind() {
        ErrorKind::ConnectionRefused => &format!("{text}: no server listens there"),
        // The last: a call on a connection that has been reset before.
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
            "the server has reset the connection"
        }
        ErrorKind::BrokenPipe => "the server has closed the connection",
        ErrorKind::TimedOut => "the server's machine does not answer",
        _ => text,
    };
    io::Error::new(err.kind(), words)
}

/// Prints whole lines on stdout at once.
///
/// If nobody reads on, as in `| head -1`, that ends the program, quietly: there is nobody left to
/// tell.
///
/// # Errors
///
/// What else can be wrong with stdout: a full disk, say.
///
/// ```
/// tincanchat::cli::say("Hello\n")?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn say(lines: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() == ErrorKind::BrokenPipe => process::exit(0),
        result => result.map_err(in_words).context("cannot write to stdout"),
    }
}
