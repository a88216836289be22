//! What a check needs from the machine.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use probe::server::{AS_USER, WITHOUT_PRIVILEGED_PORTS};
use socket2::{Domain, Socket, Type};

use crate::mutants;
use crate::server_under_test::Source;

/// What a check needs from the machine and the server to give a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing special.
    Nothing,
    /// A connection whose two directions can end separately.
    HalfClose,
    /// A server started by us, whose process the check can examine and end.
    Process,
    /// The memory, CPU and descriptor use of a server started by us, which Linux reports.
    Figures,
    /// IPv6 on the loopback interface.
    Ipv6,
    /// Low ports on which only privileged users may listen, and a way to run without that privilege.
    LowPorts,
    /// A C compiler, for the library that interrupts a server's system calls (Linux).
    Interrupts,
    /// A way to limit the address space of a process (Linux, with prlimit(1)).
    AddressSpace,
    /// A way to start the server as another user, because the limit of threads does not apply to root (Linux, as
    /// root, with prlimit(1) and setpriv(1)).
    OtherUser,
}

impl Needs {
    /// Reports whether this machine meets the need, for a server started by us.
    #[must_use]
    pub fn met(self) -> bool {
        match self {
            Self::Nothing | Self::HalfClose => true,
            Self::Process => cfg!(unix),
            Self::Figures => cfg!(target_os = "linux"),
            Self::Ipv6 => TcpListener::bind("[::1]:0").is_ok(),
            Self::LowPorts => !may_use_low_ports() || can_drop_low_ports(),
            // On a developer's machine the check is skipped if there is no compiler; in CI it fails.
            Self::Interrupts => {
                let is_ci = std::env::var_os("CI").is_some();
                cfg!(target_os = "linux") && (is_ci || mutants::is_installed("cc"))
            }
            Self::AddressSpace => cfg!(target_os = "linux") && succeeds(&["prlimit", "true"]),
            Self::OtherUser => cfg!(target_os = "linux") && can_be_another_user(),
        }
    }

    /// Reports whether this machine meets the need, for a server from this source.
    #[must_use]
    pub fn met_by(self, source: &Source) -> bool {
        let is_started_here = !matches!(source, Source::Running(_));
        self.met() && (is_started_here || !self.includes_start())
    }

    /// Reports whether the check must start the server itself.
    fn includes_start(self) -> bool {
        match self {
            Self::Nothing | Self::HalfClose | Self::Ipv6 => false,
            Self::Process
            | Self::Figures
            | Self::LowPorts
            | Self::Interrupts
            | Self::AddressSpace
            | Self::OtherUser => true,
        }
    }

    /// Returns what the check needs, as the end of a sentence that begins with "needs".
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::HalfClose => "a connection whose two directions can end separately",
            Self::Process => "a server that tincan starts, on Unix",
            Self::Figures => "a server that tincan starts, on Linux",
            Self::Ipv6 => "IPv6 on the loopback interface",
            Self::LowPorts => {
                "a server that tincan starts, and ports below 1024 that are for privileged users alone"
            }
            Self::Interrupts => "a server that tincan starts, and a C compiler, on Linux",
            Self::AddressSpace => "a server that tincan starts, and prlimit(1), on Linux",
            Self::OtherUser => {
                "a server that tincan starts, and root with prlimit(1) and setpriv(1), on Linux"
            }
        }
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

/// Reports whether this process may listen on port 1. Does not listen on it, because a server that is being
/// checked at this moment may rely on a port where nothing listens.
pub(crate) fn may_use_low_ports() -> bool {
    let sock = Socket::new(Domain::IPV4, Type::STREAM, None);
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    let bound = sock.and_then(|sock| sock.bind(&addr.into()));
    !matches!(bound, Err(err) if err.kind() == ErrorKind::PermissionDenied)
}

/// Reports whether this process is root and can give up its privilege, on a Linux where only root may listen on
/// low ports.
fn can_drop_low_ports() -> bool {
    let first_for_all = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let is_reserved = first_for_all.is_ok_and(|port| port.trim().parse().is_ok_and(|n: u16| n > 1));
    let mut words = WITHOUT_PRIVILEGED_PORTS.split(' ').chain(["true"]);
    let dropped = words.next().map(|setpriv| Command::new(setpriv).args(words).status());
    is_reserved && matches!(dropped, Some(Ok(status)) if status.success())
}
