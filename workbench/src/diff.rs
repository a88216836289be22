use std::process::ExitCode;

use anyhow::{Result, bail};

/// Two stages side by side, or a stage and a file of your own.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> Result<ExitCode> {
    bail!("not there yet")
}
