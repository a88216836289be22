//! `tincan lab`: its options, its progress display, and the folder of its results.
//!
//! | file | subject |
//! |---|---|
//! | `load_options.rs` | the options that change the load |
//! | `chosen.rs` | the servers and experiments that were asked for |
//! | `release.rs` | becomes a release build, if this is a debug build |
//! | `progress.rs` | shows the progress |
//! | `folder.rs` | the folder of the results |
//! | `running.rs` | measures a server that runs already (`--addr`) |

mod chosen;
mod folder;
mod load_options;
mod progress;
mod release;
mod running;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Result, ensure};
use lab::{
    Cores, EXPERIMENTS, Experiment, LabRun, ListedServer, Machine, OtherPrograms, Results,
    answers_table, system_load, table, utc,
};
use probe::{Failure, server};

use crate::check_command;
use crate::command_line::{called_as, quoted};
use crate::output::{is_broken_pipe, print};
use crate::signals;
use chosen::UserServer;
use folder::Folder;
use load_options::LoadOptions;
use progress::Progress;
use running::ProtocolName;

/// Measure the stages, your own server and others, side by side
///
/// Builds the servers (release), starts each of them again and again, puts load on it, and shows which
/// design is the best for which need: in one table here, and on a page for a browser. The first time,
/// building takes a minute or two. Ctrl-C ends the measurements and keeps the results so far.
///
/// With --addr, puts load on a server that runs already, and prints all figures.
///
/// Exit code: 0 nothing was wrong, 1 a copy of a message was lost, came twice or out of order, a run
/// failed, or something else was wrong with a server, 2 a usage error, 3 something could not be started
/// (with --addr, also if the run failed), 130 ended by Ctrl-C.
#[derive(clap::Args)]
#[command(after_help = after_help())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag on the command line")]
pub struct Args {
    /// The experiments; without any, all
    #[arg(value_name = "EXPERIMENT", value_parser = chosen::experiment)]
    experiments: Vec<&'static Experiment>,
    /// List the experiments with their questions, and run none
    #[arg(long)]
    list: bool,
    /// Measure a server of your own, too: a name for it, and the command that starts it
    ///
    /// `{port}` and `{host}` in the command are replaced, and the variables PORT and HOST have the same
    /// values. The laboratory finds out whether it is an echo server or a chat server. Can be given
    /// several times.
    #[arg(long, value_name = "NAME=CMD", value_parser = chosen::user_server)]
    mine: Vec<UserServer>,
    /// Measure only these servers, separated by commas, and the servers that --mine names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure the variations, too: it takes about twice as long, and building them some minutes
    #[arg(long, conflicts_with = "only")]
    variations: bool,
    /// Leave out the servers that are measured for comparison: C programs, ncat, Redis, NATS
    #[arg(long)]
    no_peers: bool,
    /// Fewer clients and shorter runs
    #[arg(long)]
    quick: bool,
    /// Runs of each server in each case, of which the median is shown; fewer than 3 need --quick
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// Give the server one core, however many there are: designs are compared on one core
    #[arg(long)]
    pin: bool,
    /// The folder for the results, which replace earlier results; without it, a new folder each time
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Measure a server that runs already at this address: prints all figures, writes no files
    #[arg(long, value_name = "HOST:PORT", value_parser = check_command::address)]
    #[arg(conflicts_with_all = ["mine", "only", "variations", "no_peers", "runs", "pin", "out"])]
    addr: Option<SocketAddr>,
    /// The process of that server, to measure its memory and its processor time (Linux)
    #[arg(long, value_name = "PID", requires = "addr")]
    pid: Option<u32>,
    /// The protocol of that server; without it, the laboratory sends two messages to find out
    #[arg(long, value_enum, value_name = "PROTOCOL", requires = "addr")]
    protocol: Option<ProtocolName>,
    /// Print one JSON object for each case
    #[arg(long, requires = "addr")]
    json: bool,
    #[command(flatten)]
    load: LoadOptions,
    /// Measure with this build, and with servers built like it (for tests)
    #[arg(long, hide = true)]
    as_built: bool,
    /// The servers have just been built
    #[arg(long, hide = true)]
    built: bool,
    /// The load before anything was built
    #[arg(long, hide = true, value_name = "LOAD")]
    load_before: Option<f64>,
}

fn after_help() -> String {
    format!(
        "Experiments:\n{}\n\
         Examples:\n  \
         cargo tincan lab\n  \
         cargo tincan lab --quick --variations\n  \
         cargo tincan lab fanout idle --only chat-poll,chat-async\n  \
         cargo tincan lab --mine snake='python3 my_server.py {{port}}'\n  \
         cargo tincan lab connections --no-peers --out echo-results\n  \
         cargo tincan lab fanout --only c-broadcast,chat-poll --clients 10,1000 --window 65536\n  \
         cargo tincan lab fanout --addr 127.0.0.1:4040 --pid 4242 --clients 100",
        chosen::list_experiments()
    )
}

/// The exit code if something could not be started or built, or if a run with --addr failed.
const NOT_STARTED: u8 = 3;

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        print(chosen::list_experiments().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(why) = args.usage() {
        eprintln!("tincan: {why}");
        return Ok(ExitCode::from(2));
    }
    if let Some(addr) = args.addr {
        return match args.measure_running(addr) {
            Err(err) if !is_broken_pipe(&err) => Ok(not_started(&err)),
            other => other,
        };
    }
    server::adopt_orphans();
    signals::end_servers_at_signals();
    match args.prepare() {
        Ok(Prepared::DoneByReleaseBuild(code)) => Ok(code),
        Ok(Prepared::Ready(run, left_out, folder)) => args.measure(&run, left_out, &folder),
        Err(err) => Ok(not_started(&err)),
    }
}

/// Prints why something could not be started or built, or why a run with --addr failed. Returns the exit code.
fn not_started(err: &anyhow::Error) -> ExitCode {
    match err.downcast_ref::<Failure>() {
        Some(failure) => eprintln!("tincan: {err}\n{failure}"),
        None => eprintln!("tincan: {err:#}"),
    }
    ExitCode::from(NOT_STARTED)
}

enum Prepared {
    /// A release build has measured, and has ended with this code.
    DoneByReleaseBuild(ExitCode),
    /// The experiments and servers, a sentence for each server that is left out, and the folder for the
    /// results.
    Ready(Box<LabRun>, Vec<String>, Folder),
}

impl Args {
    /// Checks the options that depend on each other.
    fn usage(&self) -> Result<(), String> {
        if self.runs < 3 && !self.quick {
            return Err(
                "a median needs at least 3 runs; with --quick, fewer are possible".to_owned()
            );
        }
        let experiments = self.experiments();
        load_options::check(&self.load.settings(self.quick), &experiments)?;
        if self.addr.is_some() {
            return running::check(&self.experiments, self.pid);
        }
        chosen::check(&self.mine, &self.only, self.no_peers)?;
        self.out.as_deref().map_or(Ok(()), folder::check)
    }

    fn measure_running(&self, addr: SocketAddr) -> Result<ExitCode> {
        if !self.as_built
            && let Some(code) = release::run_release_build(&[], None)?
        {
            return Ok(code);
        }
        let server = running::describe_server(addr, self.protocol, self.pid)?;
        let settings = self.load.settings_by_hand(self.quick);
        running::measure(&server, &self.experiments(), &settings, self.json)
    }

    fn prepare(&self) -> Result<Prepared> {
        let load_before = self.load_before.or_else(system_load);
        // First, so that a mistake is reported before anything is built.
        let user_servers = chosen::recognize_all(&self.mine)?;
        let wanted = chosen::project_servers(&self.only, self.variations)?;
        if !self.as_built
            && let Some(code) = release::run_release_build(&wanted, load_before)?
        {
            return Ok(Prepared::DoneByReleaseBuild(code));
        }
        let has_servers = !wanted.is_empty() || !user_servers.is_empty() || !self.no_peers;
        ensure!(
            has_servers,
            "there is nothing to measure: the stages are only in a clone of Tin Can Chat; name a server of your own with \
             --mine"
        );
        let project_servers = chosen::build(&wanted, self.built)?;
        let folder = Folder::create(self.out.as_deref())?;
        let mut left_out = Vec::new();
        if wanted.is_empty() && self.only.is_empty() {
            left_out.push(
                "The stages are left out: only a clone of Tin Can Chat contains them.".to_owned(),
            );
        }
        let project_servers = chosen::with_nats(project_servers, folder.scratch(), &mut left_out);
        let peers = match self.no_peers {
            true => Vec::new(),
            false => chosen::peers(&self.only, &folder, &mut left_out),
        };
        let run = LabRun {
            servers: [project_servers, user_servers, peers].concat(),
            experiments: self.experiments(),
            settings: self.load.settings(self.quick),
            runs: self.runs.into(),
            cores: Cores::divide(self.pin),
        };
        Ok(Prepared::Ready(Box::new(run), left_out, folder))
    }

    /// Returns the experiments that were asked for, each once, in the order of the table.
    fn experiments(&self) -> Vec<&'static Experiment> {
        let asked = |it: &&Experiment| self.experiments.iter().any(|asked| asked.id == it.id);
        let all = self.experiments.is_empty();
        EXPERIMENTS.iter().copied().filter(|it| all || asked(it)).collect()
    }

    fn measure(&self, run: &LabRun, left_out: Vec<String>, folder: &Folder) -> Result<ExitCode> {
        let mut machine = Machine::describe();
        machine.load_before = self.load_before.or(machine.load_before);
        if run.total() == 0 {
            for sentence in &left_out {
                eprintln!("{sentence}");
            }
            eprintln!("tincan: none of these experiments can measure any of these servers");
            return Ok(ExitCode::from(2));
        }
        introduce(run, &machine, &left_out);
        signals::survive_first_signal();
        let date = SystemTime::now();
        let begin = Instant::now();
        let others = OtherPrograms::watch(run.cores.all());
        let progress = Progress::begin(run.total());
        run.cores.move_to_generator();
        let (experiments, done) =
            run.measure(|| signals::survived_signal().is_some(), |step| progress.show(step));
        progress.end();
        machine.others_percent = others.percent();
        machine.load_after = system_load();
        let interruption = signals::survived_signal()
            .map(|_| format!("It was interrupted after {done} of {} runs.", run.total()));
        let listed = run.servers.iter().map(|server| ListedServer {
            name: server.name.clone(),
            origin: server.origin,
            command: server.command.clone(),
            limit: server.limit,
        });
        let results = Results {
            began: utc(date),
            seconds: begin.elapsed().as_secs_f64(),
            machine,
            runs: run.runs,
            is_quick: self.quick,
            cores: run.cores.description().to_owned(),
            server_cores: run.cores.server_count(),
            command: called_as("lab"),
            again: again(),
            servers: listed.collect(),
            left_out,
            interruption,
            experiments,
        };
        folder.write(&results)?;
        conclude(&results, folder, progress.prints_tables());
        Ok(exit_code(&results))
    }
}

/// Returns the command as it was typed.
fn again() -> String {
    let mut words = std::env::args_os().skip(2).peekable();
    // The options that a debug build has added come first.
    while let Some(word) = words.next_if(|word| release::is_added(word)) {
        if word == release::LOAD_BEFORE {
            words.next();
        }
    }
    let words: Vec<_> = words.collect();
    let space = if words.is_empty() { "" } else { " " };
    format!("{}{space}{}", called_as("lab"), quoted(&words))
}

fn exit_code(results: &Results) -> ExitCode {
    match signals::survived_signal() {
        Some(signal) => ExitCode::from(signals::exit_code(signal)),
        None if results.has_faults() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// Prints the servers, the cores, and a warning if the machine is busy.
fn introduce(run: &LabRun, machine: &Machine, left_out: &[String]) {
    let names: Vec<_> = run.servers.iter().map(|server| server.name.as_str()).collect();
    eprintln!("Measures {}.", names.join(", "));
    for sentence in left_out {
        eprintln!("{sentence}");
    }
    eprintln!("{}", run.cores.description());
    if let Some(percent) = busy_now(run) {
        eprintln!(
            "Warning: this machine is busy. Other programs use {percent:.0} % of its processors \
             (load {:.1}), so the figures will be worse. Close other programs, or measure later; \
             Ctrl-C ends the measurements.",
            machine.load_before.unwrap_or_default()
        );
    }
}

/// Returns the share of the processors that other programs use, if it is too much.
fn busy_now(run: &LabRun) -> Option<f64> {
    const TIME: std::time::Duration = std::time::Duration::from_millis(300);
    let others = OtherPrograms::watch(run.cores.all());
    std::thread::sleep(TIME);
    others.percent().filter(|percent| *percent > 10.0)
}

/// Prints the answers and the last line, and also the tables of the experiments if they have not been printed.
///
/// The answers are what a reader sees first. In a terminal this is the end of the output, which stays on the screen;
/// in a file or a pipe it is the beginning.
fn conclude(results: &Results, folder: &Folder, are_tables_printed: bool) {
    let width = progress::width();
    let mut text = answers_table(results, width);
    if !text.is_empty() {
        text = format!("\n{text}");
    }
    if !are_tables_printed {
        for result in &results.experiments {
            text = text + "\n" + &table(result, width);
        }
        text.push('\n');
    }
    let minutes = (results.seconds / 60.0).floor();
    let seconds = (results.seconds % 60.0).floor();
    let took = format!("It took {minutes:.0} min {seconds:.0} s.");
    // If standard output is closed, the page is already written.
    let _ = print(format!("{text}{took} {}\n", folder.description()).as_bytes());
}
