//! Checks the command line, and the addresses on which a server listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

use crate::check::own_check;
use crate::log_events::expect_once;
use crate::needs::may_use_low_ports;
use crate::profile::STAGES;
use crate::{Bench, Check, Needs, Serves, Theme};
use probe::port::Port;
use probe::server::{Exited, Launch};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "cli-port-zero",
        Theme::CommandLine,
        STAGES,
        port_zero,
        "§1: `0` lets the system pick.",
    )
    .non_stages(Serves::One),
    own_check("cli-port-given", Theme::CommandLine, STAGES, port_given, "§1: `--port PORT`.")
        .non_stages(Serves::One),
    own_check(
        "cli-port-default",
        Theme::CommandLine,
        STAGES,
        port_default,
        "§2: default port 4040.",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-host-default",
        Theme::CommandLine,
        STAGES,
        host_default,
        "§1: Default `127.0.0.1`: nobody outside this machine gets in unless asked.",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-host-any-v4",
        Theme::CommandLine,
        STAGES,
        host_any_v4,
        "§1: `0.0.0.0` or `::` opens it.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "cli-host-any-v6",
        Theme::CommandLine,
        STAGES,
        host_any_v6,
        "§1: `::` takes IPv4 clients too.",
    )
    .non_stages(Serves::OneAtATime)
    .needs(Needs::Ipv6),
    own_check(
        "cli-host-v6",
        Theme::CommandLine,
        STAGES,
        host_v6_loopback,
        "§1: interface to listen on: an IPv4 or IPv6 address. `ADDR` is a socket address as \
         Rust prints it: `[::1]:50312`.",
    )
    .non_stages(Serves::One)
    .needs(Needs::Ipv6),
    own_check(
        "cli-host-name",
        Theme::CommandLine,
        STAGES,
        host_name,
        "§1: interface to listen on: … or a host name.",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-host-unknown",
        Theme::CommandLine,
        STAGES,
        host_unknown,
        "§1: 1 with a one-line reason on stderr when it cannot start (no such host).",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-port-taken",
        Theme::CommandLine,
        STAGES,
        port_taken,
        "§1: 1 with a one-line reason on stderr when it cannot start (port taken).",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-no-permission",
        Theme::CommandLine,
        STAGES,
        no_permission,
        "§1: 1 with a one-line reason on stderr when it cannot start (no permission).",
    )
    .non_stages(Serves::One)
    .needs(Needs::LowPorts),
    own_check(
        "cli-usage",
        Theme::CommandLine,
        STAGES,
        usage_errors,
        "§1: exit code 2 for a usage error.",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-help",
        Theme::CommandLine,
        STAGES,
        help,
        "§1: `--help` on every binary, with an example under \"Examples\".",
    )
    .non_stages(Serves::One),
    own_check(
        "cli-version",
        Theme::CommandLine,
        STAGES,
        version,
        "§1: `--version` on every binary.",
    )
    .non_stages(Serves::One),
    #[cfg(unix)]
    own_check(
        "cli-stdout",
        Theme::CommandLine,
        STAGES,
        stdout_is_one_line,
        "§1: stdout: exactly one line, `Listening on ADDR`, flushed once connections are \
         accepted.",
    )
    .non_stages(Serves::OneAtATime),
];

pub(super) fn port_zero(bench: &Bench) -> Result<()> {
    // Two servers run at the same time, each on a port of its own.
    let (one, two) = (bench.start_with_args(&[])?, bench.start_with_args(&[])?);
    if one.addr() == two.addr() || one.addr().port() == 0 {
        return fail(
            "started two servers on port 0",
            "two different ports",
            format!("{one:?}, {two:?}"),
        );
    }
    bench.expect_new_client_served(&one)?;
    bench.expect_new_client_served(&two)
}

pub(super) fn port_given(bench: &Bench) -> Result<()> {
    let port = Port::reserve()?;
    let server =
        bench.start_with_own_args(bench.launch_with_args(&["--port", &port.to_string()])?)?;
    if server.addr().port() != port.number() {
        return fail(format!("started {server:?}"), format!("port {port}"), server.addr());
    }
    bench.expect_new_client_served(&server)
}

/// Checks that a server whose default port is taken says so: the check takes the port, unless
/// another process has it already.
pub(super) fn port_default(bench: &Bench) -> Result<()> {
    let port = default_port(bench);
    let mut held = None;
    // A test of another server may use the port for a moment. If another program keeps it, the server finds
    // it taken as well.
    wait_until(TIMEOUT, || {
        held = TcpListener::bind(("127.0.0.1", port)).ok();
        Ok(held.is_some())
    })?;
    cannot_start(bench, &[], &port.to_string())
}

fn default_port(bench: &Bench) -> u16 {
    /// The default port of the stages.
    const TIN_CAN: u16 = 4040;
    bench.own_server().map_or(TIN_CAN, |it| it.default_port)
}

pub(super) fn host_default(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    if server.addr().ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return fail("started without --host", "127.0.0.1", server.addr());
    }
    if cfg!(target_os = "linux") {
        refused_at(SocketAddr::from(([127, 0, 0, 2], server.addr().port())))?;
    }
    Ok(())
}

/// Expects that no server listens on this address.
fn refused_at(addr: SocketAddr) -> Result<()> {
    match TcpStream::connect_timeout(&addr, TIMEOUT) {
        // A connection to a port without a listener may connect to itself (RFC 9293, simultaneous
        // open).
        Ok(stream) if stream.local_addr()? != addr => {
            fail(format!("connected to {addr}"), "the connection is refused", "a connection")
        }
        _ => Ok(()),
    }
}

pub(super) fn host_any_v4(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--host", "0.0.0.0"])?;
    let mut hosts = vec![Ipv4Addr::LOCALHOST];
    if cfg!(target_os = "linux") {
        hosts.push(Ipv4Addr::new(127, 0, 0, 2));
    }
    for host in hosts {
        let mut client = Client::connect(SocketAddr::from((host, server.addr().port())))?;
        bench.exchange(&mut client, "from another interface")?;
    }
    Ok(())
}

pub(super) fn host_any_v6(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--host", "::"])?;
    let port = server.addr().port();
    let mut client = Client::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))?;
    bench.exchange(&mut client, "over IPv6")?;
    // A server with one client at a time waits for a client that stays connected.
    drop(client);
    let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    if bench.own_server().is_some() {
        return bench.exchange(&mut client, "over IPv4");
    }
    client.send_msg("over IPv4")?;
    let SocketAddr::V4(v4) = client.addr() else {
        return fail("connected over IPv4", "an IPv4 address", client.addr());
    };
    // A dual-stack socket sees IPv4 clients at addresses such as ::ffff:127.0.0.1.
    let mapped = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
    let answers = [client.addr(), mapped].map(|addr| bench.expected_answer(addr, "over IPv4"));
    let heard = client.recv(TIMEOUT)?;
    if answers.iter().any(|answer| heard == Received::Msg(answer.clone().into_bytes())) {
        return Ok(());
    }
    fail(client.transcript(), format!("one of {answers:?}"), heard)
}

pub(super) fn host_v6_loopback(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--host", "::1"])?;
    let mut client = bench.connect_accepted(&server)?;
    let addr = format!("[::1]:{}", client.addr().port());
    expect_once(server.log(), &format!("Connection from {addr}"))?;
    bench.exchange(&mut client, "IPv6")
}

pub(super) fn host_name(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--host", "localhost"])?;
    if !server.addr().ip().is_loopback() {
        return fail("started with --host localhost", "a loopback address", server.addr());
    }
    bench.expect_new_client_served(&server)
}

pub(super) fn host_unknown(bench: &Bench) -> Result<()> {
    // RFC 2606 keeps .invalid free of names, RFC 5737 keeps 192.0.2.0/24 free of machines.
    for host in ["no-such-host.invalid", "192.0.2.1", "not a host"] {
        cannot_start(bench, &["--host", host, "--port", "0"], host)?;
    }
    Ok(())
}

pub(super) fn port_taken(bench: &Bench) -> Result<()> {
    let holder = TcpListener::bind(("127.0.0.1", 0))?;
    let port = holder.local_addr()?.port().to_string();
    cannot_start(bench, &["--port", &port], &port)
}

pub(super) fn no_permission(bench: &Bench) -> Result<()> {
    let launch = bench.launch_with_args(&["--port", "1"])?;
    let launch = if may_use_low_ports() { launch.without_privileged_ports() } else { launch };
    refuses_to_start(&launch, "127.0.0.1:1")
}

/// Checks that the server ends with code 1 and one line that contains `names`, even where Rust
/// would add a backtrace.
fn cannot_start(bench: &Bench, args: &[&str], names: &str) -> Result<()> {
    refuses_to_start(&bench.launch_with_args(args)?, names)
}

pub(super) fn refuses_to_start(launch: &Launch, names: &str) -> Result<()> {
    for backtrace in [None, Some("1"), Some("full")] {
        let launch = backtrace
            .into_iter()
            .fold(launch.clone(), |launch, it| launch.env("RUST_BACKTRACE", it));
        let ended = launch.clone().run_to_end()?;
        let one_line = matches!(&ended.stderr[..], [line] if line.contains(names));
        if ended.status.code() != Some(1) || !ended.stdout.is_empty() || !one_line {
            let expected =
                format!("exit code 1, nothing on stdout, one line on stderr with `{names}`");
            return fail(format!("ran {launch}"), expected, ended);
        }
    }
    Ok(())
}

pub(super) fn usage_errors(bench: &Bench) -> Result<()> {
    let wrong: [&[&str]; 11] = [
        &["--no-such-flag", "--port", "0"],
        &["-Z", "--port", "0"],
        &["--port", "telnet"],
        &["--port", "65536"],
        &["--port", "-1"],
        &["--port", ""],
        &["--port"],
        &["--port", "0", "--host"],
        &["--port", "0", "extra"],
        &["--port", "0", "--max-clients", "0"],
        &["--port", "0", "--max-clients", "many"],
    ];
    for args in wrong {
        let launch = bench.launch_with_args(args)?;
        let ended = launch.clone().run_to_end()?;
        if ended.status.code() != Some(2) || !ended.stdout.is_empty() || ended.stderr.is_empty() {
            let expected = "exit code 2, nothing on stdout, the mistake on stderr";
            return fail(format!("ran {launch}"), expected, ended);
        }
    }
    Ok(())
}

pub(super) fn help(bench: &Bench) -> Result<()> {
    let port = default_port(bench).to_string();
    let mut words = vec![
        "Examples",
        "--host",
        "--port",
        &port,
        "127.0.0.1",
        "--max-clients",
        "--trace",
        "--help",
        "--version",
        "-v",
        "-q",
    ];
    if bench.profile().is_chat() {
        words.push("--others-only");
    }
    let ended = expect_exit_0(bench, "--help")?;
    let text = ended.stdout.join("\n");
    for word in words {
        if !text.contains(word) {
            return fail("ran with --help", format!("`{word}` in the text"), text);
        }
    }
    Ok(())
}

pub(super) fn version(bench: &Bench) -> Result<()> {
    let ended = expect_exit_0(bench, "--version")?;
    let number =
        |word: &str| word.split('.').filter(|part| part.parse::<u32>().is_ok()).count() >= 2;
    match &ended.stdout[..] {
        [line] if line.split_whitespace().any(number) => Ok(()),
        _ => fail("ran with --version", "one line with a version number", ended),
    }
}

fn expect_exit_0(bench: &Bench, flag: &str) -> Result<Exited> {
    let ended = bench.launch_with_args(&[flag])?.run_to_end()?;
    if ended.status.code() == Some(0) && ended.stderr.is_empty() {
        return Ok(ended);
    }
    fail(format!("ran with {flag}"), "exit code 0, nothing on stderr", ended)
}

/// Checks that a server prints only one line, even if it serves clients and ends, and that the
/// address in it works.
#[cfg(unix)]
pub(super) fn stdout_is_one_line(bench: &Bench) -> Result<()> {
    let mut server = bench.start_with_args(&["-v"])?;
    for _ in 0..3 {
        bench.expect_new_client_served(&server)?;
    }
    bench.send_protocol_error(&server)?;
    server.signal(probe::server::Signal::TERM)?;
    server.expect_exit("sent SIGTERM")?;
    let stdout = server.output_lines()?.0;
    let line = format!("Listening on {}", server.addr());
    if stdout == [line.clone()] {
        return Ok(());
    }
    fail(
        "let the server serve clients and end",
        format!("`{line}` alone on stdout"),
        format!("{stdout:#?}"),
    )
}
