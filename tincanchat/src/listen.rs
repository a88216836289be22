use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::{BACKLOG, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};

/// Opens a TCP listener: the place where every server here starts.
///
/// `host` is an IPv4 or IPv6 address, an IPv6 address in brackets, or a name; `port` 0 lets the
/// system pick a free port. A name with several addresses gets the first on which it is possible to
/// listen. `::` takes IPv4 clients too (a dual-stack socket, RFC 3493 section 5.3).
///
/// The backlog is [`BACKLOG`]. `SO_REUSEADDR` is set, so that a server can be started again while
/// connections of the last one linger (socket(7)); not on Windows, where it means that two programs
/// may share a port. What the listener has set, accepted sockets inherit: `TCP_NODELAY`, because a
/// message is written whole and should leave at once; keepalive, so that a peer that has lost its
/// power is noticed; on Linux `TCP_USER_TIMEOUT`, for a peer that vanished with bytes on the way.
///
/// # Errors
///
/// An error whose text says which address was tried, and why it did not work: `host` is no address
/// and no known name, the port is taken, the address is not this machine's, or permission is
/// missing.
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
    let cannot_listen = |on: &dyn std::fmt::Display, err: &io::Error| {
        io::Error::new(err.kind(), format!("cannot listen on {on}: {err}"))
    };
    let name = without_brackets(host);
    let host_and_port = format!("{host} port {port}");
    let addrs =
        (name, port).to_socket_addrs().map_err(|err| cannot_listen(&host_and_port, &err))?;
    let mut why = cannot_listen(&host_and_port, &io::Error::other("the name has no address"));
    for addr in addrs {
        match listen_on(addr) {
            Ok(listener) => return Ok(listener),
            Err(err) => why = cannot_listen(&addr, &err),
        }
    }
    Err(why)
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

/// Gives the address that a client knows itself by: an IPv4 client of a dual-stack listener comes
/// as `[::ffff:127.0.0.1]:50312` (RFC 4291 section 2.5.5.2), and becomes `127.0.0.1:50312`.
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
