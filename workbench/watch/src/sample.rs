//! Looks at what threads do, in `/proc`, without touching them.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::lanes::{Cell, Lanes};
use crate::state::{self, State};
use probe::procfs::{self, Whom};
use probe::sockdiag;

/// How often threads are looked at, as long as that takes little time.
pub const EVERY: Duration = Duration::from_millis(20);

/// How often new processes are looked for: that means to read about all that the machine has.
const PROCESSES_EVERY: Duration = Duration::from_millis(100);

/// With more threads than this, those that have not run since the last look are taken to be where
/// they were.
const FEW: usize = 200;

/// How many looks decide how often to look.
const LOOKS: usize = 4;

/// How much the system lets us see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// In which system call a thread waits.
    Calls,
    /// In which function of the kernel.
    Places,
    /// Only whether it runs.
    Running,
}

/// Whether this system tells what threads do.
#[must_use]
pub fn is_possible() -> bool {
    cfg!(target_os = "linux")
}

/// Looks at the threads of a server again and again.
#[derive(Debug)]
pub struct Sampler {
    whom: Whom,
    begin: Instant,
    processes: Vec<u32>,
    processes_at: Option<Instant>,
    threads: HashMap<u32, Thread>,
    rounds: u64,
    sight: Sight,
    peers: Peers,
    cpu: Option<Duration>,
    /// How long the last looks took.
    took: [Duration; LOOKS],
}

/// What is known of a thread since the last look.
#[derive(Debug)]
struct Thread {
    lane: u64,
    round: u64,
    born: u64,
    ran: Option<Ran>,
    state: Option<State>,
}

/// How long a thread has run so far, in nanoseconds, and how often it began to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ran {
    time: u64,
    times: u64,
}

/// What a thread is seen to do; no state if it was stopped, or is gone.
#[derive(Debug, Default)]
struct Doing {
    state: Option<State>,
    /// The system call, and what that is about.
    detail: String,
    /// Who is at the other end of the connection that it reads from or writes to.
    peer: Option<String>,
}

impl Doing {
    fn new(state: State, detail: impl Into<String>) -> Self {
        Self { state: Some(state), detail: detail.into(), peer: None }
    }
}

/// What `/proc/PID/task/TID/stat` tells.
struct Stat {
    name: String,
    state: char,
    born: u64,
}

impl Sampler {
    /// A sampler that has not looked yet.
    #[must_use]
    pub fn new(whom: Whom) -> Self {
        Self {
            whom,
            begin: Instant::now(),
            processes: Vec::new(),
            processes_at: None,
            threads: HashMap::new(),
            rounds: 0,
            sight: Sight::Calls,
            peers: Peers::default(),
            cpu: None,
            took: [Duration::ZERO; LOOKS],
        }
    }

    /// Looks once at each thread, and notes what it does.
    pub fn look(&mut self, lanes: &mut Lanes) {
        let begin = Instant::now();
        let at = begin - self.begin;
        self.rounds += 1;
        if self.processes_at.is_none_or(|it| begin - it >= PROCESSES_EVERY) {
            self.processes = procfs::family(self.whom);
            self.processes_at = Some(begin);
        }
        for pid in self.processes.clone() {
            for tid in procfs::threads(pid) {
                self.look_at(pid, tid, at, lanes);
            }
        }
        let round = self.rounds;
        self.threads.retain(|_, thread| {
            if thread.round != round {
                lanes.end(thread.lane);
            }
            thread.round == round
        });
        lanes.looked(at);
        self.took.rotate_left(1);
        self.took[LOOKS - 1] = begin.elapsed();
    }

    fn look_at(&mut self, pid: u32, tid: u32, at: Duration, lanes: &mut Lanes) {
        let folder = format!("/proc/{pid}/task/{tid}");
        // First, so that what is read then is not older.
        let ran = ran(&folder);
        let many = self.threads.len() > FEW;
        if let Some(thread) = self.threads.get_mut(&tid)
            && (many && ran.is_some() && thread.ran == ran)
            && let Some(state) = thread.state
            && state != State::Running
        {
            thread.round = self.rounds;
            lanes.add(thread.lane, at, Cell { state, ran: false });
            return;
        }
        let Some(stat) = stat(&folder) else { return };
        let Doing { state, detail, peer } = self.what_it_does(pid, &folder, stat.state);
        // One that has ended, and that nobody has waited for yet.
        if matches!(stat.state, 'Z' | 'X') {
            return;
        }
        let is_first = self.rounds == 1;
        let before = self.threads.remove(&tid).filter(|thread| thread.born == stat.born);
        let so_far = match &before {
            Some(thread) => thread.ran,
            None if is_first => ran,
            None => Some(Ran { time: 0, times: 0 }),
        };
        if let (Some(so_far), Some(ran)) = (so_far, ran) {
            let more = Duration::from_nanos(ran.time.saturating_sub(so_far.time));
            *self.cpu.get_or_insert_default() += more;
        }
        let has_run = before.is_some() && so_far.map(|it| it.times) != ran.map(|it| it.times);
        let lane = before.map_or_else(|| lanes.begin(tid), |thread| thread.lane);
        if let Some(state) = state {
            lanes.add(lane, at, Cell { state, ran: has_run && state != State::Running });
        }
        lanes.describe(lane, &stat.name, detail);
        if let Some(peer) = peer {
            lanes.connect(lane, peer);
        }
        let thread = Thread { lane, round: self.rounds, born: stat.born, ran, state };
        self.threads.insert(tid, thread);
    }

    /// What a thread does.
    fn what_it_does(&mut self, pid: u32, folder: &str, letter: char) -> Doing {
        match letter {
            'R' => return Doing::new(State::Running, ""),
            'T' | 't' => return Doing { detail: "stopped".to_owned(), ..Doing::default() },
            _ => {}
        }
        let doing = match fs::read_to_string(format!("{folder}/syscall")) {
            Ok(text) if state::knows_calls() => match in_call(pid, &text, &mut self.peers) {
                Some(found) => found,
                None => place(folder),
            },
            // It has just ended.
            Err(_) if !Path::new(folder).exists() => return Doing::default(),
            Ok(_) | Err(_) => {
                let doing = place(folder);
                let is_told = doing.state != Some(State::Waiting);
                let sight = if is_told { Sight::Places } else { Sight::Running };
                self.sight = self.sight.max(sight);
                doing
            }
        };
        if letter == 'D' { Doing { state: Some(State::Disk), ..doing } } else { doing }
    }

    /// How much could be seen so far.
    #[must_use]
    pub fn sight(&self) -> Sight {
        self.sight
    }

    /// How much processor time was used since the first look, where the system tells.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu
    }

    /// The processes that are looked at.
    #[must_use]
    pub fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// How long to wait from the beginning of one look to the next: looking takes no more than a
    /// quarter of one processor.
    #[must_use]
    pub fn pace(&self) -> Duration {
        // One that took long because others had the processor says nothing.
        EVERY.max(self.took.into_iter().min().unwrap_or_default() * 4)
    }

    /// How long since this began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// Where a thread waits in the kernel, if the system tells.
fn place(folder: &str) -> Doing {
    let function = fs::read_to_string(format!("{folder}/wchan")).unwrap_or_default();
    let state = state::place(&function);
    Doing::new(state, if state == State::Waiting { String::new() } else { function })
}

/// What a thread does by what `/proc/PID/task/TID/syscall` says; nothing where that does not tell.
fn in_call(pid: u32, text: &str, peers: &mut Peers) -> Option<Doing> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(Doing::new(State::Running, ""));
    }
    let number: i64 = first.parse().ok()?;
    if number < 0 || state::is_restarted(number) {
        return None;
    }
    let Some(call) = state::call(number) else {
        return Some(Doing::new(State::Other, format!("system call {number}")));
    };
    let descriptor =
        words.next().and_then(|it| u32::from_str_radix(it.strip_prefix("0x")?, 16).ok());
    let about = match (call.state, descriptor) {
        (State::Read | State::Write, Some(number)) => kind(pid, number, peers),
        _ => None,
    };
    Some(match about {
        None => Doing::new(call.state, call.name),
        Some(End::Peer(peer)) => Doing {
            peer: Some(peer.clone()),
            ..Doing::new(call.state, format!("{} {peer}", call.name))
        },
        Some(End::Kind(kind)) => Doing::new(call.state, format!("{} {kind}", call.name)),
    })
}

/// What a thread reads from or writes to.
enum End {
    /// A connection with this one.
    Peer(String),
    /// A descriptor of this kind.
    Kind(&'static str),
}

/// What a descriptor is, or who is at the other end.
fn kind(pid: u32, descriptor: u32, peers: &mut Peers) -> Option<End> {
    let path = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    let path = path.to_string_lossy();
    let kind = match &*path {
        path if path.starts_with("socket:") => {
            let inode = path.trim_start_matches("socket:[").trim_end_matches(']').parse().ok();
            let peer = inode.and_then(|it| peers.of(it));
            return Some(peer.map_or(End::Kind("socket"), End::Peer));
        }
        path if path.starts_with("pipe:") => "pipe",
        path if path.starts_with("/dev/pts/") || path.starts_with("/dev/tty") => "terminal",
        path if path.starts_with('/') => "file",
        path if path.contains("eventfd") => "eventfd",
        path if path.contains("inotify") => "inotify",
        _ => return None,
    };
    Some(End::Kind(kind))
}

/// Who is at the other end of which connection.
#[derive(Debug, Default)]
struct Peers {
    /// By the socket's number; nothing for one that is no connection.
    known: HashMap<u64, Option<SocketAddr>>,
    asked_at: Option<Instant>,
}

impl Peers {
    /// How the other end of a socket is written: that of this machine by its port alone.
    fn of(&mut self, inode: u64) -> Option<String> {
        /// The kernel lists all connections of the machine.
        const ASKED_EVERY: Duration = Duration::from_millis(200);
        const MANY: usize = 10_000;
        if !self.known.contains_key(&inode)
            && self.asked_at.is_none_or(|it| it.elapsed() >= ASKED_EVERY)
        {
            // What is no connection, a Unix socket say, never becomes one.
            self.known.retain(|_, peer| peer.is_none());
            if self.known.len() > MANY {
                self.known.clear();
            }
            self.known.extend(sockdiag::peers().into_iter().map(|(it, peer)| (it, Some(peer))));
            self.known.entry(inode).or_default();
            self.asked_at = Some(Instant::now());
        }
        let peer = self.known.get(&inode).copied().flatten()?;
        Some(if peer.ip().to_canonical().is_loopback() {
            format!(":{}", peer.port())
        } else {
            peer.to_string()
        })
    }
}

fn ran(folder: &str) -> Option<Ran> {
    let text = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let time = numbers.next()?.ok()?;
    let times = numbers.nth(1)?.ok()?;
    // Every thread has run once; where the kernel does not count, there are zeros.
    (times > 0).then_some(Ran { time, times })
}

fn stat(folder: &str) -> Option<Stat> {
    let text = fs::read(format!("{folder}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name is in parentheses, and may have such in it.
    let (head, fields) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let born = fields.nth(18)?.parse().ok()?;
    Some(Stat { name: shown(name), state, born })
}

/// A thread's name as it may be printed.
fn shown(name: &str) -> String {
    let shown = |ch: char| if ch.is_control() { '?' } else { ch };
    let name: String = name.trim().chars().map(shown).collect();
    if name.is_empty() { "?".to_owned() } else { name }
}
