//! The command line of `tincan watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Show what each thread of a server does: one lane over time for each thread
///
/// A thread runs, or it waits: for a client (accept), to read, to write, for any of many sockets (poll), for
/// a lock or a queue, for time to pass. The states are read from /proc fifty times a second (Linux). The
/// server can be in any language, needs no change, and cannot tell that it is watched. The processes that it
/// starts are watched too.
///
/// In a terminal, the lanes move, with the newest part on the right, until q, Ctrl-C or the end of the
/// server. In a pipe, they are printed once, at the end. At the end, a server that was started with CMD is
/// ended; a process that was given with --pid continues.
///
/// With --trace, nothing is watched: this draws a file that a server has recorded with its own option
/// --trace, which each stage has. The server may have ended, or have been killed, or still be running.
///
/// The command is started without a shell. `{port}` and `{host}` in it are replaced by a free port and
/// 127.0.0.1, which are also in the variables PORT and HOST. It reads nothing from the terminal.
///
/// Exit code: 0 the watch has ended, 1 the server has failed, or the trace cannot be drawn, 2 wrong use, 3
/// there is nothing to watch.
#[derive(clap::Args)]
#[command(override_usage = "tincan watch [OPTIONS] -- <CMD>...\n       \
    tincan watch [OPTIONS] --pid <PID>\n       \
    tincan watch --trace <FILE> --svg <FILE>")]
#[command(after_help = "Examples:\n  \
    cargo tincan watch -- target/debug/chat-threads --port {port}\n  \
    cargo tincan watch -- python3 my_server.py {port}\n  \
    cargo tincan watch --pid 4711\n  \
    cargo tincan watch --seconds 10 --svg lanes.svg -- target/debug/echo-multi --port 4040\n  \
    cargo tincan watch --trace trace.json --svg timeline.svg")]
pub struct Args {
    /// Watch the process with this number, which is already running and continues at the end
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Draw this trace, which a server has recorded with its option --trace, to the file of --svg
    #[arg(long, value_name = "FILE", requires = "svg")]
    #[arg(conflicts_with_all = ["pid", "seconds", "command"])]
    pub trace: Option<PathBuf>,
    /// Write the lanes, from beginning to end, to a file for a browser; an earlier picture there is replaced,
    /// any other file is left as it is
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// End after this number of seconds
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// The command that starts the server
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    #[arg(required_unless_present_any = ["pid", "trace"])]
    pub command: Vec<OsString>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0);
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.ok_or_else(|| "not a number of seconds above 0, such as 10 or 0.5".to_owned())
}
