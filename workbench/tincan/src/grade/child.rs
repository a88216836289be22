//! The child process that checks one submission: `tincan check` with limits, and with its results as lines.

use std::process::ExitCode;

use anyhow::Result;
use probe::server;
use serde_json::json;

use crate::check_command::{self, print_object};

/// Check one submission (`grade` starts this)
#[derive(clap::Args)]
pub struct ChildArgs {
    /// How many bytes the servers may print, and how long a file they may write
    #[arg(long)]
    output_bytes: u64,
    #[command(flatten)]
    check: check_command::Args,
}

pub fn be_child(args: &ChildArgs) -> Result<ExitCode> {
    limit_resources(args);
    // The reader of this line ends this process and its servers.
    server::limit_output(args.output_bytes, || print_object(&json!({ "printed_too_much": true })));
    check_command::run(&args.check)
}

/// Sets the limits that the kernel keeps, for the servers, which inherit them. If one cannot be set, the others and the
/// supervision still work.
#[cfg(unix)]
fn limit_resources(args: &ChildArgs) {
    use rlimit::Resource;
    let lower = |resource: Resource, most: u64| {
        if let Ok((soft, hard)) = resource.get() {
            let _ = resource.set(soft.min(most), hard.min(most));
        }
    };
    lower(Resource::CORE, 0);
    lower(Resource::FSIZE, args.output_bytes);
    // Thousands of busy processes must not keep `grade` from ending them.
    let _ = rustix::process::nice(10);
}

#[cfg(not(unix))]
fn limit_resources(_args: &ChildArgs) {}
