//! Defines the states of a thread, and finds the state that belongs to a system call or to a kernel function.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// The state of a thread at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The thread runs, or would run if a processor were free.
    Running,
    /// The thread waits for a client to connect.
    Accept,
    /// The thread waits for bytes to read.
    Read,
    /// The thread waits for space for the bytes that it writes.
    Write,
    /// The thread reads or writes; the system does not show which of the two.
    ReadOrWrite,
    /// The thread waits until one of many descriptors is ready.
    Poll,
    /// The thread waits at a futex: a lock, a condition variable or a channel.
    Lock,
    /// The thread waits for time to pass.
    Sleep,
    /// The thread waits for a child process to end.
    Child,
    /// The thread waits for a signal.
    Signal,
    /// The thread is in an uninterruptible wait, for example for a disk.
    Disk,
    /// The thread waits for something else.
    Other,
    /// The thread waits; the system does not show the reason.
    Waiting,
}

/// The letter, the name and the colours of a state.
struct Appearance {
    letter: char,
    name: &'static str,
    /// The background in a terminal.
    ansi: AnsiColor,
    /// The background in an SVG file.
    fill: &'static str,
    /// The colour of a letter on `fill`.
    letter_colour: &'static str,
}

const fn appearance(
    letter: char,
    name: &'static str,
    ansi: AnsiColor,
    fill: &'static str,
    letter_colour: &'static str,
) -> Appearance {
    Appearance { letter, name, ansi, fill, letter_colour }
}

impl State {
    /// All states, in the order of a legend.
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

    // The colours of the SVG file are those of Okabe and Ito, which people with colour blindness can tell
    // apart, and greys.
    const fn appearance(self) -> Appearance {
        use AnsiColor as A;
        const DARK: &str = "#111";
        match self {
            Self::Running => appearance('#', "running", A::Green, "#009e73", "#fff"),
            Self::Accept => appearance('a', "accept", A::BrightBlue, "#0072b2", "#fff"),
            Self::Read => appearance('r', "read", A::BrightCyan, "#56b4e9", DARK),
            Self::Write => appearance('w', "write", A::BrightYellow, "#e69f00", DARK),
            Self::ReadOrWrite => appearance('b', "read or write", A::Cyan, "#a3c4bc", DARK),
            Self::Poll => appearance('p', "poll or epoll", A::BrightMagenta, "#cc79a7", DARK),
            Self::Lock => appearance('l', "lock or queue", A::BrightRed, "#d55e00", "#fff"),
            Self::Sleep => appearance('s', "sleep", A::White, "#a9adb3", DARK),
            Self::Child => appearance('c', "child process", A::BrightGreen, "#f0e442", DARK),
            Self::Signal => appearance('g', "signal", A::Magenta, "#c9b8e8", DARK),
            Self::Disk => appearance('d', "disk", A::Red, "#b07d4f", DARK),
            Self::Other => appearance('o', "other", A::BrightBlack, "#6b7178", "#fff"),
            Self::Waiting => appearance('u', "waiting", A::BrightBlack, "#6b7178", "#fff"),
        }
    }

    /// Returns the letter that stands for this state.
    #[must_use]
    pub const fn letter(self) -> char {
        self.appearance().letter
    }

    /// Returns the name of this state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.appearance().name
    }

    /// Returns the colours of this state in a terminal.
    pub(crate) fn style(self) -> Style {
        let fill = self.appearance().ansi;
        let letter = match fill {
            AnsiColor::BrightBlack => AnsiColor::BrightWhite,
            _ => AnsiColor::Black,
        };
        letter.on(fill)
    }

    /// Returns the colour of this state in an SVG file.
    pub(crate) const fn fill(self) -> &'static str {
        self.appearance().fill
    }

    /// Returns the colour of a letter on [`Self::fill`].
    pub(crate) const fn letter_colour(self) -> &'static str {
        self.appearance().letter_colour
    }

    /// Returns the sentence that a legend needs in addition to the name, if it needs one.
    pub(crate) const fn note(self) -> Option<&'static str> {
        match self {
            Self::Lock => Some(
                "Lock or queue: a mutex, a condition variable and a channel all wait at a futex, and \
                 the kernel does not show which of them it is.",
            ),
            Self::Disk => Some("Disk: a wait that nothing can interrupt, usually for a disk."),
            Self::ReadOrWrite => {
                Some("Read or write: at a socket; the system does not show which of the two.")
            }
            Self::Waiting => Some("Waiting: the system does not show the reason."),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A system call in which threads wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syscall {
    pub name: &'static str,
    pub state: State,
}

/// The number on `x86_64`, the number on newer architectures (`aarch64`, `riscv64`, `loongarch64`), the name
/// and the state. The number is -1 on an architecture that does not have the system call.
const SYSCALLS: &[(i64, i64, &str, State)] = &[
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

/// The numbers of `restart_syscall`, which continues an interrupted system call and does not show which one.
const RESTART: (i64, i64) = (219, 128);

/// Returns the number for this machine's architecture, or `None` if the architecture is not known here.
fn number(x86_64: i64, newer: i64) -> Option<i64> {
    match std::env::consts::ARCH {
        "x86_64" => Some(x86_64),
        "aarch64" | "riscv64" | "loongarch64" => Some(newer),
        _ => None,
    }
}

/// Reports whether the numbers of this machine's system calls are known here.
pub(crate) fn knows_syscalls() -> bool {
    number(0, 0).is_some()
}

/// Returns the system call with this number.
pub(crate) fn syscall(asked: i64) -> Option<Syscall> {
    let found = SYSCALLS.iter().find(|it| number(it.0, it.1) == Some(asked));
    found.map(|&(_, _, name, state)| Syscall { name, state })
}

/// Reports whether this is the number of `restart_syscall`.
pub(crate) fn is_restart_syscall(asked: i64) -> bool {
    number(RESTART.0, RESTART.1) == Some(asked)
}

/// Parts of the names of kernel functions, and the state of a thread that waits in such a function.
const KERNEL_FUNCTIONS: &[(&str, State)] = &[
    ("csk_accept", State::Accept),
    // An accept on a Unix socket.
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

/// Returns the state of a thread that waits in this function of the kernel.
pub(crate) fn state_in(function: &str) -> State {
    match function {
        "" | "0" => State::Waiting,
        _ => {
            let found = KERNEL_FUNCTIONS.iter().find(|(part, _)| function.contains(part));
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
    fn no_number_stands_for_two_system_calls() {
        let (x86_64, newer): (Vec<_>, Vec<_>) = SYSCALLS.iter().map(|it| (it.0, it.1)).unzip();
        for mut all in [x86_64, newer] {
            all.retain(|number| *number >= 0);
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
        }
    }

    #[test]
    fn the_functions_of_a_kernel_are_known() {
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
            assert_eq!(state_in(function), state, "{function}");
        }
    }
}
