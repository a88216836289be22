//! Samples a server until the end, and reports the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use probe::procfs;
use probe::server::{self, Server};
use probe::wire::show_text;
use watch::{Caption, Processes, svg};

use super::args::Args;
use super::screen::Screen;
use super::view;
use super::watched::Watched;
use crate::command_line::quoted;
use crate::output::print;
use crate::signals::{self, NotedSignals, Signal};

/// The time between two drawings of the live view.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The reason for the end of a watch.
#[derive(PartialEq, Eq)]
enum End {
    /// The time is over, or the user has pressed q or Ctrl-C.
    User,
    /// Another signal has asked for the end.
    Signal(i32),
    /// The server has ended by itself, with this status if it was started here.
    Server(Option<ExitStatus>),
}

impl End {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Signal(number) => signals::exit_code(*number),
            Self::Server(Some(status)) => u8::from(!status.success()),
            Self::User | Self::Server(None) => 0,
        }
    }
}

pub struct Session<'a> {
    args: &'a Args,
    /// The server, if it was started here.
    server: Option<Server>,
    watched: Watched,
    noted: NotedSignals,
    screen: Option<Screen>,
}

impl<'a> Session<'a> {
    pub fn new(args: &'a Args, server: Option<Server>, noted: NotedSignals) -> Self {
        let (whom, name) = match args.pid {
            Some(pid) => {
                let name = show_text(procfs::name(pid).unwrap_or_default().as_bytes());
                (Processes::Process(pid), format!("{name} (process {pid})"))
            }
            None => (
                Processes::Children(std::process::id()),
                show_text(quoted(&args.command).as_bytes()),
            ),
        };
        let screen = Screen::new();
        if screen.is_none() {
            let end = if args.seconds.is_none() { "; Ctrl-C ends it" } else { "" };
            eprintln!("watching {name}{end}");
        }
        Self { args, server, watched: Watched::new(whom, name), noted, screen }
    }

    /// Watches the server until the end, and returns the exit code.
    pub fn run(mut self) -> Result<u8> {
        let end = self.sample_until_end()?;
        self.report(&end)?;
        Ok(end.exit_code())
    }

    fn sample_until_end(&mut self) -> Result<End> {
        let begin = Instant::now();
        let mut drawn_at: Option<Instant> = None;
        loop {
            let sampled_at = Instant::now();
            self.watched.sample();
            if self.watched.find_addrs() && self.screen.is_none() {
                eprintln!("it listens on {}", self.watched.addrs.join(" and "));
            }
            if drawn_at.is_none_or(|at| at.elapsed() >= DRAW_INTERVAL) {
                if self.noted.take_continued()
                    && let Some(screen) = &mut self.screen
                {
                    screen.restart();
                }
                self.draw()?;
                drawn_at = Some(Instant::now());
            }
            let is_quit = self.screen.as_ref().is_some_and(Screen::is_quit);
            if let Some(end) = self.server_end()? {
                return Ok(end);
            }
            match self.noted.ending() {
                Some(Signal::End(number)) => return Ok(End::Signal(number)),
                Some(_) => return Ok(End::User),
                None => {}
            }
            if is_quit || self.args.seconds.is_some_and(|time| begin.elapsed() >= time) {
                return Ok(End::User);
            }
            let interval = self.watched.sampler.interval();
            std::thread::sleep(interval.saturating_sub(sampled_at.elapsed()));
        }
    }

    /// Reports whether the server has ended by itself, with all processes that it has started.
    fn server_end(&mut self) -> Result<Option<End>> {
        let status = match &mut self.server {
            Some(server) => match server.wait(Duration::ZERO)? {
                Some(status) => Some(status),
                None => return Ok(None),
            },
            None => None,
        };
        if !self.watched.has_ended() {
            return Ok(None);
        }
        self.watched.sample();
        Ok(Some(End::Server(status)))
    }

    fn printed(&self) -> String {
        self.server.as_ref().map(Server::last_output).unwrap_or_default()
    }

    fn draw(&mut self) -> Result<()> {
        let printed = self.printed();
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let (width, height) = Screen::size();
        screen.draw(&view::live(&self.watched, &printed, width, height.saturating_sub(1)))
    }

    /// Ends the server, prints how it has ended, and writes the SVG file.
    fn report(&mut self, end: &End) -> Result<()> {
        let has_ended = matches!(end, End::Server(_));
        if let (true, Some(server)) = (has_ended, &self.server) {
            server.wait_for_output();
        }
        self.draw()?;
        let is_live = self.screen.take().is_some();
        let mut lines = if is_live { Vec::new() } else { view::whole(&self.watched) };
        if self.watched.lanes.all().is_empty() {
            lines.push("The server ended before the first sample.".to_owned());
        }
        match end {
            End::Server(Some(status)) => {
                lines.push(format!("The server has ended by itself: {status}."));
            }
            End::Server(None) => lines.push("The process has ended.".to_owned()),
            End::User | End::Signal(_) => lines.extend(self.end_server()?),
        }
        if has_ended && !is_live {
            let printed = view::printed_lines(&self.printed(), view::WIDTH);
            lines.extend(printed.into_iter().map(|line| format!("  {line}")));
        }
        if let Some(path) = &self.args.svg {
            lines.push(self.write_svg(path)?);
        }
        drop(self.server.take());
        for process in server::end_orphans() {
            lines.push(format!("A process that the server had left behind was killed: {process}"));
        }
        print(format!("{}\n", lines.join("\n")).as_bytes())
    }

    fn end_server(&mut self) -> Result<Option<String>> {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let Some(server) = &mut self.server else {
            return Ok(self.args.pid.map(|pid| format!("Process {pid} is still running.")));
        };
        let what = match server.terminate(TIMEOUT)? {
            Some(status) => format!("and ended: {status}."),
            None => format!("did not end within {} s, and was killed.", TIMEOUT.as_secs()),
        };
        Ok(Some(format!("The server was asked to end, {what}")))
    }

    fn write_svg(&self, path: &Path) -> Result<String> {
        let Watched { name, sampler, lanes, .. } = &self.watched;
        let command = match self.args.pid {
            Some(pid) => format!("tincan watch --pid {pid}"),
            None => format!("tincan watch -- {name}"),
        };
        let times = format!(
            "{:.1} s; a sample of each thread every {} ms.",
            lanes.now().as_secs_f64(),
            sampler.interval().as_millis()
        );
        let caption = Caption {
            title: format!("What each thread of {} did", self.short_name()),
            lines: vec![command, times],
            notes: view::visibility(&self.watched, usize::MAX),
        };
        fs::write(path, svg(lanes, &caption))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(format!("The lanes are in {}", path.display()))
    }

    /// Returns the name of the program alone.
    fn short_name(&self) -> String {
        let program = self.args.command.first().map(PathBuf::from);
        let name = program.as_deref().and_then(Path::file_name);
        name.map_or_else(|| self.watched.name.clone(), |name| show_text(name.as_encoded_bytes()))
    }
}
