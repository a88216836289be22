//! `tincan check`: reads the command line, runs the checks, and prints the report.

mod json;
mod junit;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use check::{
    AddressFormat, Check, Event, Invocation, LEAST_PATIENCE, Profile, Requirement, ServerUnderTest,
    Source, TABLE, TRIES, failure_text, list, report_text, run_checks, with_dependencies,
};
use clap::ValueEnum;
use indicatif::ProgressBar;
use probe::tls::TlsSettings;
use serde_json::{Value, json};

use crate::command_line::{book_page, called_as, quoted};
use crate::job::{Job, SEED, default_hints, prepare};
use crate::output::print;
use crate::rerun::{self, ServerFiles, Until};

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// `JUnit` XML, which most CI systems read
    #[value(help = "JUnit XML, which most CI systems read")]
    Junit,
    /// For `tincan grade`: a JSON object a line, at the beginning and at the end of each check
    #[value(hide = true)]
    Lines,
}

/// Check whether a server, in any language, does what its profile asks
///
/// Each check starts the command anew, without a shell. `{port}` and `{host}` in the command are
/// replaced; the variables PORT and HOST have the same values.
///
/// Exit code: 0 all passed, 1 some failed, 2 could not decide, 3 the server could not be started. With
/// --watch, q ends the program with the exit code of the last run, or 1 while the checks run.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo tincan check echo-uni -- python3 my_server.py {port}\n  \
    cargo tincan check chat --only framing --hints 3 -- node chat.js {port}\n  \
    cargo tincan check chat --until slow-pause --tries 1 -- node chat.js {port}\n  \
    cargo tincan check chat-poll -- target/debug/chat-poll --port {port}\n  \
    cargo tincan check chat --watch -- python3 chat.py {port}\n  \
    cargo tincan check chat --addr 127.0.0.1:4040\n  \
    cargo tincan check chat --tls -- python3 my_tls_chat.py {port}\n  \
    cargo tincan check --list")]
pub struct Args {
    /// What kind of server it is
    #[arg(required_unless_present = "list")]
    profile: Option<Profile>,
    /// Run again whenever you save a file of the server, and stop at the first check that fails
    ///
    /// The files are those that the command names. If such a file is in the current folder or below, the files with
    /// the same extension in its folder and below count too. The server itself must not change them, because each
    /// change begins a new run. The checks that the server has passed are stored in .tincan-progress.json, in the
    /// current folder.
    #[arg(long, conflicts_with_all = ["list", "addr", "format"])]
    watch: bool,
    /// Show which profile must pass which check, or the checks of PROFILE with their rules; run none
    #[arg(long)]
    list: bool,
    /// Check the server that runs at this address, instead of starting one
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "command")]
    addr: Option<SocketAddr>,
    /// Connect with TLS (1.3 or 1.2); for chats
    ///
    /// Without --ca, any certificate is accepted, even a self-signed one. All checks run, except
    /// frame-half-close in TLS 1.2: there, the end of one direction is the end of both.
    #[arg(long)]
    tls: bool,
    /// Accept the certificate only if a CA in this file (PEM) has signed it for localhost
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// Run only this check, or the checks of this theme; can be given several times
    #[arg(long, value_name = "ID", value_parser = id_or_theme)]
    only: Vec<String>,
    /// Run this check after the checks that it depends on, and no others
    #[arg(long, value_name = "ID", value_parser = id, conflicts_with = "only")]
    until: Option<String>,
    /// The format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The seed for random choices, such as where to cut a message: the same seed, the same choices
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    /// How much help with a failure: 0 none, 1 what is likely wrong, 2 where to look, 3 how to correct it
    /// [default: 1; with --watch in a terminal, 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=3))]
    hints: Option<u8>,
    /// How many seconds to wait at least for an answer; use more on a busy machine
    #[arg(long, value_name = "SECONDS", default_value_t = LEAST_PATIENCE.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// How many times to try a check that fails because an answer comes too late [default: 3; with --watch, 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=10))]
    tries: Option<u8>,
    /// The command that starts the server
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    #[arg(required_unless_present_any = ["list", "addr"])]
    command: Vec<OsString>,
}

/// Reads an address, which may be a host name with a port.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|err| {
        format!("{err}; an address and a port are wanted, such as 127.0.0.1:4040")
    })?;
    // If a name has both, IPv4 before IPv6.
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| "no such host".to_owned())
}

/// Reads the id of a check, or the name of a theme with a hyphen for each blank.
pub fn id_or_theme(text: &str) -> Result<String, String> {
    let text = text.replace(' ', "-");
    if TABLE.iter().any(|check| theme_id(check) == text) { Ok(text) } else { id(&text) }
}

fn id(text: &str) -> Result<String, String> {
    if TABLE.iter().any(|check| check.id == text) {
        return Ok(text.to_owned());
    }
    let ids = TABLE.iter().map(|check| check.id);
    let similar: Vec<_> = ids.filter(|id| id.contains(text)).collect();
    let similar = if similar.is_empty() {
        String::new()
    } else {
        format!("; similar ids: {}", similar.join(", "))
    };
    Err(format!("no such check{similar}; `tincan check --list` shows all"))
}

/// Returns the name of a check's theme on the command line.
pub fn theme_id(check: &Check) -> String {
    check.theme.to_string().replace(' ', "-")
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        let mut text = Vec::new();
        list(&mut text, args.profile)?;
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(profile) = args.profile else { return Ok(ExitCode::from(2)) };
    if let Some(addr) = args.addr
        && let Err(err) = TcpStream::connect_timeout(&addr, LEAST_PATIENCE)
    {
        eprintln!("tincan: could not connect to {addr}: {err}");
        return Ok(ExitCode::from(3));
    }
    let job = match job(args, profile) {
        Ok(job) => job,
        Err(err) => {
            eprintln!("tincan: {err:#}");
            return Ok(ExitCode::from(2));
        }
    };
    if args.watch {
        let name = format!("check {profile}{} {}", options_text(args), job.invocation.target);
        let files = match ServerFiles::of_command(&args.command) {
            Ok(files) => files,
            Err(err) => {
                eprintln!("tincan: {err:#}");
                return Ok(ExitCode::from(2));
            }
        };
        rerun::check_at_each_save(&name, files, Until::Quit, || Ok(job.clone()))?;
        // Not reached: the user ends the program with a key or a signal.
        return Ok(ExitCode::SUCCESS);
    }
    check(job, args.format).map(ExitCode::from)
}

/// Returns what the command line asks for. An error means that the command line is wrong.
fn job(args: &Args, profile: Profile) -> Result<Job> {
    if args.tls && !profile.is_chat() {
        bail!("--tls is for chats, and {profile} is not a chat");
    }
    let source = match args.addr {
        Some(addr) => Source::Running(addr),
        None => Source::Command(args.command.clone()),
    };
    let target = match args.addr {
        Some(addr) => format!("--addr {addr}"),
        None => format!("-- {}", quoted(&args.command)),
    };
    let seed = args.seed;
    let check_it = format!("{} {profile}{}", called_as("check"), tls_options(args));
    let rerun_command = format!("{check_it} --only {{id}} --seed {seed} {target}");
    let hints = args.hints.unwrap_or_else(|| default_hints(args.watch));
    // With --watch, the learner wants the result soon.
    let tries = args.tries.unwrap_or(if args.watch { 1 } else { TRIES });
    let server = ServerUnderTest {
        profile,
        source,
        address_format: AddressFormat::default(),
        own: None,
        seed,
        patience: Duration::from_secs(args.patience),
        tls: tls(args)?,
    };
    let invocation =
        Invocation { profile, seed, hints, target, rerun_command, book_page: book_page() };
    let until = args.until.as_ref().map(|id| with_dependencies(profile, id));
    let is_selected = |check: &&Check| {
        let mut only = args.only.iter();
        let is_named =
            args.only.is_empty() || only.any(|it| *it == check.id || *it == theme_id(check));
        let is_before = until.as_ref().is_none_or(|ids| ids.contains(check.id));
        is_named && is_before && check.requirement(profile) != Requirement::None
    };
    let selected: HashSet<_> = TABLE.iter().filter(is_selected).map(|check| check.id).collect();
    if selected.is_empty() {
        bail!("the profile {profile} asks for none of these checks");
    }
    Ok(Job { server, invocation, selected, tries })
}

fn tls(args: &Args) -> Result<Option<TlsSettings>> {
    match &args.ca {
        Some(ca) => TlsSettings::with_ca(ca).map(Some),
        None => args.tls.then(TlsSettings::with_any_certificate).transpose(),
    }
}

/// Returns the options that say which checks run and how clients connect, as they were typed.
fn options_text(args: &Args) -> String {
    let mut text = tls_options(args);
    text.extend(args.only.iter().map(|it| format!(" --only {it}")));
    text.extend(args.until.iter().map(|it| format!(" --until {it}")));
    text
}

/// Returns the options about TLS, as they were typed.
fn tls_options(args: &Args) -> String {
    let ca = args.ca.as_ref().map(|ca| format!(" --ca {}", quoted(&[ca.clone().into_os_string()])));
    let tls = if args.tls { " --tls" } else { "" };
    format!("{tls}{}", ca.unwrap_or_default())
}

/// Runs the checks, prints the report, and returns the exit code.
pub fn check(job: Job, format: Format) -> Result<u8> {
    prepare();
    let progress = progress();
    let Job { server, invocation, selected, tries } = job;
    let mut failed = 0;
    let on_event = |event: Event<'_>| {
        match event {
            Event::Begins { check, number, total } => {
                if format == Format::Lines {
                    print_object(&json!({ "begins": check.id }));
                }
                let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
                let Check { id, title, .. } = check;
                progress.set_message(format!("{number} of {total}{failed}: {id} · {title}"));
            }
            Event::Failed { check, finding } => {
                failed += 1;
                if format == Format::Text {
                    // An error means that standard output is closed; the exit code still has the result.
                    progress.suspend(|| {
                        let text = failure_text(check, finding, &invocation);
                        let _ = print(format!("{text}\n").as_bytes());
                    });
                }
            }
            Event::Ended { check, outcome, took } => {
                if format == Format::Lines {
                    let row = json::short_row_as_json(check, outcome, took, &invocation);
                    print_object(&json!({ "ended": row }));
                }
            }
        }
        ControlFlow::Continue(())
    };
    let report = run_checks(server, |check| selected.contains(check.id), tries, on_event);
    progress.finish_and_clear();
    match report {
        Ok(report) => {
            let text = match format {
                Format::Text => report_text(&report, &invocation),
                Format::Json => format!("{:#}\n", json::as_json(&report, &invocation)),
                Format::Junit => junit::as_junit(&report, &invocation)?,
                Format::Lines => format!("{}\n", json!({ "notes": report.notes })),
            };
            print(text.as_bytes())?;
            Ok(report.exit_code())
        }
        Err(not_started) => {
            if format == Format::Lines {
                print_object(&json!({ "not_started": not_started.to_string() }));
            } else {
                eprintln!("tincan: {not_started}");
            }
            Ok(3)
        }
    }
}

/// Prints a JSON object as a line. If standard output is closed, nobody waits for the line.
pub fn print_object(object: &Value) {
    let _ = print(format!("{object}\n").as_bytes());
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
