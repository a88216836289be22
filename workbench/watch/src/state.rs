//! What a thread can be doing, and how the kernel's words for it are read.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// What a thread does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It runs, or would if a processor were free.
    Running,
    /// It waits for a client to connect.
    Accept,
    /// It waits for something to read.
    Read,
    /// It waits for room for what it writes.
    Write,
    /// It reads or writes, and the system does not tell which.
    ReadOrWrite,
    /// It waits until one of many descriptors is ready.
    Poll,
    /// It waits at a futex: a lock, a condition variable or a channel.
    Lock,
    /// It waits for time to pass.
    Sleep,
    /// It waits for a child process to end.
    Child,
    /// It waits for a signal.
    Signal,
    /// It is in a wait that nothing interrupts, as reading from a disk is.
    Disk,
    /// It waits for something else.
    Other,
    /// It waits, and the system does not tell for what.
    Waiting,
}

/// How a state looks.
struct Look {
    letter: char,
    name: &'static str,
    /// In a terminal.
    ansi: AnsiColor,
    /// In an SVG, with the colour of a letter on it.
    fill: &'static str,
    ink: &'static str,
}

const fn look(
    letter: char,
    name: &'static str,
    ansi: AnsiColor,
    fill: &'static str,
    ink: &'static str,
) -> Look {
    Look { letter, name, ansi, fill, ink }
}

impl State {
    /// All of them, in the order of a legend.
    pub const ALL: [Self; 13] = [
        Self::Running,
        Self::Accept,
        Self::Read,
        Self::Write,
        Self::ReadOrWrite,
        Self::Poll,
        Self::Lock,
        Self::Sleep,
        Self::Child,
        Self::Signal,
        Self::Disk,
        Self::Other,
        Self::Waiting,
    ];

    // The colours of the SVG are those of Okabe and Ito, which the colour-blind can tell apart, and
    // greys.
    const fn look(self) -> Look {
        use AnsiColor as A;
        const DARK: &str = "#111";
        match self {
            Self::Running => look('#', "running", A::Green, "#009e73", "#fff"),
            Self::Accept => look('a', "accept", A::BrightBlue, "#0072b2", "#fff"),
            Self::Read => look('r', "read", A::BrightCyan, "#56b4e9", DARK),
            Self::Write => look('w', "write", A::BrightYellow, "#e69f00", DARK),
            Self::ReadOrWrite => look('b', "read or write", A::Cyan, "#a3c4bc", DARK),
            Self::Poll => look('p', "poll or epoll", A::BrightMagenta, "#cc79a7", DARK),
            Self::Lock => look('l', "lock or queue", A::BrightRed, "#d55e00", "#fff"),
            Self::Sleep => look('s', "sleep", A::White, "#a9adb3", DARK),
            Self::Child => look('c', "child process", A::BrightGreen, "#f0e442", DARK),
            Self::Signal => look('g', "signal", A::Magenta, "#c9b8e8", DARK),
            Self::Disk => look('d', "disk", A::Red, "#b07d4f", DARK),
            Self::Other => look('o', "other", A::BrightBlack, "#6b7178", "#fff"),
            Self::Waiting => look('u', "waiting", A::BrightBlack, "#6b7178", "#fff"),
        }
    }

    /// The letter that stands for it.
    #[must_use]
    pub const fn letter(self) -> char {
        self.look().letter
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.look().name
    }

    /// Its colours in a terminal.
    pub(crate) fn style(self) -> Style {
        let fill = self.look().ansi;
        let ink = match fill {
            AnsiColor::BrightBlack => AnsiColor::BrightWhite,
            _ => AnsiColor::Black,
        };
        ink.on(fill)
    }

    /// Its colour in an SVG.
    pub(crate) const fn fill(self) -> &'static str {
        self.look().fill
    }

    /// The colour of what is written on it there.
    pub(crate) const fn ink(self) -> &'static str {
        self.look().ink
    }

    /// What a legend has to say besides the name.
    pub(crate) const fn note(self) -> Option<&'static str> {
        match self {
            Self::Lock => Some(
                "Lock or queue: a mutex, a condition variable and a channel all wait at a futex, and \
                 the kernel cannot tell these apart.",
            ),
            Self::Disk => {
                Some("Disk: a wait that nothing interrupts, which most often is a disk's.")
            }
            Self::ReadOrWrite => {
                Some("Read or write: of a socket; the system does not tell which of the two.")
            }
            Self::Waiting => Some("Waiting: the system does not tell for what."),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A system call that threads are seen to wait in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub name: &'static str,
    pub state: State,
}

/// Number on `x86_64`, number on the systems that came later (`aarch64`, `riscv64`), name, state; -1
/// for a call that is not there.
const CALLS: &[(i64, i64, &str, State)] = &[
    (43, 202, "accept", State::Accept),
    (288, 242, "accept4", State::Accept),
    (0, 63, "read", State::Read),
    (19, 65, "readv", State::Read),
    (17, 67, "pread64", State::Read),
    (295, 69, "preadv", State::Read),
    (327, 286, "preadv2", State::Read),
    (45, 207, "recvfrom", State::Read),
    (47, 212, "recvmsg", State::Read),
    (299, 243, "recvmmsg", State::Read),
    (1, 64, "write", State::Write),
    (20, 66, "writev", State::Write),
    (18, 68, "pwrite64", State::Write),
    (296, 70, "pwritev", State::Write),
    (328, 287, "pwritev2", State::Write),
    (44, 206, "sendto", State::Write),
    (46, 211, "sendmsg", State::Write),
    (307, 269, "sendmmsg", State::Write),
    (40, 71, "sendfile", State::Write),
    (275, 76, "splice", State::Write),
    (7, -1, "poll", State::Poll),
    (271, 73, "ppoll", State::Poll),
    (23, -1, "select", State::Poll),
    (270, 72, "pselect6", State::Poll),
    (232, -1, "epoll_wait", State::Poll),
    (281, 22, "epoll_pwait", State::Poll),
    (441, 441, "epoll_pwait2", State::Poll),
    (426, 426, "io_uring_enter", State::Poll),
    (208, 4, "io_getevents", State::Poll),
    (202, 98, "futex", State::Lock),
    (449, 449, "futex_waitv", State::Lock),
    (35, 101, "nanosleep", State::Sleep),
    (230, 115, "clock_nanosleep", State::Sleep),
    (61, 260, "wait4", State::Child),
    (247, 95, "waitid", State::Child),
    (34, -1, "pause", State::Signal),
    (130, 133, "rt_sigsuspend", State::Signal),
    (128, 137, "rt_sigtimedwait", State::Signal),
    (42, 203, "connect", State::Other),
    (72, 25, "fcntl", State::Other),
    (73, 32, "flock", State::Other),
    (74, 82, "fsync", State::Other),
    (75, 83, "fdatasync", State::Other),
    (257, 56, "openat", State::Other),
    (3, 57, "close", State::Other),
    (65, 193, "semop", State::Other),
    (220, 192, "semtimedop", State::Other),
    (70, 188, "msgrcv", State::Other),
    (69, 189, "msgsnd", State::Other),
];

/// A wait that was interrupted and goes on: its number does not tell what it was.
const RESTART: (i64, i64) = (219, 128);

/// This machine's number of the two; nothing on one whose numbers are not known here.
fn number(x86_64: i64, later: i64) -> Option<i64> {
    match std::env::consts::ARCH {
        "x86_64" => Some(x86_64),
        "aarch64" | "riscv64" | "loongarch64" => Some(later),
        _ => None,
    }
}

/// Whether the numbers of this machine's system calls are known here.
pub(crate) fn knows_calls() -> bool {
    number(0, 0).is_some()
}

/// The system call of this number.
pub(crate) fn call(asked: i64) -> Option<Call> {
    let found = CALLS.iter().find(|it| number(it.0, it.1) == Some(asked));
    found.map(|&(_, _, name, state)| Call { name, state })
}

/// Whether this number stands for a wait that goes on.
pub(crate) fn is_restarted(asked: i64) -> bool {
    number(RESTART.0, RESTART.1) == Some(asked)
}

/// What a thread waits for, by the function of the kernel in which it does.
const PLACES: &[(&str, State)] = &[
    ("csk_accept", State::Accept),
    // An accept of a Unix socket.
    ("skb_wait_for_more_packets", State::Accept),
    ("wait_woken", State::ReadOrWrite),
    ("sk_wait_data", State::Read),
    ("stream_read", State::Read),
    ("stream_data_wait", State::Read),
    ("pipe_read", State::Read),
    ("eventfd_read", State::Read),
    ("n_tty_read", State::Read),
    ("pipe_write", State::Write),
    ("stream_wait_memory", State::Write),
    ("sock_alloc_send", State::Write),
    ("poll", State::Poll),
    ("select", State::Poll),
    ("cqring_wait", State::Poll),
    ("futex", State::Lock),
    ("nanosleep", State::Sleep),
    ("do_wait", State::Child),
    ("sigtimedwait", State::Signal),
    ("sigsuspend", State::Signal),
];

/// What a thread waits for that waits there, in the kernel.
pub(crate) fn place(function: &str) -> State {
    match function {
        "" | "0" => State::Waiting,
        _ => {
            let found = PLACES.iter().find(|(part, _)| function.contains(part));
            found.map_or(State::Other, |(_, state)| *state)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_letter_of_its_own_in_either_case() {
        let mut letters = State::ALL.map(|state| state.letter().to_ascii_uppercase());
        letters.sort_unstable();
        assert!(letters.windows(2).all(|pair| pair[0] != pair[1]), "{letters:?}");
    }

    #[test]
    fn no_number_stands_for_two_calls() {
        let (x86_64, later): (Vec<_>, Vec<_>) = CALLS.iter().map(|it| (it.0, it.1)).unzip();
        for mut all in [x86_64, later] {
            all.retain(|number| *number >= 0);
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
        }
    }

    #[test]
    fn the_places_of_a_kernel_are_known() {
        for (function, state) in [
            ("inet_csk_accept", State::Accept),
            ("wait_woken", State::ReadOrWrite),
            ("unix_stream_read_generic", State::Read),
            ("anon_pipe_write", State::Write),
            ("do_epoll_wait", State::Poll),
            ("poll_schedule_timeout.constprop.0", State::Poll),
            ("futex_do_wait", State::Lock),
            ("hrtimer_nanosleep", State::Sleep),
            ("do_wait", State::Child),
            ("0", State::Waiting),
            ("some_driver", State::Other),
        ] {
            assert_eq!(place(function), state, "{function}");
        }
    }
}
