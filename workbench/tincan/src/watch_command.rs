//! `tincan watch`: what each thread of a server does, live in the terminal and as SVG.

mod screen;
mod svg_file;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anstyle::Style;
use anyhow::{Context, Result};
use lab::STAGES;
use probe::procfs;
use probe::server::{self, Launch, NotStarted, Outlet, Server};
use probe::wire::show_text;
use watch::{
    About, EVERY, Frame, Lanes, Sampler, Sight, Span, Trace, Whom, fit_to, is_possible, picture,
    svg, trace_svg, wrap,
};

use crate::check_command::quoted;
use crate::output::print;
use crate::signals::{Noted, note_signals, start_watchdog};
use screen::Screen;

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
    pid: Option<u32>,
    /// Draw this trace, which a server has written with its option --trace, into the file of --svg
    #[arg(long, value_name = "FILE", requires = "svg")]
    #[arg(conflicts_with_all = ["pid", "seconds", "command"])]
    trace: Option<PathBuf>,
    /// Write the lanes, from beginning to end, into a file for a browser; an earlier drawing there is
    /// replaced, any other file is left as it is
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,
    /// The command that starts the server
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    #[arg(required_unless_present_any = ["pid", "trace"])]
    command: Vec<OsString>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|it| *it > 0.0);
    let time = number.and_then(|it| Duration::try_from_secs_f64(it).ok());
    time.ok_or_else(|| "a number of seconds above 0 is wanted, such as 10 or 0.5".to_owned())
}

/// The time that one column of the live view stands for.
const COLUMN: Duration = Duration::from_millis(200);

/// How often the live view is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// How often it is looked up where the server listens.
const ADDRESS_EVERY: Duration = Duration::from_millis(250);

/// Where nothing tells how wide the output is, and how many lanes are printed there.
const WIDTH: usize = 80;
const LANES: usize = 64;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The command line asks for what cannot be, or must not.
const WRONG_USE: u8 = 2;

/// Nothing can be watched.
const NOTHING: u8 = 3;

pub fn run(args: &Args) -> Result<ExitCode> {
    if let (Some(trace), Some(svg)) = (&args.trace, &args.svg) {
        return draw_trace(trace, svg);
    }
    if !is_possible() {
        eprintln!("tincan: {ELSEWHERE}");
        return Ok(ExitCode::from(NOTHING));
    }
    let noted = note_signals().context("could not watch for signals")?;
    // Found out now, and not when all has been seen.
    let _place = match args.svg.as_deref().map(svg_file::make_ready).transpose() {
        Ok(place) => place,
        Err(refused) => {
            eprintln!("tincan: {refused}");
            return Ok(ExitCode::from(WRONG_USE));
        }
    };
    let server = match args.pid {
        Some(pid) if procfs::name(pid).is_none() => {
            eprintln!("tincan: there is no process {pid}");
            return Ok(ExitCode::from(NOTHING));
        }
        Some(_) => None,
        None => match start(&args.command) {
            Ok(server) => Some(server),
            Err(err) if err.is::<NotStarted>() => {
                eprintln!("tincan: {err:#}");
                for hint in hints(&args.command) {
                    eprintln!("{hint}");
                }
                return Ok(ExitCode::from(NOTHING));
            }
            Err(err) => return Err(err),
        },
    };
    let mut watch = Watch::new(args, server, noted);
    let end = watch.look_on()?;
    watch.finish(&end).map(ExitCode::from)
}

/// Draws the trace in one file into another.
fn draw_trace(path: &Path, svg: &Path) -> Result<ExitCode> {
    // Goes away after what is written into its file.
    let _place = match svg_file::make_ready(svg) {
        Ok(place) => place,
        Err(refused) => {
            eprintln!("tincan: {refused}");
            return Ok(ExitCode::from(WRONG_USE));
        }
    };
    let trace = Trace::read(path)?;
    let file_name = || show_text(path.file_name().unwrap_or_default().as_encoded_bytes());
    let name = trace.process().map_or_else(file_name, |name| show_text(name.as_bytes()));
    let summary = trace.summary();
    let about = About {
        title: format!("What each thread or task of {name} did"),
        lines: vec![format!("tincan watch --trace {}", path.display()), summary.clone()],
        notes: Vec::new(),
    };
    fs::write(svg, trace_svg(&trace, &about))
        .with_context(|| format!("cannot write {}", svg.display()))?;
    print(format!("The timeline is in {}: {summary}.\n", svg.display()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What is said where there is no `/proc`.
const ELSEWHERE: &str = "what a thread waits for is told by Linux alone, in /proc; on this system, \
                         tincan can neither see that nor count the threads of a server";

fn start(command: &[OsString]) -> Result<Server> {
    let (program, args) = command.split_first().context("there is no command")?;
    start_watchdog();
    server::adopt_orphans();
    Launch::new(program, args).stdout(Outlet::LastLines).stderr(Outlet::LastLines).start_at_once()
}

/// What may be meant by a command that cannot be started.
fn hints(command: &[OsString]) -> Vec<String> {
    let Some((program, args)) = command.split_first() else { return Vec::new() };
    let own = |word: &&OsString| {
        let word = word.to_string_lossy();
        ["--seconds", "--svg", "--pid"].contains(&word.split('=').next().unwrap_or_default())
    };
    let mut hints = Vec::new();
    if let Some(option) = args.iter().find(own) {
        hints.push(format!(
            "What follows the program is its own, {0} too. Options of tincan watch stand before the \
             `--`: cargo tincan watch {0} … -- CMD",
            option.display()
        ));
    }
    if let Some(stage) = STAGES.iter().find(|it| program == it.name) {
        let name = stage.name;
        hints.push(format!(
            "The program of {name} is target/debug/{name}; cargo build -p {name} makes it."
        ));
    }
    hints
}

/// Why a watch is over.
#[derive(PartialEq, Eq)]
enum End {
    /// Its time is up, or the reader has pressed q or Ctrl-C.
    Wanted,
    /// A signal asks for it.
    Signal(u8),
    /// The server has ended by itself; how, if it was started here.
    Ended(Option<ExitStatus>),
}

impl End {
    fn code(&self) -> u8 {
        match self {
            Self::Signal(signal) => 128 + signal,
            Self::Ended(Some(status)) => u8::from(!status.success()),
            Self::Wanted | Self::Ended(None) => 0,
        }
    }
}

struct Watch<'a> {
    args: &'a Args,
    /// The server, if it was started here.
    server: Option<Server>,
    name: String,
    noted: Noted,
    screen: Option<Screen>,
    sampler: Sampler,
    lanes: Lanes,
    /// Where it listens, and when that was looked up.
    addrs: Vec<String>,
    addrs_at: Option<Instant>,
    /// The processor time and when it was that, for the last second or so.
    cpu: Vec<(Duration, Duration)>,
}

impl<'a> Watch<'a> {
    fn new(args: &'a Args, server: Option<Server>, noted: Noted) -> Self {
        let (whom, name) = match args.pid {
            Some(pid) => {
                let name = show_text(procfs::name(pid).unwrap_or_default().as_bytes());
                (Whom::Process(pid), format!("{name} (process {pid})"))
            }
            None => {
                (Whom::Children(std::process::id()), show_text(quoted(&args.command).as_bytes()))
            }
        };
        let screen = Screen::new();
        if screen.is_none() {
            eprintln!(
                "watching {name}{}",
                if args.seconds.is_none() { "; Ctrl-C ends it" } else { "" }
            );
        }
        Self {
            args,
            server,
            name,
            noted,
            screen,
            sampler: Sampler::new(whom),
            lanes: Lanes::default(),
            addrs: Vec::new(),
            addrs_at: None,
            cpu: Vec::new(),
        }
    }

    /// Looks, and shows what is seen, until that is over.
    fn look_on(&mut self) -> Result<End> {
        let begin = Instant::now();
        let mut drawn: Option<Instant> = None;
        loop {
            let looked = Instant::now();
            self.sampler.look(&mut self.lanes);
            self.look_up_address();
            self.note_cpu();
            if drawn.is_none_or(|it| it.elapsed() >= DRAWN_EVERY) {
                if self.noted.resumed()
                    && let Some(screen) = &mut self.screen
                {
                    screen.begin_anew();
                }
                self.draw()?;
                drawn = Some(Instant::now());
            }
            let is_quit = self.screen.as_ref().is_some_and(Screen::is_quit);
            if let Some(end) = self.ended()? {
                return Ok(end);
            } else if let Some(signal) = self.noted.signal() {
                return Ok(if signal == SIGINT { End::Wanted } else { End::Signal(signal) });
            } else if is_quit || self.args.seconds.is_some_and(|it| begin.elapsed() >= it) {
                return Ok(End::Wanted);
            }
            std::thread::sleep(self.sampler.pace().saturating_sub(looked.elapsed()));
        }
    }

    /// Whether the server has ended by itself, with all that it has started.
    fn ended(&mut self) -> Result<Option<End>> {
        let status = match &mut self.server {
            Some(server) => match server.wait(Duration::ZERO)? {
                Some(status) => Some(status),
                None => return Ok(None),
            },
            None => None,
        };
        let are_gone = self.sampler.processes().iter().all(|pid| !procfs::is_running(*pid));
        if !are_gone {
            return Ok(None);
        }
        self.sampler.look(&mut self.lanes);
        Ok(Some(End::Ended(status)))
    }

    fn look_up_address(&mut self) {
        if self.addrs_at.is_some_and(|it| it.elapsed() < ADDRESS_EVERY) {
            return;
        }
        self.addrs_at = Some(Instant::now());
        let found = server::listening(self.sampler.processes());
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        if self.screen.is_none() && !found.is_empty() && found != self.addrs {
            eprintln!("it listens on {}", found.join(" and "));
        }
        self.addrs = found;
    }

    fn note_cpu(&mut self) {
        const OVER: Duration = Duration::from_secs(1);
        if let Some(cpu) = self.sampler.cpu() {
            let now = self.lanes.now();
            self.cpu.push((now, cpu));
            // The first that is left is about so old.
            let old = self.cpu.partition_point(|(at, _)| *at + OVER < now);
            self.cpu.drain(..old);
        }
    }

    /// How much of one processor was used over the last second.
    fn percent(&self) -> Option<f64> {
        let ((begin, before), (now, after)) = (self.cpu.first()?, self.cpu.last()?);
        let passed = now.saturating_sub(*begin).as_secs_f64();
        let used = after.saturating_sub(*before).as_secs_f64();
        (passed > 0.1).then(|| 100.0 * used / passed)
    }

    /// What stands above the lanes.
    fn head(&self, width: usize) -> Vec<String> {
        let mut parts = vec![fit_to(&self.name, (width / 2).max(40).min(width))];
        match self.addrs.as_slice() {
            // Its descriptors may not be read either.
            [] if self.sampler.sight() == Sight::Running => {}
            [] => parts.push("does not listen".to_owned()),
            addrs => parts.push(format!("listens on {}", addrs.join(", "))),
        }
        parts.push(format!("{:.1} s", self.lanes.now().as_secs_f64()));
        parts.push(match self.lanes.living() {
            0 => "no thread is left".to_owned(),
            1 => "1 thread".to_owned(),
            many => format!("{many} threads"),
        });
        parts.extend(self.percent().map(|it| format!("CPU {it:.0} %")));
        let pace = self.sampler.pace();
        if pace > EVERY * 2 {
            let (now, usual) = (pace.as_millis(), EVERY.as_millis());
            parts.push(format!("looked at every {now} ms instead of {usual}"));
        }
        if self.screen.is_some() {
            parts.push("q: quit".to_owned());
        }
        joined(&parts, width)
    }

    fn draw(&mut self) -> Result<()> {
        if self.screen.is_none() {
            return Ok(());
        }
        let (width, height) = Screen::size();
        let lines = self.live(width, height.saturating_sub(1));
        match &mut self.screen {
            Some(screen) => screen.draw(&lines),
            None => Ok(()),
        }
    }

    /// The live view, in so many lines at most.
    fn live(&mut self, width: usize, height: usize) -> Vec<String> {
        let mut lines: Vec<_> =
            self.head(width).iter().map(|line| format!("{BOLD}{line}{BOLD:#}")).collect();
        lines.truncate((height / 3).max(1));
        // Below the lanes: those that have no room, the times, the letters.
        let rows = height.saturating_sub(lines.len() + 3).max(1);
        let pace = self.sampler.pace().as_nanos().div_ceil(COLUMN.as_nanos());
        let column = COLUMN * u32::try_from(pace).unwrap_or(1).max(1);
        let drawn = picture(&self.lanes, &Frame { span: Span::Last(column), width, rows });
        lines.extend(drawn.lanes);
        lines.extend(drawn.seen.legend(width));
        let notes = drawn.seen.notes(width).into_iter().chain(self.sight(width));
        lines.extend(notes.map(|line| format!("{DIM}{line}{DIM:#}")));
        let printed = self.printed(width);
        let room = height.saturating_sub(lines.len() + 2).min(8);
        if room > 0 && !printed.is_empty() {
            lines.push(format!("{DIM}It printed last:{DIM:#}"));
            lines.extend(printed.into_iter().rev().take(room).rev());
        }
        lines.truncate(height);
        lines
    }

    /// What the system does not show of this process.
    fn sight(&self, width: usize) -> Vec<String> {
        let text = match self.sampler.sight() {
            Sight::Calls => return Vec::new(),
            Sight::Places => {
                "The system calls of this process may not be read: what its threads wait for is told \
                 by where in the kernel they are, which is less exact. Watched as root, or started \
                 by tincan watch, it shows more."
            }
            Sight::Running => {
                "The system calls of this process, or of one that it has started, are hidden: of a \
                 thread with the letter u, it can be told that it waits, and not for what. Most \
                 processes show more if they are watched as root or started by tincan watch."
            }
        };
        wrap(text, width)
    }

    /// What the server printed last, without what would drive the terminal.
    fn printed(&self, width: usize) -> Vec<String> {
        let Some(server) = &self.server else { return Vec::new() };
        let output = anstream::adapter::strip_str(&server.output()).to_string();
        output.lines().flat_map(|line| wrap(&show_text(line.as_bytes()), width)).collect()
    }

    /// Ends what was started, and tells how it went; gives the exit code.
    fn finish(mut self, end: &End) -> Result<u8> {
        let has_ended = matches!(end, End::Ended(_));
        if let (true, Some(server)) = (has_ended, &self.server) {
            server.wait_for_output()?;
        }
        self.draw()?;
        let is_live = self.screen.take().is_some();
        let mut lines = if is_live { Vec::new() } else { self.whole() };
        if self.lanes.all().is_empty() {
            lines.push("It ended before it could be seen.".to_owned());
        }
        match end {
            End::Ended(Some(status)) => {
                lines.push(format!("The server has ended by itself: {status}."));
            }
            End::Ended(None) => lines.push("The process has ended.".to_owned()),
            End::Wanted | End::Signal(_) => lines.extend(self.end_server()?),
        }
        if has_ended && !is_live {
            lines.extend(self.printed(WIDTH).into_iter().map(|line| format!("  {line}")));
        }
        if let Some(path) = &self.args.svg {
            lines.push(self.write_svg(path)?);
        }
        drop(self.server.take());
        for left in server::end_escaped() {
            lines.push(format!("It left a process behind, which is ended now: {left}"));
        }
        print(format!("{}\n", lines.join("\n")).as_bytes())?;
        Ok(end.code())
    }

    /// All that was seen, for those who could not look on.
    fn whole(&self) -> Vec<String> {
        if self.lanes.all().is_empty() {
            return Vec::new();
        }
        let mut lines = self.head(WIDTH);
        let drawn = picture(&self.lanes, &Frame { span: Span::All, width: WIDTH, rows: LANES });
        lines.extend(drawn.lanes);
        lines.extend(drawn.seen.legend(WIDTH));
        lines.extend(drawn.seen.notes(WIDTH));
        lines.extend(self.sight(WIDTH));
        lines
    }

    fn end_server(&mut self) -> Result<Option<String>> {
        const AT_MOST: Duration = Duration::from_secs(5);
        let Some(server) = &mut self.server else {
            return Ok(self.args.pid.map(|pid| format!("Process {pid} is left alone.")));
        };
        let status = server.end_gently(AT_MOST)?;
        let killed = || format!("did not in {} s, and was killed.", AT_MOST.as_secs());
        let what = status.map_or_else(killed, |status| format!("and did: {status}."));
        Ok(Some(format!("The server was asked to end, {what}")))
    }

    fn write_svg(&self, path: &Path) -> Result<String> {
        let called = match self.args.pid {
            Some(pid) => format!("tincan watch --pid {pid}"),
            None => format!("tincan watch -- {}", self.name),
        };
        let what = format!(
            "{:.1} s; each thread was looked at every {} ms.",
            self.lanes.now().as_secs_f64(),
            self.sampler.pace().as_millis()
        );
        let about = About {
            title: format!("What each thread of {} did", self.short_name()),
            lines: vec![called, what],
            notes: self.sight(usize::MAX),
        };
        fs::write(path, svg(&self.lanes, &about))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(format!("The lanes are in {}", path.display()))
    }

    /// The name of the program alone.
    fn short_name(&self) -> String {
        let program = self.args.command.first().map(PathBuf::from);
        let name = program.as_deref().and_then(Path::file_name);
        name.map_or_else(|| self.name.clone(), |name| show_text(name.as_encoded_bytes()))
    }
}

/// The number of the signal that Ctrl-C is.
const SIGINT: u8 = 2;

/// Parts beside one another, in lines that are not too long.
fn joined(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + part.chars().count() <= width => {
                *line += " · ";
                *line += part;
            }
            _ => lines.push(fit_to(part, width)),
        }
    }
    lines
}
