//! Reserves a port for a server that needs a port number in its arguments.
//!
//! A server that lets the system pick its port (`--port 0`) and prints the number does not need this.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use anyhow::{Result, bail};
use socket2::{Domain, Socket, Type};

use crate::groups;

/// A TCP port that is reserved, among the processes that use this module, until this value is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number, which marks the TCP port as reserved: only one process can bind it,
    /// and the system frees it even when that process is killed.
    _marker: UdpSocket,
}

impl Port {
    /// Finds a TCP port that no socket uses, and reserves it: no other call of this function, in this process
    /// or in another, returns the same port.
    ///
    /// # Errors
    ///
    /// No free port was found.
    pub fn reserve() -> Result<Self> {
        const TRIES: usize = 1000;
        const CANDIDATES: RangeInclusive<u16> = 10_000..=65_535;
        let ephemeral = ephemeral_ports();
        for tries in 0..TRIES {
            let number = fastrand::u16(CANDIDATES);
            // The system may give such a port to another program at any moment. Where nearly all
            // ports are ephemeral, one of them is better than no port.
            if ephemeral.contains(&number) && tries < TRIES / 2 {
                continue;
            }
            let Ok(marker) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if groups::with_starts_blocked(|| is_free(number)) {
                return Ok(Self { number, _marker: marker });
            }
        }
        bail!("found no free TCP port in {TRIES} tries")
    }

    /// Returns the number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns the port's address on the loopback interface.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// Returns the ephemeral ports: the system gives them to outgoing connections and to listeners on port 0.
fn ephemeral_ports() -> RangeInclusive<u16> {
    // Contains the ephemeral ports of macOS and Windows, 49152 to 65535, too.
    const DEFAULT: RangeInclusive<u16> = 32_768..=65_535;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.ok().and_then(|text| {
        let (first, last) = text.trim().split_once(char::is_whitespace)?;
        Some(first.parse().ok()?..=last.trim().parse().ok()?)
    });
    range.unwrap_or(DEFAULT)
}

/// Reports whether a server could bind a port now, on every interface, over IPv4 and IPv6.
///
/// This does not set `SO_REUSEADDR`, so that the system also refuses a port that still has connections in
/// `TIME_WAIT`: a server without `SO_REUSEADDR` could not bind such a port. Nothing listens on the port, so no client
/// can connect.
fn is_free(port: u16) -> bool {
    let bind = |domain, addr: SocketAddr| {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())
    };
    let has_v6 = || bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into()).is_ok();
    let is_free_in_v6 = || bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()).is_ok();
    bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into()).is_ok()
        && (is_free_in_v6() || !has_v6())
}
