//! A port for a server that has to be told which one to take.
//!
//! A server that picks its own port (`--port 0`) and says which needs none of this.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use anyhow::{Result, bail};
use socket2::{Domain, Socket, Type};

use crate::groups;

/// A TCP port that no other process of ours takes as long as this is held.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number. Only one process can have it, and a process that is killed
    /// gives it back.
    _twin: UdpSocket,
}

impl Port {
    /// Finds a TCP port that nothing has, and keeps it from others who ask here, in this process or
    /// in another.
    ///
    /// # Errors
    ///
    /// No free port was found.
    pub fn reserve() -> Result<Self> {
        const TRIES: usize = 1000;
        const ALL: RangeInclusive<u16> = 10_000..=65_535;
        let handed_out = handed_out();
        for tries in 0..TRIES {
            let number = fastrand::u16(ALL);
            // Where the system hands out nearly all of them, one of its own is better than none.
            if handed_out.contains(&number) && tries < TRIES / 2 {
                continue;
            }
            let Ok(twin) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if groups::while_none_starts(|| is_free(number)) {
                return Ok(Self { number, _twin: twin });
            }
        }
        bail!("no free port found")
    }

    /// Returns its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns the address at which a server on this machine listens on it.
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

/// Returns the ports that the system gives to outgoing connections and to listeners on port 0.
fn handed_out() -> RangeInclusive<u16> {
    // In use on macOS and Windows (49152 to 65535), too.
    const USUALLY: RangeInclusive<u16> = 32_768..=65_535;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.ok().and_then(|text| {
        let (first, last) = text.trim().split_once(char::is_whitespace)?;
        Some(first.parse().ok()?..=last.trim().parse().ok()?)
    });
    range.unwrap_or(USUALLY)
}

/// Reports whether any server could take a port now, on every interface, over IPv4 and IPv6.
///
/// This does not set `SO_REUSEADDR`, so that the system also refuses a port that still has connections in
/// `TIME_WAIT`, because a server without `SO_REUSEADDR` could not bind it either. The port is not listened
/// on, so no client is let in.
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
