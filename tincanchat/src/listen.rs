use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::{BACKLOG, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};

/// Opens a TCP listener: the first step of every server.
///
/// `host` is an IPv4 or IPv6 address, an IPv6 address in brackets, or a name. A name may have several
/// addresses; the listener gets the first one on which it can listen. `::` accepts IPv4 clients too (a
/// dual-stack socket, RFC 3493 section 5.3). With `port` 0 the system picks a free port.
///
/// The backlog is [`BACKLOG`]. `SO_REUSEADDR` is set, so that a server can be started again while the
/// kernel still keeps closed connections of the previous one (`TIME_WAIT`, socket(7)); it is not set on
/// Windows, where this option lets two programs share a port. The sockets that the listener accepts inherit
/// these options: `TCP_NODELAY`, because a message is written as a whole and the kernel need not wait for
/// more bytes; keepalive, to notice that a peer's machine is gone; and, on Linux, `TCP_USER_TIMEOUT`, to
/// notice the same while bytes are on their way to the peer.
///
/// # Errors
///
/// If `host` is neither an address nor a known name, the port is taken, the address does not belong to this
/// machine, or the process may not listen on the port. The text of the error says which address was tried,
/// and why it failed.
///
/// ```
/// use tincanchat::create_listen_socket;
///
/// let listener = create_listen_socket("127.0.0.1", 0)?;
/// assert_ne!(listener.local_addr()?.port(), 0);
///
/// let taken = listener.local_addr()?.port();
/// let err = create_listen_socket("127.0.0.1", taken).unwrap_err();
/// assert_eq!(err.kind(), std::io::ErrorKind::AddrInUse);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create_listen_socket(host: &str, port: u16) -> io::Result<TcpListener> {
    let host_and_port = format!("{host} port {port}");
    let addrs = (without_brackets(host), port)
        .to_socket_addrs()
        .map_err(|err| cannot_listen(&host_and_port, &err))?;
    let no_address = io::Error::other("the name has no address");
    let mut last_err = cannot_listen(&host_and_port, &no_address);
    for addr in addrs {
        match listen_on(addr) {
            Ok(listener) => return Ok(listener),
            Err(err) => last_err = cannot_listen(&addr.to_string(), &err),
        }
    }
    Err(last_err)
}

fn cannot_listen(on: &str, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("cannot listen on {on}: {err}"))
}

/// Returns a host without the brackets that an IPv6 address has in a URL: `[::1]` becomes `::1`.
///
/// ```
/// use tincanchat::without_brackets;
///
/// assert_eq!(without_brackets("[::1]"), "::1");
/// assert_eq!(without_brackets("localhost"), "localhost");
/// ```
#[must_use]
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    set_connection_options(&socket)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets the options that accepted sockets inherit.
fn set_connection_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(crate::USER_TIMEOUT))?;
    Ok(())
}

/// Returns the address that the client itself uses.
///
/// A dual-stack listener sees an IPv4 client at an address such as `[::ffff:127.0.0.1]:50312` (RFC 4291
/// section 2.5.5.2), which becomes `127.0.0.1:50312`. Any other address is returned unchanged.
///
/// ```
/// use tincanchat::canonical;
///
/// let addr = "[::ffff:127.0.0.1]:50312".parse().unwrap();
/// assert_eq!(canonical(addr).to_string(), "127.0.0.1:50312");
/// ```
#[must_use]
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, addr.port()),
        _ => addr,
    }
}
