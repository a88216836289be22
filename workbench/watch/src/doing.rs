//! Reads the state of one thread from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::state::{self, State};
use probe::sockdiag;

/// How long a thread has run so far, in nanoseconds, and in how many time slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunTime {
    pub(crate) time: u64,
    pub(crate) timeslices: u64,
}

/// The state of a thread, with details. There is no state if the thread is stopped or has ended.
#[derive(Debug, Default)]
pub(crate) struct Doing {
    pub(crate) state: Option<State>,
    /// The system call, and the object of the system call.
    pub(crate) detail: String,
    /// The peer of the connection that the thread reads from or writes to.
    pub(crate) peer: Option<String>,
}

impl Doing {
    pub(crate) fn new(state: State, detail: impl Into<String>) -> Self {
        Self { state: Some(state), detail: detail.into(), peer: None }
    }
}

/// The fields of `/proc/PID/task/TID/stat` that are used here.
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) started: u64,
}

/// Returns the state that follows from the kernel function in which the thread waits: [`State::Waiting`] if the
/// system does not show the function.
pub(crate) fn in_kernel(folder: &str) -> Doing {
    let function = fs::read_to_string(format!("{folder}/wchan")).unwrap_or_default();
    let state = state::state_in(&function);
    Doing::new(state, if state == State::Waiting { String::new() } else { function })
}

/// Returns the state that follows from the text of `/proc/PID/task/TID/syscall`, or `None` if the text does not name
/// the system call.
pub(crate) fn in_syscall(pid: u32, text: &str, peers: &mut Peers) -> Option<Doing> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(Doing::new(State::Running, ""));
    }
    let number: i64 = first.parse().ok()?;
    if number < 0 || state::is_restart_syscall(number) {
        return None;
    }
    let Some(syscall) = state::syscall(number) else {
        return Some(Doing::new(State::Other, format!("system call {number}")));
    };
    let descriptor =
        words.next().and_then(|it| u32::from_str_radix(it.strip_prefix("0x")?, 16).ok());
    let object = match (syscall.state, descriptor) {
        (State::Read | State::Write, Some(number)) => object(pid, number, peers),
        _ => None,
    };
    Some(match object {
        None => Doing::new(syscall.state, syscall.name),
        Some(Object::Peer(peer)) => Doing {
            peer: Some(peer.clone()),
            ..Doing::new(syscall.state, format!("{} {peer}", syscall.name))
        },
        Some(Object::Kind(kind)) => Doing::new(syscall.state, format!("{} {kind}", syscall.name)),
    })
}

/// The object that a thread reads from or writes to.
enum Object {
    /// A connection with this peer.
    Peer(String),
    /// A descriptor of this kind.
    Kind(&'static str),
}

/// Returns the peer of a descriptor, or the kind of the descriptor.
fn object(pid: u32, descriptor: u32, peers: &mut Peers) -> Option<Object> {
    let path = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    let path = path.to_string_lossy();
    let kind = match &*path {
        path if path.starts_with("socket:") => {
            let inode = path.trim_start_matches("socket:[").trim_end_matches(']').parse().ok();
            let peer = inode.and_then(|it| peers.of(it));
            return Some(peer.map_or(Object::Kind("socket"), Object::Peer));
        }
        path if path.starts_with("pipe:") => "pipe",
        path if path.starts_with("/dev/pts/") || path.starts_with("/dev/tty") => "terminal",
        path if path.starts_with('/') => "file",
        path if path.contains("eventfd") => "eventfd",
        path if path.contains("inotify") => "inotify",
        _ => return None,
    };
    Some(Object::Kind(kind))
}

/// The peers of connections.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// The peers by the inode of the socket: `None` for a socket that is not a connection.
    known: HashMap<u64, Option<SocketAddr>>,
    listed_at: Option<Instant>,
}

impl Peers {
    /// Returns the peer of a socket as text: only the port if the peer is on this machine.
    fn of(&mut self, inode: u64) -> Option<String> {
        /// Each list contains all connections of the machine.
        const LIST_INTERVAL: Duration = Duration::from_millis(200);
        const MAX_KNOWN: usize = 10_000;
        if !self.known.contains_key(&inode)
            && self.listed_at.is_none_or(|it| it.elapsed() >= LIST_INTERVAL)
        {
            // A socket that is not a connection, for example a Unix socket, never becomes one.
            self.known.retain(|_, peer| peer.is_none());
            if self.known.len() > MAX_KNOWN {
                self.known.clear();
            }
            self.known.extend(sockdiag::peers().into_iter().map(|(it, peer)| (it, Some(peer))));
            self.known.entry(inode).or_default();
            self.listed_at = Some(Instant::now());
        }
        let peer = self.known.get(&inode).copied().flatten()?;
        Some(if peer.ip().to_canonical().is_loopback() {
            format!(":{}", peer.port())
        } else {
            peer.to_string()
        })
    }
}

/// Returns how long and how often a thread has run, or `None` if the kernel does not count this.
pub(crate) fn run_time(folder: &str) -> Option<RunTime> {
    let text = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let time = numbers.next()?.ok()?;
    let timeslices = numbers.nth(1)?.ok()?;
    // Every thread has run once. A kernel that does not count shows zeros.
    (timeslices > 0).then_some(RunTime { time, timeslices })
}

/// Returns the fields of a thread's `stat` file, or `None` if the thread has ended.
pub(crate) fn stat(folder: &str) -> Option<Stat> {
    let text = fs::read(format!("{folder}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name is in parentheses, and may itself contain parentheses.
    let (head, fields) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { name: printable(name), state, started })
}

/// Returns a thread's name without control characters.
fn printable(name: &str) -> String {
    let printable = |ch: char| if ch.is_control() { '?' } else { ch };
    let name: String = name.trim().chars().map(printable).collect();
    if name.is_empty() { "?".to_owned() } else { name }
}
