use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::process;

use anyhow::Context;

use super::ClientArgs;

impl ClientArgs {
    /// Connects to the server that the arguments name.
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
    /// let sock = args.connect()?;
    /// assert_eq!(listener.accept()?.1, sock.local_addr()?);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn connect(&self) -> anyhow::Result<TcpStream> {
        let sock = TcpStream::connect((self.host.as_str(), self.port))
            .with_context(|| format!("cannot connect to {} port {}", self.host, self.port))?;
        // What is typed goes out when Enter is hit; there is nothing to wait for.
        sock.set_nodelay(true)?;
        Ok(sock)
    }
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
        result => result.context("cannot write to stdout"),
    }
}
