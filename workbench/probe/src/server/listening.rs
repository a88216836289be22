use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::linux::{procfs, sockdiag};

/// Where processes listen, as a client on this machine reaches it, if the system tells; IPv4 first.
#[must_use]
pub fn listening(processes: &[u32]) -> Vec<SocketAddr> {
    let own = procfs::sockets(processes);
    let all = sockdiag::listeners().unwrap_or_default();
    let mut found: Vec<_> =
        all.into_iter().filter(|it| own.contains(&it.inode)).map(|it| reachable(it.addr)).collect();
    found.sort_by_key(|addr| (addr.is_ipv6(), addr.port()));
    found.dedup();
    found
}

/// The address at which a client on this machine reaches a listener.
pub(super) fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Whether somebody has a port of this machine.
pub(super) fn is_taken(port: u16) -> bool {
    let tried = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    tried.is_err_and(|err| err.kind() == ErrorKind::AddrInUse)
}
