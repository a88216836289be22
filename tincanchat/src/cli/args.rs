use std::fmt;
use std::path::PathBuf;

use clap_verbosity_flag::{InfoLevel, Verbosity};
use tracing::warn;

use super::log::{start_log_to, start_log_without};
use super::{Log, memory};
use crate::{DEFAULT_PORT, MAX_CLIENTS, MAX_CLIENTS_THREADS, MAX_THREADS, printable, trace};

// Documented where it is re-exported: clap would take a comment here for the description of every
// program that flattens it.
#[allow(missing_docs)]
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// Interface to listen on: an IPv4 or IPv6 address or a host name; 0.0.0.0 or :: for all
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// Port to listen on; 0 lets the system pick one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub port: u16,

    /// Most clients at any one time [default: what the design and the system allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients: Option<u32>,

    /// Write a timeline of what each thread or task does to FILE, for ui.perfetto.dev; it grows with
    /// the traffic, to 1 GiB at most, and replaces an earlier one
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    #[command(flatten)]
    verbosity: Verbosity<InfoLevel>,
}

/// The descriptors kept back for what is not a client.
const DESCRIPTORS_KEPT: usize = 64;

impl ServerArgs {
    /// Starts the log on stderr, at the level that `-v`, `-q` or `RUST_LOG` ask for; and the trace, if
    /// `--trace` asks for one: the [spans](crate::span()) of all threads and tasks, in a file that can
    /// be read at any time, also when the process has been killed.
    ///
    /// Keep the result until the program ends.
    ///
    /// # Errors
    ///
    /// Those of creating the trace's file; that another server is writing it; that there is something
    /// in it that is no trace. Later ones stop or stall nobody; the log tells them.
    ///
    /// ```
    /// use clap::Parser;
    /// use tincanchat::cli::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["echo", "-v"]); // up to debug
    /// let _log = args.server.start_log()?; // not `_`, which would end it here
    /// tracing::debug!("a line on stderr");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn start_log(&self) -> anyhow::Result<Log> {
        self.start_log_without(&[])
    }

    /// The same, but up to `info` without the lines of some libraries, named as crates: for a server
    /// that tells of the matter itself, once, where a library tells of each try. `-v` shows them.
    ///
    /// # Errors
    ///
    /// Those of [`start_log`](Self::start_log).
    ///
    /// ```
    /// use clap::Parser;
    /// use tincanchat::cli::ServerArgs;
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

    /// Starts the log with each of its lines going to `write`, and no thread: for a server that forks,
    /// which must have only one. `write` must not block.
    ///
    /// There is no trace then, since that needs a thread; `--trace` is for the server to refuse.
    ///
    /// ```
    /// use clap::Parser;
    /// use tincanchat::cli::ServerArgs;
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

    /// How many clients a server may have that starts so many threads for each; with a warning in
    /// the log when it is fewer than asked for.
    ///
    /// It is `--max-clients`, or else [`MAX_CLIENTS`] for a server without such threads and
    /// [`MAX_CLIENTS_THREADS`] for one with them. Threads have a ceiling, [`MAX_THREADS`], for
    /// either. Each client is a descriptor, so the limit of those (`RLIMIT_NOFILE` in getrlimit(2))
    /// is first raised as far as the system allows. If it is still too low, the default is lowered
    /// to it; a number that was asked for, or a limit with no room to keep some back, is left
    /// alone, and accept waits when the descriptors run out. Where the address space of the process
    /// is limited (`RLIMIT_AS`), the threads' stacks must fit into it, even if `--max-clients` asks for more.
    ///
    /// ```
    /// use clap::Parser;
    /// use tincanchat::cli::ServerArgs;
    ///
    /// #[derive(Parser)]
    /// struct Args {
    ///     #[command(flatten)]
    ///     server: ServerArgs,
    /// }
    ///
    /// let args = Args::parse_from(["chat", "--max-clients", "9000"]);
    /// assert_eq!(args.server.client_limit(0), 9000);
    /// assert_eq!(args.server.client_limit(2), 7500); // 15,000 threads
    /// ```
    #[must_use]
    pub fn client_limit(&self, threads_each: usize) -> usize {
        let default = if threads_each == 0 { MAX_CLIENTS } else { MAX_CLIENTS_THREADS };
        let limit = self.limit_by_descriptors(default);
        let ceiling = MAX_THREADS.checked_div(threads_each).unwrap_or(usize::MAX);
        if limit > ceiling {
            warn!("at most {ceiling} clients, not {limit}: each takes {threads_each} threads");
        }
        memory::limit_by_address_space(limit.min(ceiling), threads_each)
    }

    /// Returns how many clients a server may have that keeps `stacks_each` stacks of
    /// [`STACK_SIZE`](crate::STACK_SIZE) for each, and no threads; with a warning in the log when it is
    /// fewer than asked for.
    ///
    /// See [`client_limit`](Self::client_limit).
    ///
    /// ```
    /// use clap::Parser;
    /// use tincanchat::cli::ServerArgs;
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

    fn limit_by_descriptors(&self, default: usize) -> usize {
        let descriptors = rlimit::increase_nofile_limit(u64::MAX)
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let room = descriptors.saturating_sub(DESCRIPTORS_KEPT);
        match self.max_clients.map(|n| usize::try_from(n).unwrap_or(usize::MAX)) {
            None if default > room && room >= DESCRIPTORS_KEPT => {
                warn!("at most {room} clients, not {default}: {descriptors} descriptors allowed");
                room
            }
            asked => {
                let limit = asked.unwrap_or(default);
                if limit > room {
                    warn!("{descriptors} descriptors allowed: too few for {limit} clients");
                }
                limit
            }
        }
    }
}

#[allow(missing_docs)] // as above
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// Server to connect to: an IPv4 or IPv6 address or a host name
    #[arg(default_value = "127.0.0.1")]
    pub host: String,

    /// Port to connect to
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub port: u16,
}

/// Why a program could not do its job: `main` returns it, and it becomes one line on stderr and
/// exit code 1.
///
/// An [`anyhow::Error`] that prints its whole chain of causes in one line, and no backtrace.
///
/// ```
/// use tincanchat::cli::Failure;
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
        // A cause may quote what a peer has sent.
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
    fn a_program_keeps_its_own_description() {
        let about = |about: Option<&clap::builder::StyledStr>| about.map(ToString::to_string);
        let program = Program::command();
        let own = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
        assert_eq!(about(program.get_about()), own);
        assert_eq!(about(program.get_long_about()), None);
    }
}
