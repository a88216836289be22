//! Watches a server until that is over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use probe::procfs;
use probe::server::{self, Server};
use probe::wire::show_text;
use watch::{About, Lanes, Sampler, Whom, svg};

use super::args::Args;
use super::screen::Screen;
use super::view::WIDTH;
use crate::check_command::quoted;
use crate::output::print;
use crate::signals::Noted;

/// How often the live view is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// How often it is looked up where the server listens.
const ADDRESS_EVERY: Duration = Duration::from_millis(250);

/// Why a watch is over.
#[derive(PartialEq, Eq)]
pub enum End {
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

pub struct Watch<'a> {
    pub args: &'a Args,
    /// The server, if it was started here.
    pub server: Option<Server>,
    pub name: String,
    pub noted: Noted,
    pub screen: Option<Screen>,
    pub sampler: Sampler,
    pub lanes: Lanes,
    /// Where it listens, and when that was looked up.
    pub addrs: Vec<String>,
    pub addrs_at: Option<Instant>,
    /// The processor time and when it was that, for the last second or so.
    pub cpu: Vec<(Duration, Duration)>,
}

impl<'a> Watch<'a> {
    pub fn new(args: &'a Args, server: Option<Server>, noted: Noted) -> Self {
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
    pub fn look_on(&mut self) -> Result<End> {
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

    /// Ends what was started, and tells how it went; gives the exit code.
    pub fn finish(mut self, end: &End) -> Result<u8> {
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
