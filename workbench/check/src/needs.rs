//! What a check needs of the machine.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;

use probe::server::{AS_USER, WITHOUT_LOW_PORTS};

use crate::mutants;
use crate::server_under_test::Source;

/// What a machine must offer for a check to say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing special.
    Nothing,
    /// A connection of which one direction can end before the other.
    HalfClose,
    /// A server started by us, to look at its process and to end it.
    Process,
    /// The figures of a process, which Linux tells, of a server started by us.
    Figures,
    /// IPv6 on the loopback interface.
    Ipv6,
    /// Low ports that not everybody may listen on, and a way to be one who may not.
    LowPorts,
    /// A way to interrupt a server's system calls: a library that is compiled for that.
    Interrupts,
    /// A limit of address space (Linux, with prlimit(1)).
    AddressSpace,
    /// A way to be another user, who may start this program too: root is let start any number of
    /// threads (Linux, as root, with prlimit(1) and setpriv(1)).
    OtherUser,
}

impl Needs {
    /// Whether this machine offers it, for a server started by us.
    #[must_use]
    pub fn met(self) -> bool {
        match self {
            Self::Nothing | Self::HalfClose => true,
            Self::Process => cfg!(unix),
            Self::Figures => cfg!(target_os = "linux"),
            Self::Ipv6 => TcpListener::bind("[::1]:0").is_ok(),
            Self::LowPorts => match TcpListener::bind("127.0.0.1:1") {
                Err(err) if err.kind() == ErrorKind::PermissionDenied => true,
                _ => can_drop_low_ports(),
            },
            // A developer's machine may lack a compiler; the CI machine may not.
            Self::Interrupts => {
                let is_decided_here = std::env::var_os("CI").is_some();
                cfg!(target_os = "linux") && (is_decided_here || mutants::is_there("cc"))
            }
            Self::AddressSpace => cfg!(target_os = "linux") && succeeds(&["prlimit", "true"]),
            Self::OtherUser => cfg!(target_os = "linux") && can_be_another_user(),
        }
    }

    /// Whether it can be had of such a server on this machine.
    #[must_use]
    pub fn met_by(self, source: &Source) -> bool {
        let is_started_here = !matches!(source, Source::Running(_));
        self.met() && (is_started_here || !matches!(self, Self::Process | Self::Figures))
    }
}

fn can_be_another_user() -> bool {
    let user = ["--reuid=65534", "--regid=65534"];
    let program = std::env::current_exe().unwrap_or_default();
    let test = ["test", "-x", &program.to_string_lossy()].map(ToOwned::to_owned);
    let words: Vec<_> = AS_USER.split(' ').chain(user).map(ToOwned::to_owned).chain(test).collect();
    succeeds(&["prlimit", "true"]) && succeeds(&words)
}

fn succeeds<S: AsRef<OsStr>>(words: &[S]) -> bool {
    let Some((program, args)) = words.split_first() else { return false };
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// Whether this is root, on a Linux where only root may listen on the low ports.
fn can_drop_low_ports() -> bool {
    let first_for_all = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let is_reserved = first_for_all.is_ok_and(|port| port.trim().parse().is_ok_and(|n: u16| n > 1));
    let mut words = WITHOUT_LOW_PORTS.split(' ').chain(["true"]);
    let dropped = words.next().map(|setpriv| Command::new(setpriv).args(words).status());
    is_reserved && matches!(dropped, Some(Ok(status)) if status.success())
}
