use std::fmt;
use std::path::PathBuf;

use clap_verbosity_flag::{InfoLevel, Verbosity};
use tincanchat::{DEFAULT_PORT, MAX_CLIENTS, MAX_CLIENTS_THREADS, MAX_THREADS, printable};
use tracing::warn;

use crate::log::{start_log_to, start_log_without};
use crate::{Log, memory, trace};

// The documentation is in lib.rs: clap would use a doc comment here as the description of every program
// that has these arguments.
#[allow(missing_docs)]
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// Interface to listen on: an IPv4 or IPv6 address or a host name; 0.0.0.0 or :: for all
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// Port to listen on; 0 lets the system pick one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub port: u16,

    /// Maximum number of clients at any one time [default: as many as the server and the system allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: Option<u32>,

    /// Write to FILE a timeline of what each thread or task does, for ui.perfetto.dev; it grows with the
    /// traffic, up to 1 GiB, and replaces an earlier timeline
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    #[command(flatten)]
    verbosity: Verbosity<InfoLevel>,
}

/// How many descriptors are kept free for everything except clients, such as the listener, the log and
/// files.
const DESCRIPTORS_KEPT: usize = 64;

impl ServerArgs {
    /// Starts the log on stderr, at the level set by `-v`, `-q` or `RUST_LOG`, and the trace if `--trace`
    /// is given.
    ///
    /// The trace contains the [spans](crate::trace()) of all threads and tasks. Its file can be opened at
    /// any time, even after the process has been killed. Keep the result until the program ends: dropping
    /// it waits until the last lines and spans have been written, for up to 500 ms each.
    ///
    /// # Errors
    ///
    /// If the file of the trace cannot be created, if another server is writing it, or if it contains
    /// something other than a trace. Errors while the trace is written are logged, and the server goes on.
    ///
    /// ```
    /// use clap::Parser;
    /// use serverkit::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["echo", "-v"]); // logs up to debug
    /// let _log = args.server.start_log()?; // not `_`, which would drop it here
    /// tracing::debug!("a line on stderr");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn start_log(&self) -> anyhow::Result<Log> {
        self.start_log_without(&[])
    }

    /// Starts the log and the trace as [`start_log`](Self::start_log) does, but leaves out the lines of
    /// these libraries, given as the names of their crates, unless `-v` asks for more than `info`.
    ///
    /// This is for a server that itself logs once what the library would log at each attempt.
    ///
    /// # Errors
    ///
    /// The same as those of [`start_log`](Self::start_log).
    ///
    /// ```
    /// use clap::Parser;
    /// use serverkit::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["chat"]);
    /// let _log = args.server.start_log_without(&["async_nats"])?;
    /// tracing::info!(target: "async_nats", "not in the log");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn start_log_without(&self, libraries: &[&str]) -> anyhow::Result<Log> {
        memory::share_one_heap_if_limited();
        let log = start_log_without(&self.verbosity, libraries);
        self.trace.as_deref().map_or(Ok(()), trace::start)?;
        Ok(log)
    }

    /// Starts a log that passes each line to `write`, without starting a thread: for a server that forks,
    /// which must have only one thread. All clients wait while `write` blocks.
    ///
    /// There is no trace, because it would need a thread, so the server has to refuse `--trace`.
    ///
    /// ```
    /// use clap::Parser;
    /// use serverkit::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let (lines, log) = std::sync::mpsc::channel();
    /// let args = Args::parse_from(["echo"]);
    /// let _log = args.server.start_log_to(move |line| _ = lines.send(line.to_vec()));
    /// tracing::info!("a line");
    /// assert!(log.recv()?.ends_with(b"a line\n"));
    /// # Ok::<(), std::sync::mpsc::RecvError>(())
    /// ```
    pub fn start_log_to(&self, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Log {
        start_log_to(&self.verbosity, &[], write)
    }

    /// Returns the most clients that a server without a thread for each client may have: `--max-clients`,
    /// or else [`MAX_CLIENTS`].
    ///
    /// Each client takes a descriptor, so this first raises the limit on descriptors (`RLIMIT_NOFILE` in
    /// getrlimit(2)) as far as the system allows. If there are still too few, the default is lowered to the
    /// number for which they are enough, with a warning. A number from the command line is not lowered:
    /// when the descriptors run out, the server pauses before the next `accept`.
    ///
    /// ```
    /// use clap::Parser;
    /// use serverkit::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["chat", "--max-clients", "9000"]);
    /// assert_eq!(args.server.client_limit(), 9000);
    /// ```
    #[must_use]
    pub fn client_limit(&self) -> usize {
        self.limit_by_descriptors(MAX_CLIENTS)
    }

    /// Returns the most clients that a server with `threads_each` threads for each client may have:
    /// `--max-clients`, or else [`MAX_CLIENTS_THREADS`].
    ///
    /// Descriptors limit the number as in [`client_limit`](Self::client_limit). All clients together have
    /// at most [`MAX_THREADS`] threads. If the address space of the process is limited (`RLIMIT_AS` in
    /// getrlimit(2)), the stacks of the threads must fit into it. A warning says why the number is lowered.
    ///
    /// ```
    /// use clap::Parser;
    /// use serverkit::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["chat", "--max-clients", "9000"]);
    /// assert_eq!(args.server.client_limit_with_threads(2), 7500); // 15,000 threads
    /// ```
    #[must_use]
    pub fn client_limit_with_threads(&self, threads_each: usize) -> usize {
        let limit = self.limit_by_descriptors(MAX_CLIENTS_THREADS);
        let ceiling = MAX_THREADS.checked_div(threads_each).unwrap_or(usize::MAX);
        if limit > ceiling {
            warn!("at most {ceiling} clients, not {limit}: each takes {threads_each} threads");
        }
        memory::limit_by_address_space(limit.min(ceiling), threads_each)
    }

    /// Returns the most clients that a server with `stacks_each` stacks of
    /// [`STACK_SIZE`](tincanchat::STACK_SIZE) for each client, but no threads, may have: `--max-clients`,
    /// or else [`MAX_CLIENTS`].
    ///
    /// Descriptors limit the number as in [`client_limit`](Self::client_limit), and the address space
    /// limits it as in [`client_limit_with_threads`](Self::client_limit_with_threads).
    ///
    /// ```
    /// use clap::Parser;
    /// use serverkit::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["chat", "--max-clients", "9000"]);
    /// assert_eq!(args.server.client_limit_with_stacks(2), 9000);
    /// ```
    #[must_use]
    pub fn client_limit_with_stacks(&self, stacks_each: usize) -> usize {
        memory::limit_by_address_space(self.limit_by_descriptors(MAX_CLIENTS), stacks_each)
    }

    /// Raises the limit on descriptors, and returns `--max-clients`, or else `default`, lowered to the
    /// number for which the descriptors are enough.
    fn limit_by_descriptors(&self, default: usize) -> usize {
        let descriptors = match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
            Err(_) => usize::MAX, // this system has no such limit, or does not report it
        };
        let room = descriptors.saturating_sub(DESCRIPTORS_KEPT);
        let limit = match self.max_clients {
            Some(max_clients) => usize::try_from(max_clients).unwrap_or(usize::MAX),
            None if room >= default => default,
            // With hardly any descriptors, the server accepts clients until no descriptors are left.
            None if room < DESCRIPTORS_KEPT => default,
            None => {
                warn!("at most {room} clients, not {default}: at most {descriptors} descriptors");
                return room;
            }
        };
        if limit > room {
            warn!("at most {descriptors} descriptors: too few for {limit} clients");
        }
        limit
    }
}

#[allow(missing_docs)] // the documentation is in lib.rs, as above
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// Server to connect to: an IPv4 or IPv6 address or a host name
    #[arg(default_value = "127.0.0.1")]
    pub host: String,

    /// Port to connect to
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub port: u16,
}

/// The error that `main` returns: it becomes one line on stderr, and exit code 1.
///
/// Any error converts into it. The line has the whole chain of causes, and no backtrace.
///
/// ```
/// use serverkit::Failure;
///
/// let err = anyhow::anyhow!("no such host").context("cannot connect");
/// assert_eq!(format!("{:?}", Failure::from(err)), "cannot connect: no such host");
/// ```
pub struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(err: E) -> Self {
        Failure(err.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A cause may quote text from a peer, which may contain control characters.
        f.write_str(&printable(&format!("{:#}", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    #[command(about)]
    struct Program {
        #[command(flatten)]
        _server: ServerArgs,
    }

    #[test]
    fn the_arguments_do_not_change_the_description_of_a_program() {
        let about = |about: Option<&clap::builder::StyledStr>| about.map(ToString::to_string);
        let program = Program::command();
        let own = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
        assert_eq!(about(program.get_about()), own);
        assert_eq!(about(program.get_long_about()), None);
    }
}
