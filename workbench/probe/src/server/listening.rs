use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::linux::procfs;
use crate::linux::sockdiag::{self, Listener};

/// Returns the addresses at which processes listen, as a client on this machine reaches them, IPv4 first.
/// The list is empty where the system does not show them.
#[must_use]
pub fn listening_addrs(processes: &[u32]) -> Vec<SocketAddr> {
    let own = procfs::sockets(processes);
    let all = sockdiag::listeners().unwrap_or_default();
    let mut found: Vec<_> =
        all.into_iter().filter(|it| own.contains(&it.inode)).map(|it| reachable(it.addr)).collect();
    found.sort_by_key(|addr| (addr.is_ipv6(), addr.port()));
    found.dedup();
    found
}

/// Chooses, from all listeners of the machine, the address of a server that was told to take this port. With
/// `any_process`, a listener on that port counts although it belongs to no process of the server's group.
///
/// `foreign_inodes` collects the listeners of other servers, by inode, from call to call. Finding the sockets of a
/// group means reading all processes of the machine, so this is done only if there is a new listener.
pub(super) fn server_addr(
    mut all: Vec<Listener>,
    group: u32,
    port: u16,
    any_process: bool,
    foreign_inodes: &mut HashSet<u64>,
) -> Option<SocketAddr> {
    all.retain(|it| any_process || !foreign_inodes.contains(&it.inode));
    if all.is_empty() {
        return None;
    }
    let own = procfs::group_sockets(group);
    foreign_inodes.extend(all.iter().map(|it| it.inode).filter(|inode| !own.contains(inode)));
    let mut found: Vec<_> = all
        .into_iter()
        .filter(|it| own.contains(&it.inode) || (any_process && it.addr.port() == port))
        .map(|it| it.addr)
        .collect();
    // The port that the server was told to take comes before other ports, and IPv4 before IPv6.
    found.sort_by_key(|addr| (addr.port() != port, addr.is_ipv6()));
    found.first().map(|addr| reachable(*addr))
}

/// Returns the address at which a client on this machine reaches a listener.
pub(super) fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Reports whether a server cannot listen on this port of the loopback interface because another socket uses the port.
pub(super) fn is_port_in_use(port: u16) -> bool {
    let tried = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    tried.is_err_and(|err| err.kind() == ErrorKind::AddrInUse)
}
