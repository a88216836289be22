//! What Linux tells about one connection, whoever owns it: `sock_diag(7)`.
//!
//! `/proc/net/tcp` tells the same, but lists all connections of the machine: after many tests it is
//! so long that reading it takes longer than what is to be observed.

use std::net::SocketAddr;

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

/// Where the state is in a reply: behind the message's head and the family.
const STATE_AT: usize = 17;

/// Where the number of unread bytes is in a reply: behind the addresses and the timer.
const QUEUE_AT: usize = 16 + 4 + 48 + 4;

/// The message that asks for one connection: `struct nlmsghdr`, then `struct inet_diag_req_v2`.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    const LEN: u32 = 16 + 56;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const ALL_STATES: u32 = u32::MAX;
    const NO_COOKIE: u64 = u64::MAX;
    let (inet, tcp): (u8, u8) = (if local.is_ipv4() { 2 } else { 10 }, 6);
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

#[cfg(target_os = "linux")]
fn ask(request: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read;

    use socket2::{Domain, Protocol, Socket, Type};

    const AF_NETLINK: i32 = 16;
    const NETLINK_SOCK_DIAG: i32 = 4;
    let protocol = Protocol::from(NETLINK_SOCK_DIAG);
    let mut kernel = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(protocol)).ok()?;
    kernel.set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
    kernel.send(request).ok()?;
    let mut reply = vec![0; 4096];
    let len = kernel.read(&mut reply).ok()?;
    reply.truncate(len);
    // An error is such a message, too, but a shorter one: it echoes the request's head alone.
    (len >= QUEUE_AT + 4 && reply[4..6] == request[4..6]).then_some(reply)
}

#[cfg(not(target_os = "linux"))]
fn ask(_request: &[u8]) -> Option<Vec<u8>> {
    None
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
    fn a_listener_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(unread_bytes(listener.local_addr().unwrap(), nobody), None);
    }
}
