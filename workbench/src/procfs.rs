//! What Linux tells about a process and its connections; `None` on other systems.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors.
    pub descriptors: u64,
    /// Its resident memory in bytes.
    pub resident: u64,
    /// The processor time that it has used since its start.
    pub cpu: Duration,
}

/// Gives what a process uses, if it lives and the system tells.
#[must_use]
pub fn figures(pid: u32) -> Option<Figures> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Figures {
        threads: field(&status, "Threads:")?.parse().ok()?,
        descriptors: u64::try_from(descriptors).ok()?,
        resident: field(&status, "VmRSS:")?.parse::<u64>().ok()? * 1024,
        cpu: cpu(pid)?,
    })
}

/// Whether no signal waits for the process to take it; `None` if the system does not tell.
#[must_use]
pub fn has_taken_signals(pid: u32) -> Option<bool> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let none = |name| field(&status, name).map(|mask| mask.chars().all(|digit| digit == '0'));
    Some(none("ShdPnd:")? && none("SigPnd:")?)
}

/// How many bytes the process at `local` has not read yet of what `remote` sent; `None` if the
/// system does not tell or there is no such connection (any more).
#[must_use]
pub fn unread_bytes(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let table = if local.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let (local, remote) = (kernel_form(local), kernel_form(remote));
    let table = read(table)?;
    let line = table.lines().find(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local) && fields.next() == Some(&remote)
    })?;
    let (_, unread) = line.split_whitespace().nth(4)?.split_once(':')?;
    u64::from_str_radix(unread, 16).ok()
}

/// An address as the tables in `/proc/net` have it: words in the machine's byte order.
fn kernel_form(addr: SocketAddr) -> String {
    let octets = match addr {
        SocketAddr::V4(addr) => addr.ip().octets().to_vec(),
        SocketAddr::V6(addr) => addr.ip().octets().to_vec(),
    };
    let mut text = String::new();
    for word in octets.as_chunks::<4>().0 {
        let _ = write!(text, "{:08X}", u32::from_ne_bytes(*word));
    }
    format!("{text}:{:04X}", addr.port())
}

#[cfg(target_os = "linux")]
fn cpu(pid: u32) -> Option<Duration> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may have blanks in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<u64>().ok();
    let millis = (ticks(11)? + ticks(12)?) * 1000 / rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(millis))
}

#[cfg(not(target_os = "linux"))]
fn cpu(_pid: u32) -> Option<Duration> {
    None
}

fn read(path: &str) -> Option<String> {
    if cfg!(target_os = "linux") { std::fs::read_to_string(path).ok() } else { None }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use anyhow::{Context, Result};

    use super::*;

    #[test]
    fn own_figures_are_plausible() -> Result<()> {
        let figures = figures(std::process::id()).context("no figures")?;
        assert!(figures.threads >= 1);
        assert!(figures.descriptors >= 3);
        assert!(figures.resident > 100_000);
        Ok(())
    }

    #[test]
    fn unread_bytes_are_counted() -> Result<()> {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host)?;
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            let (server, remote) = listener.accept()?;
            client.write_all(b"hello")?;
            assert_eq!(unread_bytes(server.local_addr()?, remote), Some(5));
        }
        Ok(())
    }
}
