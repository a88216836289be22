//! The contract: every rule of `PROTOCOLS.md` that a program outside can observe, one check each.
//!
//! [`LADDER`] is the table. A new check is a function in the file of its theme and a row there.

mod bench;
mod chat;
mod cli;
mod descriptors;
mod echo;
mod events;
#[cfg(unix)]
mod exhaustion;
mod framing;
mod ladder;
mod leaving;
mod limits;
mod log;
mod outlets;
mod slow;
#[cfg(unix)]
mod stopping;
mod survival;

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::server::DROP_LOW_PORTS;

pub use bench::Bench;
pub use ladder::LADDER;

/// What kind of server is checked: which rows of the table it has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Stage 1: echo, one client at a time.
    EchoUni,
    /// Stage 2: echo, a thread a client.
    EchoMulti,
    /// Stage 3: chat, two threads a client.
    ChatThreads,
    /// Stage 4: chat, one thread.
    ChatPoll,
    /// Stage 5: chat, tasks.
    ChatAsync,
}

impl Profile {
    /// Whether it is a tin-can chat.
    #[must_use]
    pub fn is_chat(self) -> bool {
        matches!(self, Self::ChatThreads | Self::ChatPoll | Self::ChatAsync)
    }

    /// Whether it answers one message a connection.
    #[must_use]
    pub fn is_echo(self) -> bool {
        !self.is_chat()
    }

    /// Whether a client that is silent makes the others wait.
    #[must_use]
    pub fn one_at_a_time(self) -> bool {
        self == Self::EchoUni
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EchoUni => "echo-uni",
            Self::EchoMulti => "echo-multi",
            Self::ChatThreads => "chat-threads",
            Self::ChatPoll => "chat-poll",
            Self::ChatAsync => "chat-async",
        })
    }
}

/// The server that is checked: how it is started, and what it claims to be.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it claims to be.
    pub profile: Profile,
    /// The program.
    pub program: OsString,
    /// The arguments that every start has.
    pub args: Vec<OsString>,
}

impl Subject {
    /// A program that needs no arguments.
    pub fn new(profile: Profile, program: impl AsRef<Path>) -> Self {
        Self { profile, program: program.as_ref().into(), args: Vec::new() }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Check {
    /// Its name, as a test and on the command line.
    pub id: &'static str,
    /// The rule that it checks, as `PROTOCOLS.md` puts it, with the section.
    pub rule: &'static str,
    /// Which servers have to pass it.
    pub who: &'static [Profile],
    /// What the machine must offer.
    pub needs: Needs,
    run: fn(&Bench) -> Result<()>,
}

/// What a machine must offer for a check to say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing special.
    Nothing,
    /// IPv6 on the loopback interface.
    Ipv6,
    /// Low ports that not everybody may listen on, and a way to be one who may not.
    LowPorts,
}

impl Needs {
    /// Whether this machine offers it.
    #[must_use]
    pub fn met(self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Ipv6 => TcpListener::bind("[::1]:0").is_ok(),
            Self::LowPorts => match TcpListener::bind("127.0.0.1:1") {
                Err(err) if err.kind() == ErrorKind::PermissionDenied => true,
                _ => can_drop_low_ports(),
            },
        }
    }
}

/// Whether this is root, on a Linux where only root may listen on the low ports.
fn can_drop_low_ports() -> bool {
    let first_for_all = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let is_reserved = first_for_all.is_ok_and(|port| port.trim().parse().is_ok_and(|n: u16| n > 1));
    let mut words = DROP_LOW_PORTS.split(' ').chain(["true"]);
    let dropped = words.next().map(|setpriv| Command::new(setpriv).args(words).status());
    is_reserved && matches!(dropped, Some(Ok(status)) if status.success())
}

impl Check {
    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Checks a server; an error says which rule is broken and how that showed.
    pub fn judge(&self, subject: &Subject) -> Result<()> {
        let bench = Bench::new(subject.clone());
        (self.run)(&bench)
            .map_err(|err| anyhow!("\n    rule: {}\n{err:#}\n{}", self.rule, bench.logs()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_check_has_an_id_of_its_own_and_cites_its_rule() {
        let mut ids = HashSet::new();
        for check in LADDER {
            assert!(ids.insert(check.id), "{} twice", check.id);
            assert!(check.rule.starts_with('§'), "{}: {}", check.id, check.rule);
            assert!(!check.who.is_empty(), "{}", check.id);
        }
    }
}
