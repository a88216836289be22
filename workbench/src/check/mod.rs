//! What any server has to do, in whatever language: one check each, on a ladder from easy to hard.
//!
//! [`LADDER`] is the table. A new check is a function in the file of its theme and a row there. What
//! is asked of one protocol alone is in the file of that protocol, function and row.

mod app_protocol;
pub(crate) mod bench;
mod calc;
mod chat;
mod chat_select;
mod concurrency;
mod echo_select;
mod framing;
mod ladder;
#[cfg(unix)]
mod leaving;
mod report;
mod run;
mod slow;
pub(crate) mod survival;
mod talk;
mod tea_party;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::contract::common::Speech;
use crate::server::{BE_USER, DROP_LOW_PORTS, NotStarted};
use crate::tls::Tls;
use crate::{Failure, PATIENCE, mutants};

pub use bench::Bench;
pub use ladder::LADDER;
pub use report::{Format, Invocation, list, one_failure, plain, write_report};
pub use run::{Event, LEAST_PATIENCE, Outcome, Report, TRIES, run_checks, with_dependencies};
pub use talk::Talk;

/// What a server claims to be: which checks it has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Echo, one client at a time
    EchoUni,
    /// Echo, any number of clients at a time
    EchoMulti,
    /// Chat, however it is built
    Chat,
    /// Chat with a thread or two for each client
    ChatThreads,
    /// Chat with one thread for all clients
    ChatPoll,
    /// Chat with tasks on a few threads
    ChatAsync,
    /// The same bytes back, on one thread for all connections
    EchoSelect,
    /// A length, a JSON header, content: one request a connection
    AppProtocol,
    /// A calculator that reads lines, with a mode for each client
    Calc,
    /// A chat with names, in frames that say their length
    ChatSelect,
    /// A chat of lines for telnet and nc, where people log in with a name
    TeaParty,
    /// A server of this project with a protocol of its own: see [`Speech`]
    #[value(skip)]
    Own,
}

impl Profile {
    /// Whether it is a tin-can chat.
    #[must_use]
    pub fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::ChatThreads | Self::ChatPoll | Self::ChatAsync)
    }

    /// Whether it answers one message a connection.
    #[must_use]
    pub fn is_echo(self) -> bool {
        matches!(self, Self::EchoUni | Self::EchoMulti)
    }

    /// Whether a client that is silent makes the others wait.
    #[must_use]
    pub fn one_at_a_time(self) -> bool {
        self == Self::EchoUni
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EchoUni => "echo-uni",
            Self::EchoMulti => "echo-multi",
            Self::Chat => "chat",
            Self::ChatThreads => "chat-threads",
            Self::ChatPoll => "chat-poll",
            Self::ChatAsync => "chat-async",
            Self::EchoSelect => "echo-select",
            Self::AppProtocol => "app-protocol",
            Self::Calc => "calc",
            Self::ChatSelect => "chat-select",
            Self::TeaParty => "tea-party",
            Self::Own => "own",
        })
    }
}

/// Where the server comes from.
#[derive(Clone, Debug)]
pub enum Target {
    /// A command, run anew for each check; `{port}` and `{host}` in its words are replaced.
    Command(Vec<OsString>),
    /// A program with the command line of this project's servers and its arguments, run anew for each
    /// check on a port that the system picks.
    Own(Vec<OsString>),
    /// It runs already.
    Running(SocketAddr),
}

/// How a server writes a client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// `127.0.0.1:50312`, as the protocol says.
    #[default]
    HostPort,
    /// `('127.0.0.1', 50312)`, as Python prints a pair, and the servers of many tutorials do.
    Pair,
}

impl Naming {
    /// The address, written so.
    #[must_use]
    pub fn of(self, addr: SocketAddr) -> String {
        match self {
            Self::HostPort => addr.to_string(),
            Self::Pair => format!("('{}', {})", addr.ip(), addr.port()),
        }
    }
}

/// The server that is checked: where it comes from, and what it claims to be.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it claims to be.
    pub profile: Profile,
    /// Where it comes from.
    pub target: Target,
    /// How it writes a client's address.
    pub naming: Naming,
    /// How to talk to it, if that is not what its profile says.
    pub speech: Option<Speech>,
    /// What chance begins with: the same seed picks the same places to cut and moments to leave.
    pub seed: u64,
    /// How long to wait for what must happen, at least: where exchanges take long, it is longer.
    pub patience: Duration,
    /// How clients speak TLS with it, if they do.
    pub tls: Option<Tls>,
}

impl Subject {
    /// A program with the command line of this project's servers.
    pub fn new(profile: Profile, program: impl AsRef<Path>) -> Self {
        let target = Target::Own(vec![program.as_ref().into()]);
        let naming = Naming::default();
        Self { profile, target, naming, speech: None, seed: 0, patience: PATIENCE, tls: None }
    }

    /// A server of this project that speaks a protocol of its own.
    #[must_use]
    pub fn of(speech: Speech) -> Self {
        let mut words = vec![speech.program];
        words.extend(speech.args);
        let target = Target::Own(words.into_iter().map(OsString::from).collect());
        Self { target, speech: Some(speech), ..Self::new(Profile::Own, speech.program) }
    }
}

/// The parts of the ladder, and what this project's own servers promise besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// How bytes become messages.
    Framing,
    /// Clients that break their connections.
    Survival,
    /// Many clients at once.
    Concurrency,
    /// Who hears what, in which order.
    Chat,
    /// Clients that do not read.
    SlowReaders,
    /// The server's end.
    Leaving,
    /// The command line, the log, the limits that can be set.
    Contract,
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Framing => "framing",
            Self::Survival => "survival",
            Self::Concurrency => "concurrency",
            Self::Chat => "chat",
            Self::SlowReaders => "slow readers",
            Self::Leaving => "leaving",
            Self::Contract => "contract",
        })
    }
}

/// What a profile asks of a server in one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To pass it.
    Pass,
    /// To fail it: the limit that this kind of server has, and is there to show.
    Limit,
    /// Nothing.
    Nothing,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Limit => "limit",
            Self::Nothing => "-",
        })
    }
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, as a test and on the command line.
    pub id: &'static str,
    /// The part of the ladder that it belongs to.
    pub theme: Theme,
    /// What it tries, in a few words.
    pub title: &'static str,
    /// The rule that it checks.
    pub rule: &'static str,
    /// Which servers have to pass it.
    pub who: &'static [Profile],
    /// Which servers have to be seen to fail it.
    pub limit: &'static [Profile],
    /// What the machine must offer.
    pub needs: Needs,
    /// The checks without which this one says nothing new.
    pub after: &'static [&'static str],
    /// What is likely wrong if it fails; where to look; how to mend it.
    pub hints: [&'static str; 3],
    /// Where to read on: a file of the book, and a heading in it.
    pub read: &'static str,
    pub(crate) run: fn(&Bench) -> Result<()>,
}

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
    pub fn met_by(self, target: &Target) -> bool {
        let is_started_here = !matches!(target, Target::Running(_));
        self.met() && (is_started_here || !matches!(self, Self::Process | Self::Figures))
    }
}

fn can_be_another_user() -> bool {
    let user = ["--reuid=65534", "--regid=65534"];
    let program = std::env::current_exe().unwrap_or_default();
    let test = ["test", "-x", &program.to_string_lossy()].map(ToOwned::to_owned);
    let words: Vec<_> = BE_USER.split(' ').chain(user).map(ToOwned::to_owned).chain(test).collect();
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
    let mut words = DROP_LOW_PORTS.split(' ').chain(["true"]);
    let dropped = words.next().map(|setpriv| Command::new(setpriv).args(words).status());
    is_reserved && matches!(dropped, Some(Ok(status)) if status.success())
}

/// What came of one check.
#[derive(Debug)]
pub enum Verdict {
    /// All is as asked.
    Passed,
    /// It is not.
    Failed(Finding),
    /// The check could not find out, and why.
    Undecided(String),
    /// The server did not start.
    NotStarted(NotStarted),
}

/// A failure, with what happened around it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was done, expected, got.
    pub failure: Failure,
    /// Who sent what when.
    pub picture: String,
    /// What each thread of the server did, where that was looked at.
    pub threads: String,
    /// What the server printed itself.
    pub output: String,
}

impl Check {
    pub(crate) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// What a profile asks of its servers here.
    #[must_use]
    pub fn asked(&self, profile: Profile) -> Asked {
        if self.limit.contains(&profile) {
            Asked::Limit
        } else if self.who.contains(&profile) {
            Asked::Pass
        } else {
            Asked::Nothing
        }
    }

    /// Why it makes no sense with what is between such a server and its clients.
    #[must_use]
    pub fn is_senseless(&self, subject: &Subject) -> Option<&'static str> {
        let ends_both = subject.tls.as_ref().is_some_and(Tls::ends_both);
        (self.needs == Needs::HalfClose && ends_both).then_some(
            "in TLS 1.2, who reads close_notify ends both directions at once, what is queued \
             included (RFC 5246 section 7.2.1)",
        )
    }

    /// Checks a server once; `notes` gets what else was noticed.
    pub fn judge(&self, subject: &Subject, notes: &mut Vec<String>) -> Verdict {
        self.judge_on(notes, subject, |bench| bench)
    }

    /// The same, with a look at what the threads of the server do.
    pub fn judge_watching(&self, subject: &Subject, notes: &mut Vec<String>) -> Verdict {
        self.judge_on(notes, subject, Bench::watching)
    }

    fn judge_on(
        &self,
        notes: &mut Vec<String>,
        subject: &Subject,
        prepared: impl FnOnce(Bench) -> Bench,
    ) -> Verdict {
        /// How long to watch a server fail that is meant to.
        const WATCHED: Duration = Duration::from_secs(2);
        let mut subject = subject.clone();
        let asked = self.asked(subject.profile);
        if asked == Asked::Limit {
            subject.patience = subject.patience.min(WATCHED);
        }
        let bench = prepared(Bench::new(subject, self.id));
        let done = (self.run)(&bench);
        notes.extend(bench.survivors());
        match (done, asked) {
            (Ok(()), Asked::Limit) => {
                let did = bench.story().unwrap_or_else(|| self.title.to_owned());
                let expected = format!("that it fails, as its kind of server must: {}", self.rule);
                Verdict::Failed(bench.finding(Failure::new(did, expected, "it passes")))
            }
            (Ok(()), _) => Verdict::Passed,
            (Err(err), _) => match err.downcast::<Failure>() {
                Ok(_) if asked == Asked::Limit => Verdict::Passed,
                Ok(failure) => Verdict::Failed(bench.finding(failure)),
                Err(err) => match err.downcast::<NotStarted>() {
                    Ok(not_started) => Verdict::NotStarted(not_started),
                    Err(err) => Verdict::Undecided(format!("{err:#}")),
                },
            },
        }
    }
}
