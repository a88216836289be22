//! Asks Linux about the sockets of all processes, with `sock_diag(7)`.
//!
//! `/proc/net/tcp` shows the same, but always lists all connections of the machine. After many tests, that
//! list is so long that reading it takes longer than the event that a test wants to observe.
//!
//! On other systems, the functions return `None` or an empty list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the number of bytes from `remote` that the process at `local` has not read yet. The end of the stream counts
/// as one byte. Returns `None` if there is no such connection, or if the system does not show it.
#[must_use]
pub fn unread_bytes(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    number(&connection(local, remote)?, QUEUE_AT).map(u64::from)
}

/// Returns the number of bytes that the process at `local` has sent and the system at `remote` has not acknowledged: on a
/// busy machine, they may still be on their way. The end of the stream counts as one byte. Returns `None` if there is
/// no such connection, or if the system does not show it.
#[must_use]
pub fn unacknowledged_bytes(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    number(&connection(local, remote)?, SEND_QUEUE_AT).map(u64::from)
}

/// Returns the kernel's reply about one connection.
fn connection(local: SocketAddr, remote: SocketAddr) -> Option<Vec<u8>> {
    let reply = query_one(&request(local, remote))?;
    // If there is no such connection, the kernel describes the listener.
    (reply.get(STATE_AT)? != &LISTEN).then_some(reply)
}

/// The kernel's number for the state of a listening socket.
const LISTEN: u8 = 10;

/// A socket that listens on a TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address at which it listens.
    pub addr: SocketAddr,
    /// Its inode number, which `/proc/PID/fd` also contains.
    pub inode: u64,
    /// The number of connections that wait to be accepted.
    pub waiting: u32,
}

/// Returns all sockets of the machine that listen on TCP ports, or `None` if the system does not show them.
#[must_use]
pub fn listeners() -> Option<Vec<Listener>> {
    let mut all = listeners_of(INET)?;
    // This fails on a machine without IPv6.
    all.extend(listeners_of(INET6).unwrap_or_default());
    Some(all)
}

fn listeners_of(family: u8) -> Option<Vec<Listener>> {
    Some(sockets_in(family, 1 << LISTEN)?.iter().filter_map(|reply| listener(reply)).collect())
}

/// Returns the sockets of all connections of the machine that can still be read from: the inode number, which
/// `/proc/PID/fd` also contains, and the peer's address.
#[must_use]
pub fn peers() -> Vec<(u64, SocketAddr)> {
    // The kernel's numbers for four states. In the last three, one side has closed its sending side.
    const ESTABLISHED: u32 = 1;
    const FIN_WAIT1: u32 = 4;
    const FIN_WAIT2: u32 = 5;
    const CLOSE_WAIT: u32 = 8;
    const STATES: u32 = 1 << ESTABLISHED | 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT;
    let all = [INET, INET6].into_iter().filter_map(|family| sockets_in(family, STATES));
    all.flatten().filter_map(|reply| Some((inode(&reply)?, peer_addr(&reply)?))).collect()
}

/// Returns the kernel's replies about all sockets in one of these states, one reply for each socket. `states`
/// has a bit for each state.
fn sockets_in(family: u8, states: u32) -> Option<Vec<Vec<u8>>> {
    const NLM_F_DUMP: u16 = 0x300;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut request = request(any, any);
    request[FLAGS_AT..FLAGS_AT + 2].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[FAMILY_AT] = family;
    request[STATES_AT..STATES_AT + 4].copy_from_slice(&states.to_ne_bytes());
    query_all(&request)
}

/// Reads a listener from a reply about it.
fn listener(reply: &[u8]) -> Option<Listener> {
    let waiting = number(reply, QUEUE_AT)?;
    let addr = address(reply, LOCAL_PORT_AT, LOCAL_IP_AT)?;
    Some(Listener { addr, inode: inode(reply)?, waiting })
}

fn peer_addr(reply: &[u8]) -> Option<SocketAddr> {
    address(reply, PEER_PORT_AT, PEER_IP_AT)
}

fn inode(reply: &[u8]) -> Option<u64> {
    number(reply, INODE_AT).map(u64::from)
}

fn number(reply: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(reply.get(at..at + 4)?.try_into().ok()?))
}

/// Reads an address from a reply, with the port and the IP address at these positions.
fn address(reply: &[u8], port: usize, ip: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(reply.get(port..port + 2)?.try_into().ok()?);
    let octets: [u8; 16] = reply.get(ip..ip + 16)?.try_into().ok()?;
    let ip: IpAddr = match reply.get(FAMILY_AT)? {
        &INET => Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        _ => Ipv6Addr::from(octets).into(),
    };
    Some((ip, port).into())
}

/// The kernel's number for IPv4.
const INET: u8 = 2;

/// The kernel's number for IPv6.
const INET6: u8 = 10;

const NLM_F_REQUEST: u16 = 1;

/// The kernel's number for a message that ends a list of replies.
const NLMSG_DONE: u16 = 3;

/// The length of the header of each message, `struct nlmsghdr`: length, type, flags, and two numbers that are
/// not used here.
const HEADER_LEN: usize = 16;

/// The position of the flags in the header.
const FLAGS_AT: usize = 6;

/// The position of the address family, after the header of a request or a reply.
const FAMILY_AT: usize = HEADER_LEN;

/// The position of the wanted states in a request.
const STATES_AT: usize = HEADER_LEN + 4;

// The positions in a reply: the fields of `struct inet_diag_msg`, after the header.
const STATE_AT: usize = HEADER_LEN + 1;
const LOCAL_PORT_AT: usize = HEADER_LEN + 4;
const PEER_PORT_AT: usize = HEADER_LEN + 6;
const LOCAL_IP_AT: usize = HEADER_LEN + 8;
const PEER_IP_AT: usize = HEADER_LEN + 24;
/// The number of unread bytes; for a listener, the number of connections that wait to be accepted.
const QUEUE_AT: usize = HEADER_LEN + 56;
/// The number of bytes that the peer has not acknowledged.
const SEND_QUEUE_AT: usize = HEADER_LEN + 60;
const INODE_AT: usize = HEADER_LEN + 68;

/// Returns a request for one connection: `struct nlmsghdr`, then `struct inet_diag_req_v2`.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    const LEN: u32 = 16 + 56;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const ALL_STATES: u32 = u32::MAX;
    const NO_COOKIE: u64 = u64::MAX;
    let (inet, tcp) = (if local.is_ipv4() { INET } else { INET6 }, 6);
    [
        &LEN.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &[0; 8],
        &[inet, tcp, 0, 0],
        &ALL_STATES.to_ne_bytes(),
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &padded(local),
        &padded(remote),
        &[0; 4],
        &NO_COOKIE.to_ne_bytes(),
    ]
    .concat()
}

/// Returns an IP address in sixteen bytes, in which an address of either family has room.
fn padded(addr: SocketAddr) -> [u8; 16] {
    match addr {
        SocketAddr::V6(addr) => addr.ip().octets(),
        SocketAddr::V4(addr) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&addr.ip().octets());
            bytes
        }
    }
}

/// Sends a request about one socket, and returns the reply.
fn query_one(request: &[u8]) -> Option<Vec<u8>> {
    let mut query = Query::send(request)?;
    let reply = query.receive()?;
    // The kernel answers an error with a message of another type, which is shorter.
    (reply.len() >= QUEUE_AT + 4 && header(&reply)?.1 == header(request)?.1).then_some(reply)
}

/// Sends a request about several sockets, and returns one reply for each socket.
fn query_all(request: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut query = Query::send(request)?;
    let (_, wanted) = header(request)?;
    let mut replies = Vec::new();
    loop {
        let packet = query.receive()?;
        let mut rest = packet.as_slice();
        while let Some((len, kind)) = header(rest) {
            if kind != wanted {
                return (kind == NLMSG_DONE).then_some(replies);
            }
            let message = rest.get(..len)?;
            replies.push(message.to_vec());
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Returns the length and the type of a message.
fn header(message: &[u8]) -> Option<(usize, u16)> {
    let len = usize::try_from(number(message, 0)?).ok()?;
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    (len >= HEADER_LEN).then_some((len, kind))
}

/// A request that was sent to the kernel.
#[cfg(target_os = "linux")]
struct Query {
    socket: socket2::Socket,
}

/// Other systems do not have this interface.
#[cfg(not(target_os = "linux"))]
enum Query {}

#[cfg(target_os = "linux")]
impl Query {
    fn send(request: &[u8]) -> Option<Self> {
        use socket2::{Domain, Protocol, Socket, Type};

        const AF_NETLINK: i32 = 16;
        const NETLINK_SOCK_DIAG: i32 = 4;
        let protocol = Protocol::from(NETLINK_SOCK_DIAG);
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(protocol)).ok()?;
        socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
        socket.send(request).ok()?;
        Some(Self { socket })
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut reply = vec![0; 32 * 1024];
        let len = crate::read_once(&mut self.socket, &mut reply).ok()?;
        reply.truncate(len);
        Some(reply)
    }
}

#[cfg(not(target_os = "linux"))]
impl Query {
    fn send(_request: &[u8]) -> Option<Self> {
        None
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;
    use crate::{TIMEOUT, wait_until};

    /// Waits until a figure has this value: on a busy machine, the kernel delivers bytes a moment later.
    fn becomes(expected: u64, figure: impl Fn() -> Option<u64>) -> bool {
        wait_until(TIMEOUT, || Ok(figure() == Some(expected))).is_ok_and(|is_so| is_so)
    }

    #[test]
    fn unread_bytes_are_counted() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let local = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(local).unwrap();
            let (mut server, remote) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            assert!(becomes(5, || unread_bytes(local, remote)));
            client.shutdown(Shutdown::Write).unwrap();
            assert!(becomes(6, || unread_bytes(local, remote)));
            server.read_to_end(&mut Vec::new()).unwrap();
            assert!(becomes(0, || unread_bytes(local, remote)));
        }
    }

    #[test]
    fn unacknowledged_bytes_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(remote).unwrap();
        let local = client.local_addr().unwrap();
        assert_eq!(unacknowledged_bytes(local, remote), Some(0));
        // Until the buffers of both sides are full.
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 8192]).is_ok() {}
        assert!(unacknowledged_bytes(local, remote) > Some(0));
        assert!(becomes(0, || unacknowledged_bytes(remote, local)));
    }

    #[test]
    fn listeners_are_found() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let addr = listener.local_addr().unwrap();
            let waiting = || {
                let found = listeners().unwrap().into_iter().find(|found| found.addr == addr);
                found.map(|it| it.waiting)
            };
            assert_eq!(waiting(), Some(0), "{addr}");
            let _client = TcpStream::connect(("localhost", addr.port()));
            if addr.is_ipv4() {
                assert!(becomes(1, || waiting().map(u64::from)), "{addr}");
            }
        }
    }

    #[test]
    fn a_connection_is_found_when_either_side_has_closed_its_sending_side() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, remote) = listener.accept().unwrap();
        let is_found = || peers().iter().any(|(_, peer)| *peer == remote);
        assert!(is_found());
        server.shutdown(Shutdown::Write).unwrap();
        assert!(is_found());
        drop(client);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, remote) = listener.accept().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(peers().iter().any(|(_, peer)| *peer == remote));
    }

    #[test]
    fn a_listener_does_not_count_as_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(unread_bytes(listener.local_addr().unwrap(), nobody), None);
    }
}
