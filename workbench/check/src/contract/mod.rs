//! What a server of this project promises besides what any server has to do: the command line, the
//! log, the limits that can be set, and some things harder than the ladder asks.
//!
//! A stage's `tests/contract.rs`, with `harness = false`, is no more than
//!
//! ```no_run
//! use crate::Profile;
//!
//! # let program = "chat-poll";
//! crate::contract::run(Profile::ChatPoll, program);
//! ```
//!
//! with `env!("CARGO_BIN_EXE_chat-poll")` as the program. The arguments are those of `cargo test`:
//! part of a check's id runs that check alone.

mod chat;
mod cli;
pub mod common;
mod echo;
pub(crate) mod events;
#[cfg(unix)]
mod exhaustion;
mod framing;
#[cfg(target_os = "linux")]
pub mod interrupted;
mod leaving;
mod limits;
mod log;
mod memory;
mod outlets;
mod rules;
#[cfg(unix)]
mod shortage;
mod slow;
#[cfg(unix)]
mod stopping;
mod survival;
mod table;
#[cfg(unix)]
mod trace;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Asked, Check, Invocation, LADDER, Profile, Subject, Verdict, one_failure, plain};

pub use table::TABLE;

/// The checks that run at once unless `--test-threads` says otherwise: most of them only wait.
const AT_ONCE: usize = 8;

/// Runs all checks of a profile against a program, the ladder's and the contract's, and ends this
/// process with the result.
pub fn run(profile: Profile, program: &str) -> ! {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    // One check has a thousand clients; if the limit stays low, that check says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let subject = Subject::new(profile, program);
    let rows = LADDER.iter().chain(TABLE);
    let rows = rows.filter(|check| check.asked(profile) != Asked::Nothing);
    let trials = rows.map(|check| trial(check.id.to_owned(), check, subject.clone())).collect();
    libtest_mimic::run(&args, trials).exit()
}

fn trial(name: String, check: &'static Check, subject: Subject) -> Trial {
    let judge = move || verdict(check, &subject).map_err(Failed::from);
    Trial::test(name, judge).with_ignored_flag(!check.needs.met())
}

fn verdict(check: &Check, subject: &Subject) -> Result<(), String> {
    let mut notes = Vec::new();
    match check.judge(subject, &mut notes) {
        Verdict::Passed if notes.is_empty() => Ok(()),
        Verdict::Passed => Err(format!("the server left behind {}", notes.join(", "))),
        Verdict::Failed(finding) => {
            let Subject { profile, seed, .. } = *subject;
            let again = format!("{} -- {{id}}", cargo_test(profile));
            let call = Invocation { profile, seed, hints: 1, target: String::new(), again };
            Err(format!("\n{}", plain(&one_failure(check, &finding, &call))))
        }
        Verdict::Undecided(why) => Err(why),
        Verdict::NotStarted(err) => Err(err.to_string()),
    }
}

/// The command that runs the tests of this process again.
fn cargo_test(profile: Profile) -> String {
    let own = || {
        let program = std::env::current_exe().ok()?;
        let (test, _hash) = program.file_stem()?.to_str()?.rsplit_once('-')?;
        Some(format!("cargo test -p {} --test {test}", std::env::var("CARGO_PKG_NAME").ok()?))
    };
    let of_a_stage = format!("cargo test -p {profile} --test contract");
    own().unwrap_or(of_a_stage)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_check_has_an_id_of_its_own_and_cites_its_rule() {
        let mut ids: HashSet<_> = LADDER.iter().map(|check| check.id).collect();
        for check in TABLE {
            assert!(ids.insert(check.id), "{} twice", check.id);
            assert!(check.rule.starts_with('§'), "{}: {}", check.id, check.rule);
            assert!(!check.who.is_empty(), "{}", check.id);
        }
    }
}
