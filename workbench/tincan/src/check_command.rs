use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use check::{
    Asked, Check, Event, Format, Invocation, LEAST_PATIENCE, Naming, Profile, ServerUnderTest,
    Source, TABLE, climb, list, one_failure, write_report,
};
use indicatif::ProgressBar;
use probe::server;
use probe::tls::Tls;

use crate::output::print;

/// Check a server, in any language, against the ladder of its kind
///
/// The command is started as it is, without a shell, once for each check. `{port}` and `{host}` in
/// it are replaced; the variables PORT and HOST say the same.
///
/// Exit code: 0 all passed, 1 some failed, 2 could not decide, 3 the server could not be started.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo tincan check echo-uni -- python3 my_server.py {port}\n  \
    cargo tincan check chat --only framing --hints 3 -- node chat.js {port}\n  \
    cargo tincan check chat-poll -- target/debug/chat-poll --port {port}\n  \
    cargo tincan check chat --addr 127.0.0.1:4040\n  \
    cargo tincan check chat --tls -- python3 my_tls_chat.py {port}\n  \
    cargo tincan check --list")]
pub struct Args {
    /// What the server claims to be
    #[arg(required_unless_present = "list")]
    profile: Option<Profile>,
    /// List every check with the rule that it tests, and run none
    #[arg(long)]
    list: bool,
    /// Check the server that runs at this address, and start none
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "command")]
    addr: Option<SocketAddr>,
    /// Speak TLS with it: all its clients are inside TLS (1.3 or 1.2); for chats
    ///
    /// Any certificate is taken, a self-signed one too, unless --ca is given. All checks are asked, but in
    /// TLS 1.2 not frame-half-close: there, the end of one direction is the end of both.
    #[arg(long)]
    tls: bool,
    /// Take its certificate only if a CA in this file (PEM) has signed it, for localhost
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// Run only this check, or this part of the ladder; can be given several times
    #[arg(long, value_name = "ID", value_parser = id_or_theme)]
    only: Vec<String>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where to cut and when to leave: the same number, the same choices
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    /// How much help with a failure: 1 what is likely wrong, 2 where to look, 3 how to mend it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    hints: u8,
    /// Wait at least so long for what must happen: more than 3 if the machine is busy
    #[arg(long, value_name = "SECONDS", default_value_t = LEAST_PATIENCE.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// The command that starts the server
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    #[arg(required_unless_present_any = ["list", "addr"])]
    command: Vec<OsString>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|err| {
        format!("{err}; an address and a port are wanted, such as 127.0.0.1:4040")
    })?;
    // IPv4 before IPv6, where a name has both.
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| "no such host".to_owned())
}

fn id_or_theme(text: &str) -> Result<String, String> {
    let text = text.replace(' ', "-");
    let is_known = |check: &Check| check.id == text || theme_id(check) == text;
    if TABLE.iter().any(is_known) {
        return Ok(text);
    }
    let like: Vec<_> = TABLE.iter().map(|check| check.id).filter(|id| id.contains(&text)).collect();
    let like =
        if like.is_empty() { String::new() } else { format!("; like it: {}", like.join(", ")) };
    Err(format!("no such check{like}; `tincan check --list` shows all"))
}

/// A theme as one writes it on a command line.
fn theme_id(check: &Check) -> String {
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
    if args.tls && !profile.is_chat() {
        eprintln!("tincan: --tls is for chats, and {profile} is none");
        return Ok(ExitCode::from(2));
    }
    let (source, shown) = match args.addr {
        Some(addr) => (Source::Running(addr), format!("--addr {addr}")),
        None => (Source::Command(args.command.clone()), format!("-- {}", quoted(&args.command))),
    };
    if let Some(addr) = args.addr
        && let Err(err) = TcpStream::connect_timeout(&addr, LEAST_PATIENCE)
    {
        eprintln!("tincan: nobody can be reached at {addr}: {err}");
        return Ok(ExitCode::from(3));
    }
    let Args { seed, hints, .. } = *args;
    let check_it = format!("{} {profile}{}", called_as("check"), inside(args));
    let again = format!("{check_it} --only {{id}} --seed {seed} {shown}");
    let call = Invocation { profile, seed, hints, target: shown, again };
    let patience = Duration::from_secs(args.patience);
    let naming = Naming::default();
    let tls = match tls(args) {
        Ok(tls) => tls,
        Err(err) => {
            eprintln!("tincan: {err:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let subject = ServerUnderTest { profile, source, naming, own: None, seed, patience, tls };
    let wanted = |check: &Check| {
        let only = &args.only;
        only.is_empty() || only.iter().any(|it| *it == check.id || *it == theme_id(check))
    };
    let asked = |check: &Check| wanted(check) && check.asked(profile) != Asked::Nothing;
    if !TABLE.iter().any(asked) {
        eprintln!("tincan: of these checks, {profile} is asked none");
        return Ok(ExitCode::from(2));
    }
    check(subject, &call, args.format, wanted).map(ExitCode::from)
}

fn tls(args: &Args) -> Result<Option<Tls>> {
    match &args.ca {
        Some(ca) => Tls::trusting(ca).map(Some),
        None => args.tls.then(Tls::trusting_anybody).transpose(),
    }
}

/// What of the command line says how TLS is spoken.
fn inside(args: &Args) -> String {
    let ca = args.ca.as_ref().map(|ca| format!(" --ca {}", quoted(&[ca.clone().into_os_string()])));
    let tls = if args.tls { " --tls" } else { "" };
    format!("{tls}{}", ca.unwrap_or_default())
}

/// Runs one check of a server, and gives the exit code and what has to be typed to run all.
pub fn check_one(
    profile: Profile,
    id: &str,
    hints: u8,
    command: Vec<OsString>,
) -> Result<(u8, String)> {
    let shown = format!("-- {}", quoted(&command));
    let all = format!("{} {profile} {shown}", called_as("check"));
    let again = format!("{} {profile} --only {{id}} {shown}", called_as("check"));
    let call = Invocation { profile, seed: SEED, hints, target: shown, again };
    let source = Source::Command(command);
    let (naming, patience) = (Naming::default(), LEAST_PATIENCE);
    let (own, seed, tls) = (None, SEED, None);
    let subject = ServerUnderTest { profile, source, naming, own, seed, patience, tls };
    Ok((check(subject, &call, Format::Text, |check| check.id == id)?, all))
}

const SEED: u64 = 1;

fn check(
    subject: ServerUnderTest,
    call: &Invocation,
    format: Format,
    wanted: impl Fn(&Check) -> bool,
) -> Result<u8> {
    prepare();
    let progress = progress();
    let mut failed = 0;
    let tell = |event: Event<'_>| match event {
        Event::Begins { check, nth, of } => {
            let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            progress.set_message(format!("{nth} of {of}{failed}: {} · {}", check.id, check.title));
        }
        Event::Failed { check, finding } => {
            failed += 1;
            if format == Format::Text {
                // A reader that has seen enough is told the result by the exit code.
                progress.suspend(|| {
                    let _ = print(format!("{}\n", one_failure(check, finding, call)).as_bytes());
                });
            }
        }
    };
    let report = climb(subject, wanted, tell);
    progress.finish_and_clear();
    match report {
        Ok(report) => {
            let mut text = Vec::new();
            write_report(&mut text, &report, call, format)?;
            print(&text)?;
            Ok(report.exit_code())
        }
        Err(not_started) => {
            eprintln!("tincan: {not_started}");
            Ok(3)
        }
    }
}

/// Room for many clients, and no server left behind, however this program ends.
fn prepare() {
    // If the limit stays low, the checks with a crowd say so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    crate::signals::start_watchdog();
    server::adopt_orphans();
    crate::signals::end_servers_at_signals();
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

/// The command as a shell would read it back; what is not text is shown as well as can be.
pub fn quoted(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let quote = |word: &str| match shlex::try_quote(word) {
        // Braces mean something only with a comma or dots between them.
        Ok(_) if word.replace(['{', '}'], "").chars().all(is_plain) => word.to_owned(),
        Ok(quoted) => quoted.into_owned(),
        Err(_) => word.to_owned(),
    };
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn is_plain(ch: char) -> bool {
    ch.is_ascii_alphanumeric() || "-_./:=@%+".contains(ch)
}

/// A subcommand as it was called: through cargo, or by itself.
pub fn called_as(subcommand: &str) -> String {
    if std::env::var_os("CARGO").is_some() {
        return format!("cargo tincan {subcommand}");
    }
    let program = std::env::args_os().next().unwrap_or_else(|| "tincan".into());
    format!("{} {subcommand}", quoted(&[program]))
}
