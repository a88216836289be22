//! Measures a server that runs already, and prints all figures.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lab::{Case, Experiment, Figures, MeasuredServer, Process, Protocol, Settings, recognize};

use crate::output::print;

/// The protocol of a server, as it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ProtocolName {
    /// One message is sent back, then the connection is closed
    Echo,
    /// The tin-can chat
    Chat,
    /// The tin-can chat inside TLS
    ChatTls,
    /// Lines, which all but the sender receive, such as `ncat --broker`
    Lines,
    /// Redis, publish and subscribe
    Redis,
    /// NATS, publish and subscribe
    Nats,
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Echo => Self::Echo,
            ProtocolName::Chat => Self::TinCan,
            ProtocolName::ChatTls => Self::TinCanTls,
            ProtocolName::Lines => Self::Lines,
            ProtocolName::Redis => Self::Redis,
            ProtocolName::Nats => Self::Nats,
        }
    }
}

/// Checks that the process is given where an experiment that was asked for needs it.
pub fn check(asked: &[&Experiment], pid: Option<u32>) -> Result<(), String> {
    let needs_pid = |it: &&&Experiment| it.needs_process && pid.is_none();
    match asked.iter().find(needs_pid) {
        Some(experiment) => Err(format!(
            "{} reads the server's memory: it needs the process of the server, with --pid",
            experiment.id
        )),
        None => Ok(()),
    }
}

/// Describes a server that runs already. Connects to it to find out its protocol, unless the protocol was given.
pub fn describe_server(
    addr: SocketAddr,
    protocol: Option<ProtocolName>,
    pid: Option<u32>,
) -> Result<MeasuredServer> {
    let protocol = match protocol {
        Some(name) => name.into(),
        None => recognize(addr).with_context(|| {
            format!("cannot find out which protocol the server at {addr} speaks; name it with --protocol")
        })?,
    };
    Ok(MeasuredServer { addr, protocol, process: pid.map(Process::new) })
}

/// Runs each experiment once in each of its cases, and prints the figures.
pub fn measure(
    server: &MeasuredServer,
    experiments: &[&'static Experiment],
    settings: &Settings,
    as_json: bool,
) -> Result<ExitCode> {
    let has_process = server.process.is_some();
    let is_possible = |it: &&&Experiment| has_process || !it.needs_process;
    let mut has_measured = false;
    let mut has_faults = false;
    for experiment in experiments.iter().filter(is_possible) {
        for case in (experiment.cases)(settings) {
            if let Some(why) = (experiment.unsuited)(server.protocol, &case) {
                eprintln!("{}, {}: not measured: {why}", experiment.id, case.label);
                continue;
            }
            let figures = (experiment.measure)(server, &case, settings)
                .with_context(|| format!("{}, {}", experiment.id, case.label))?;
            has_measured = true;
            has_faults |= !figures.faults.is_empty();
            print(written(experiment, &case, &figures, as_json).as_bytes())?;
        }
    }
    Ok(match (has_measured, has_faults) {
        (false, _) => {
            eprintln!("tincan: none of these experiments can measure this server");
            ExitCode::from(2)
        }
        (true, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
    })
}

fn written(experiment: &Experiment, case: &Case, figures: &Figures, as_json: bool) -> String {
    if !as_json {
        return format!("{}, {}\n{figures}\n", experiment.id, case.label);
    }
    let mut object = figures.to_json();
    object.insert("experiment".into(), experiment.id.into());
    object.insert("case".into(), case.label.clone().into());
    format!("{}\n", serde_json::Value::Object(object))
}
