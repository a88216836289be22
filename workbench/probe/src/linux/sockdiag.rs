//! What Linux tells about sockets, whoever owns them: `sock_diag(7)`.
//!
//! `/proc/net/tcp` tells the same, but lists all connections of the machine: after many tests it is
//! so long that reading it takes longer than what is to be observed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How many bytes the process at `local` has not read yet of what `remote` sent, its end counting as
/// one; `None` if the system does not tell or there is no such connection (any more).
#[must_use]
pub fn unread_bytes(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let reply = ask(&request(local, remote))?;
    // Without a connection, the kernel tells about the listener.
    (reply.get(STATE_AT)? != &LISTEN).then_some(())?;
    let queue = reply.get(QUEUE_AT..QUEUE_AT + 4)?;
    Some(u64::from(u32::from_ne_bytes(queue.try_into().ok()?)))
}

/// The kernel's number for the state of a listening socket.
const LISTEN: u8 = 10;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub addr: SocketAddr,
    /// The number by which `/proc/PID/fd` calls it.
    pub inode: u64,
    /// How many connections wait to be accepted.
    pub waiting: u32,
}

/// All sockets of the machine that listen on TCP ports; `None` if the system does not tell.
#[must_use]
pub fn listeners() -> Option<Vec<Listener>> {
    let mut all = listeners_of(INET)?;
    // A machine without IPv6 has none of these.
    all.extend(listeners_of(INET6).unwrap_or_default());
    Some(all)
}

fn listeners_of(family: u8) -> Option<Vec<Listener>> {
    Some(all_in(family, 1 << LISTEN)?.iter().filter_map(|reply| listener(reply)).collect())
}

/// Who is at the other end of each connection of the machine that can still be read from: by the
/// number by which `/proc/PID/fd` calls its socket.
#[must_use]
pub fn peers() -> Vec<(u64, SocketAddr)> {
    const ESTABLISHED: u32 = 1;
    const CLOSE_WAIT: u32 = 8;
    const STATES: u32 = 1 << ESTABLISHED | 1 << CLOSE_WAIT;
    let all = [INET, INET6].into_iter().filter_map(|family| all_in(family, STATES));
    all.flatten().filter_map(|reply| Some((inode(&reply)?, address(&reply, 22, 40)?))).collect()
}

/// What the kernel tells about all sockets in one of these states.
fn all_in(family: u8, states: u32) -> Option<Vec<Vec<u8>>> {
    const NLM_F_DUMP: u16 = 0x300;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut asked = request(any, any);
    asked[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    asked[16] = family;
    asked[20..24].copy_from_slice(&states.to_ne_bytes());
    ask_all(&asked)
}

/// Reads a `struct inet_diag_msg` behind its head.
fn listener(reply: &[u8]) -> Option<Listener> {
    let waiting = number(reply, QUEUE_AT)?;
    Some(Listener { addr: address(reply, 20, 24)?, inode: inode(reply)?, waiting })
}

fn inode(reply: &[u8]) -> Option<u64> {
    number(reply, QUEUE_AT + 12).map(u64::from)
}

fn number(reply: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(reply.get(at..at + 4)?.try_into().ok()?))
}

/// The address whose port and whose IP address are at these places.
fn address(reply: &[u8], port: usize, ip: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(reply.get(port..port + 2)?.try_into().ok()?);
    let octets: [u8; 16] = reply.get(ip..ip + 16)?.try_into().ok()?;
    let ip: IpAddr = match reply.get(16)? {
        &INET => Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        _ => Ipv6Addr::from(octets).into(),
    };
    Some((ip, port).into())
}

/// The kernel's numbers for the two families.
const INET: u8 = 2;
const INET6: u8 = 10;

const NLM_F_REQUEST: u16 = 1;

/// Where the state is in a reply: behind the message's head and the family.
const STATE_AT: usize = 17;

/// Where the number of unread bytes is in a reply: behind the addresses and the timer.
const QUEUE_AT: usize = 16 + 4 + 48 + 4;

/// The message that asks for one connection: `struct nlmsghdr`, then `struct inet_diag_req_v2`.
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

/// An address in the sixteen bytes that either family has room in.
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

fn ask(request: &[u8]) -> Option<Vec<u8>> {
    let mut kernel = Kernel::ask(request)?;
    let reply = kernel.reply()?;
    // An error is such a message, too, but a shorter one: it echoes the request's head alone.
    (reply.len() >= QUEUE_AT + 4 && reply[4..6] == request[4..6]).then_some(reply)
}

/// The replies to a request for several, to the message that ends them.
fn ask_all(request: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut kernel = Kernel::ask(request)?;
    let mut replies = Vec::new();
    loop {
        let packet = kernel.reply()?;
        let mut rest = packet.as_slice();
        while let Some((len, kind)) = head(rest) {
            if kind != request[4..6] {
                return (kind == DONE.to_ne_bytes()).then_some(replies);
            }
            let message = rest.get(..len)?;
            replies.push(message.to_vec());
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The kernel's number for the message that ends a list.
const DONE: u16 = 3;

/// The length and the kind of a message.
fn head(message: &[u8]) -> Option<(usize, [u8; 2])> {
    let len = u32::from_ne_bytes(message.get(..4)?.try_into().ok()?);
    let kind = message.get(4..6)?.try_into().ok()?;
    (len >= 16).then_some((usize::try_from(len).ok()?, kind))
}

#[cfg(target_os = "linux")]
struct Kernel {
    socket: socket2::Socket,
}

/// Elsewhere there is nobody to ask.
#[cfg(not(target_os = "linux"))]
enum Kernel {}

#[cfg(target_os = "linux")]
impl Kernel {
    fn ask(request: &[u8]) -> Option<Self> {
        use socket2::{Domain, Protocol, Socket, Type};

        const AF_NETLINK: i32 = 16;
        const NETLINK_SOCK_DIAG: i32 = 4;
        let protocol = Protocol::from(NETLINK_SOCK_DIAG);
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(protocol)).ok()?;
        socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
        socket.send(request).ok()?;
        Some(Self { socket })
    }

    fn reply(&mut self) -> Option<Vec<u8>> {
        use std::io::Read;

        let mut reply = vec![0; 32 * 1024];
        let len = self.socket.read(&mut reply).ok()?;
        reply.truncate(len);
        Some(reply)
    }
}

#[cfg(not(target_os = "linux"))]
impl Kernel {
    fn ask(_request: &[u8]) -> Option<Self> {
        None
    }

    fn reply(&mut self) -> Option<Vec<u8>> {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn unread_bytes_are_counted() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let local = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(local).unwrap();
            let (mut server, remote) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            assert_eq!(unread_bytes(local, remote), Some(5));
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(unread_bytes(local, remote), Some(6));
            server.read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(unread_bytes(local, remote), Some(0));
        }
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
                assert_eq!(waiting(), Some(1), "{addr}");
            }
        }
    }

    #[test]
    fn a_listener_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(unread_bytes(listener.local_addr().unwrap(), nobody), None);
    }
}
