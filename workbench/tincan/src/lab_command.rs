//! `tincan lab`: what is typed, what is built, and where the results go.
//!
//! | file | what |
//! |---|---|
//! | `release.rs` | sees to it that neither this program nor a server is a debug build |
//! | `chosen.rs` | the servers and experiments that were asked for |
//! | `progress.rs` | what is shown meanwhile |
//! | `folder.rs` | where the results go |

mod chosen;
mod folder;
mod progress;
mod release;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::Result;
use lab::{
    Cores, EXPERIMENTS, Experiment, Machine, Others, Plan, Results, Session, system_load, utc,
};
use probe::{Failure, server};

use crate::check_command::{called_as, quoted};
use crate::output::print;
use crate::signals;
use chosen::Mine;
use folder::Folder;
use progress::Progress;

/// Measure the stages, your own server and others', side by side
///
/// Builds the servers (release), starts each of them again and again, puts load on it, and writes a
/// table here and a page for a browser. The first time, building takes a minute or two. Ctrl-C ends
/// it and keeps what is done.
///
/// Exit code: 0 all is well, 1 a copy of a message was lost, came twice or out of order, a run failed,
/// or something else was wrong with a server, 2 a usage error, 3 something could not be started, 130
/// ended by Ctrl-C.
#[derive(clap::Args)]
#[command(after_help = after_help())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag on the command line")]
pub struct Args {
    /// Which experiments; without any, all
    #[arg(value_name = "EXPERIMENT", value_parser = chosen::experiment)]
    experiments: Vec<&'static Experiment>,
    /// List the experiments with their questions, and run none
    #[arg(long)]
    list: bool,
    /// Put a server of your own beside ours: a name for it, and the command that starts it.
    ///
    /// `{port}` and `{host}` in the command are replaced; the variables PORT and HOST say the same.
    /// Whether it is an echo or a chat server is found out. Can be given several times.
    #[arg(long, value_name = "NAME=CMD", value_parser = chosen::mine)]
    mine: Vec<Mine>,
    /// Measure only these of ours and of the others', separated by commas, and what --mine names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure the variations, too: it takes about twice as long, and building them some minutes
    #[arg(long, conflicts_with = "only")]
    variations: bool,
    /// Leave out the servers of other people
    #[arg(long)]
    no_peers: bool,
    /// Less of everything: fewer clients, shorter runs
    #[arg(long)]
    quick: bool,
    /// Runs of each server in each case, of which the median is shown; fewer than 3 need --quick
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// Give the server one core, however many there are: designs are compared on one core
    #[arg(long)]
    pin: bool,
    /// The folder for the results, which replace earlier ones; without it, a new one for each time
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
         cargo tincan lab connections --no-peers --out echo-results",
        list()
    )
}

fn list() -> String {
    let line = |it: &&Experiment| format!("  {:<12} {}\n", it.id, it.question);
    EXPERIMENTS.iter().map(line).collect()
}

/// What a debug build tells the release build that it becomes.
const BUILT: &str = "--built";
const LOAD_BEFORE: &str = "--load-before";

/// Something that could not be started, built or written.
const NOT_STARTED: u8 = 3;

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        print(list().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(why) = args.usage() {
        eprintln!("tincan: {why}");
        return Ok(ExitCode::from(2));
    }
    server::adopt_orphans();
    signals::end_servers_at_signals();
    match args.prepared() {
        Ok(Prepared::Elsewhere(code)) => Ok(code),
        Ok(Prepared::Here(session, left_out, folder)) => args.measure(&session, left_out, &folder),
        Err(err) => {
            match err.downcast_ref::<Failure>() {
                Some(failure) => eprintln!("tincan: {err}\n{failure}"),
                None => eprintln!("tincan: {err:#}"),
            }
            Ok(ExitCode::from(NOT_STARTED))
        }
    }
}

enum Prepared {
    /// A release build has done it all, and has ended with this code.
    Elsewhere(ExitCode),
    /// What to run, what had to be left out, and where the results go.
    Here(Session, Vec<String>, Folder),
}

impl Args {
    /// What one option alone does not show.
    fn usage(&self) -> Result<(), String> {
        if self.runs < 3 && !self.quick {
            return Err("a median needs at least 3 runs; with --quick fewer will do".to_owned());
        }
        chosen::check(&self.mine, &self.only, self.no_peers)?;
        self.out.as_deref().map_or(Ok(()), folder::check)
    }

    fn prepared(&self) -> Result<Prepared> {
        let load_before = self.load_before.or_else(system_load);
        // First, so that nobody waits for a build to be told of a mistake.
        let mine = chosen::recognized(&self.mine)?;
        let stages = chosen::stages(&self.only, self.variations)?;
        if !self.as_built
            && let Some(code) = release::instead(&stages, load_before)?
        {
            return Ok(Prepared::Elsewhere(code));
        }
        let ours = chosen::ours(&stages, self.built)?;
        let folder = Folder::create(self.out.as_deref())?;
        let mut left_out = Vec::new();
        let ours = chosen::equipped(ours, folder.scratch(), &mut left_out);
        let peers = match self.no_peers {
            true => Vec::new(),
            false => chosen::peers(&self.only, folder.path(), &mut left_out)?,
        };
        let session = Session {
            subjects: [ours, mine, peers].concat(),
            experiments: self.experiments(),
            plan: Plan { is_quick: self.quick },
            runs: self.runs.into(),
            cores: Cores::share_out(self.pin),
        };
        Ok(Prepared::Here(session, left_out, folder))
    }

    /// In the order of the table, each once.
    fn experiments(&self) -> Vec<&'static Experiment> {
        let asked = |it: &&Experiment| self.experiments.iter().any(|asked| asked.id == it.id);
        let all = self.experiments.is_empty();
        EXPERIMENTS.iter().copied().filter(|it| all || asked(it)).collect()
    }

    fn measure(
        &self,
        session: &Session,
        mut left_out: Vec<String>,
        folder: &Folder,
    ) -> Result<ExitCode> {
        let mut machine = Machine::look();
        machine.load_before = self.load_before.or(machine.load_before);
        if session.total() == 0 {
            for sentence in &left_out {
                eprintln!("{sentence}");
            }
            eprintln!("tincan: none of these experiments asks anything of these servers");
            return Ok(ExitCode::from(2));
        }
        introduce(session, &machine, &left_out);
        signals::spare_us_once();
        let (date, begin) = (SystemTime::now(), Instant::now());
        let others = Others::watch(session.cores.all());
        let progress = Progress::begin(session.total());
        session.cores.enter_generators();
        let (outcomes, done) =
            session.run(|| signals::noted().is_some(), |step| progress.tell(step));
        progress.end();
        machine.others_percent = others.percent();
        machine.load_after = system_load();
        if signals::noted().is_some() {
            let total = session.total();
            left_out.push(format!("It was interrupted after {done} of {total} runs."));
        }
        let servers = session.subjects.iter();
        let results = Results {
            began: utc(date),
            seconds: begin.elapsed().as_secs_f64(),
            machine,
            runs: session.runs,
            is_quick: self.quick,
            cores: session.cores.told().to_owned(),
            again: again(),
            servers: servers.map(|it| (it.name.clone(), it.origin, it.shown.clone())).collect(),
            left_out,
            outcomes,
        };
        folder.write(&results)?;
        conclude(&results, folder);
        Ok(exit_code(&results))
    }
}

/// What was typed.
fn again() -> String {
    let mut words = std::env::args_os().skip(2).peekable();
    // What a debug build has put there comes first.
    while let Some(word) = words.next_if(|word| *word == BUILT || *word == LOAD_BEFORE) {
        if word == LOAD_BEFORE {
            words.next();
        }
    }
    let words: Vec<_> = words.collect();
    let space = if words.is_empty() { "" } else { " " };
    format!("{}{space}{}", called_as("lab"), quoted(&words))
}

fn exit_code(results: &Results) -> ExitCode {
    match signals::noted() {
        Some(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        None if results.has_faults() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// What is known before the first run.
fn introduce(session: &Session, machine: &Machine, left_out: &[String]) {
    let names: Vec<_> = session.subjects.iter().map(|subject| subject.name.as_str()).collect();
    eprintln!("Measures {}.", names.join(", "));
    for sentence in left_out {
        eprintln!("{sentence}");
    }
    eprintln!("{}", session.cores.told());
    if let Some(percent) = busy_now(session) {
        eprintln!(
            "Warning: this machine is busy. Other programs use {percent:.0} % of its processors \
             (load {:.1}), and the figures will be worse for it. Close what runs besides, or come \
             back later: Ctrl-C ends this.",
            machine.load_before.unwrap_or_default()
        );
    }
}

/// How much others use, if that is too much.
fn busy_now(session: &Session) -> Option<f64> {
    const LOOK: std::time::Duration = std::time::Duration::from_millis(500);
    let others = Others::watch(session.cores.all());
    std::thread::sleep(LOOK);
    others.percent().filter(|percent| *percent > 10.0)
}

/// What is said in the end.
fn conclude(results: &Results, folder: &Folder) {
    if results.machine.was_busy() {
        let percent = results.machine.others_percent.unwrap_or_default();
        eprintln!(
            "Other programs used {percent:.0} % of the processors: ratios may hold, small differences \
             do not."
        );
    }
    if signals::noted().is_some() {
        eprintln!("{}", results.left_out.last().map_or("", String::as_str));
    }
    if results.has_faults() {
        eprintln!("Something was wrong with a server: see the tables.");
    }
    let (minutes, seconds) = (results.seconds / 60.0, results.seconds % 60.0);
    let took = format!("It took {} min {seconds:.0} s.", minutes.floor());
    let _ = print(format!("{took} {}\n", folder.told()).as_bytes());
}

/// A command as it was typed, in words.
type Words = Vec<OsString>;
