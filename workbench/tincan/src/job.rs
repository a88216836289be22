//! The settings of one run of the checks.

use std::collections::HashSet;
use std::ffi::OsString;

use check::{AddressFormat, Invocation, LEAST_PATIENCE, Profile, ServerUnderTest, Source, TRIES};
use probe::server;

use crate::command_line::{book_page, called_as, quoted};
use crate::rerun::has_keys;
use crate::signals;

/// The default seed of the random choices.
pub const SEED: u64 = 1;

/// The default number of hints with a failure.
pub const HINTS: u8 = 1;

/// Returns the default number of hints with a failure, with or without `--watch`. Where a key shows the next hint,
/// no hint is shown at first.
pub fn default_hints(watch: bool) -> u8 {
    if watch && has_keys() { 0 } else { HINTS }
}

/// A server, the checks that it must pass, and how to run them.
#[derive(Clone)]
pub struct Job {
    pub server: ServerUnderTest,
    pub invocation: Invocation,
    /// The ids of the checks.
    pub selected: HashSet<&'static str>,
    /// How many times to try a check that fails because an answer comes too late.
    pub tries: u8,
}

impl Job {
    /// Returns the job to run one check of a server that is started by this command.
    pub fn for_one_check(
        profile: Profile,
        id: &'static str,
        hints: u8,
        command: Vec<OsString>,
    ) -> Self {
        let target = format!("-- {}", quoted(&command));
        let rerun_command = format!("{} {profile} --only {{id}} {target}", called_as("check"));
        let invocation = Invocation {
            profile,
            seed: SEED,
            hints,
            target,
            rerun_command,
            book_page: book_page(),
        };
        let server = ServerUnderTest {
            profile,
            source: Source::Command(command),
            address_format: AddressFormat::default(),
            own: None,
            seed: SEED,
            patience: LEAST_PATIENCE,
            tls: None,
        };
        Self { server, invocation, selected: HashSet::from([id]), tries: TRIES }
    }
}

/// Raises the limit of descriptors, and makes sure that no server outlives this program.
pub fn prepare() {
    // If the limit stays low, the checks with many clients report it.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    signals::start_watchdog();
    server::adopt_orphans();
    signals::end_servers_at_signals();
}
