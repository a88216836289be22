//! `tincan servers`: lists the servers of this project.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use probe::servers::{SERVERS, ServerInfo};
use serde_json::json;

use crate::output::print;
use crate::terminal::{BOLD, DIM};

/// List the servers of this project: profiles, ports, and what to compare each with
#[derive(clap::Args)]
#[command(after_help = "The profile is the first argument of `cargo tincan check`.\n\n\
    Examples:\n  \
    cargo tincan servers\n  \
    cargo tincan servers --json")]
pub struct Args {
    /// Print JSON, with the source file of each server and with what changes between the two that are
    /// compared
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    print(if args.json { json() } else { table() }.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn table() -> String {
    let row = |cells: [&str; 5]| {
        let [name, package, profile, port, with] = cells;
        let line = format!("{name:<17} {package:<15} {profile:<13} {port:>5}  {with}");
        line.trim_end().to_owned()
    };
    let head = row(["program", "package", "profile", "port", "compare with"]);
    let mut text = format!("{BOLD}{head}{BOLD:#}\n");
    for (title, is_stage) in [("stages", true), ("variations", false)] {
        let _ = writeln!(text, "{DIM}{title}{DIM:#}");
        for server in SERVERS.iter().filter(|server| server.is_stage == is_stage) {
            let with = server.compared_with.map_or("-", |it| it.server);
            let profile = server.profile.unwrap_or("-");
            let port = server.port.to_string();
            let _ = writeln!(text, "{}", row([server.name, server.package, profile, &port, with]));
        }
    }
    text
}

/// Returns all fields of all servers, one server a line.
fn json() -> String {
    let object = |server: &ServerInfo| {
        json!({
            "name": server.name,
            "package": server.package,
            "source": server.source,
            "is_stage": server.is_stage,
            "behaviour": server.behaviour.name(),
            "profile": server.profile,
            "port": server.port,
            "compared_with": server.compared_with.map(|it| it.server),
            "change": server.compared_with.and_then(|it| it.change),
            "is_tls": server.is_tls,
            "needs_nats": server.needs_nats,
        })
    };
    let objects: Vec<_> = SERVERS.iter().map(|server| format!("  {}", object(server))).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}
