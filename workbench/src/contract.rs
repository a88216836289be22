//! The checks of a profile as the tests of a stage.
//!
//! A stage's `tests/contract.rs`, with `harness = false`, is no more than
//!
//! ```no_run
//! use workbench::check::Profile;
//!
//! # let program = "chat-poll";
//! workbench::contract::run(Profile::ChatPoll, program);
//! ```
//!
//! with `env!("CARGO_BIN_EXE_chat-poll")` as the program. The arguments are those of `cargo test`:
//! part of a check's id runs that check alone.

use libtest_mimic::{Arguments, Failed, Trial};

use crate::check::{Check, LADDER, Profile, Subject};

/// The checks that run at once unless `--test-threads` says otherwise: most of them only wait.
const AT_ONCE: usize = 8;

/// Runs all checks of a profile against a program, and ends this process with the result.
pub fn run(profile: Profile, program: &str) -> ! {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    // One check has a thousand clients; if the limit stays low, that check says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let subject = Subject::new(profile, program);
    let rows = LADDER.iter().filter(|check| check.who.contains(&profile));
    let trials = rows.map(|check| trial(check, subject.clone())).collect();
    libtest_mimic::run(&args, trials).exit()
}

fn trial(check: &'static Check, subject: Subject) -> Trial {
    let judge = move || check.judge(&subject).map_err(|err| Failed::from(format!("{err:#}")));
    Trial::test(check.id, judge).with_ignored_flag(!check.needs.met())
}
