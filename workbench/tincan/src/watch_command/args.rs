//! The command line of `tincan watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// See what each thread of a server does: a lane of time for each
///
/// A thread runs, or waits: for a client (accept), to read, to write, for any of many (poll), for a
/// lock or a queue, for time to pass. That is read from /proc fifty times a second (Linux), whatever
/// language the server is in; the server needs no change, and does not notice that it is watched. The
/// processes that it starts are watched, too.
///
/// In a terminal the lanes move, the newest on the right, until q, Ctrl-C or the end of the server.
/// Into a pipe they are printed once, at the end. A server that was started here is ended then; one
/// that was watched by its number is left alone.
///
/// With --trace it watches nothing, but draws what a server has recorded itself: the file that the server
/// has written with its own option --trace, which each stage has. The server may have ended, or have been
/// killed, or still be running.
///
/// The command is started as it is, without a shell. `{port}` and `{host}` in it are replaced by a
/// free port and 127.0.0.1; the variables PORT and HOST say the same. It reads nothing from the
/// terminal.
///
/// Exit code: 0 the watch is over, 1 the server has failed by itself, or the trace cannot be drawn, 2
/// wrong use, 3 there is nothing to watch.
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
    /// Watch the process of this number, which runs already, and leave it alone
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Draw this trace, which a server has written with its option --trace, into the file of --svg
    #[arg(long, value_name = "FILE", requires = "svg")]
    #[arg(conflicts_with_all = ["pid", "seconds", "command"])]
    pub trace: Option<PathBuf>,
    /// Write the lanes, from beginning to end, into a file for a browser; an earlier drawing there is
    /// replaced, any other file is left as it is
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// The command that starts the server
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    #[arg(required_unless_present_any = ["pid", "trace"])]
    pub command: Vec<OsString>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|it| *it > 0.0);
    let time = number.and_then(|it| Duration::try_from_secs_f64(it).ok());
    time.ok_or_else(|| "a number of seconds above 0 is wanted, such as 10 or 0.5".to_owned())
}
