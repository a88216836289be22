//! Runs the checks as tests of a server of this project.
//!
//! A stage's `tests/contract.rs`, with `harness = false` in its `Cargo.toml`, consists of
//!
//! ```no_run
//! use check::{Profile, test_stage};
//!
//! # let program = "chat-poll";
//! test_stage(Profile::ChatPoll, program);
//! ```
//!
//! with `env!("CARGO_BIN_EXE_chat-poll")` as the program. For a server with another protocol, the file defines
//! how a client talks to it:
//!
//! ```no_run
//! use check::{OwnServer, test_servers};
//! use probe::wire::Client;
//!
//! fn one_line(client: &mut Client) -> anyhow::Result<()> {
//!     client.send(b"hello\n")?;
//!     client.expect_bytes(b"You said: hello\n")
//! }
//!
//! # let program = "echo-framework";
//! let server = OwnServer::new(program, 8800, one_line);
//! test_servers(&[server.logged_request(|text| format!("{text}\n").into_bytes())]);
//! ```
//!
//! The arguments are those of `cargo test`: a part of a check's id runs only the checks whose ids contain it.

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    BOOK_IN_CLONE, Check, Invocation, Judgement, OwnServer, Profile, Requirement, ServerUnderTest,
    TABLE, Verdict, failure_text, plain,
};

/// How many checks run at once without `--test-threads`: most of the time, a check waits.
const AT_ONCE: usize = 12;

/// The checks that wait for the write deadline, which is 10 s.
///
/// They run only if `TINCAN_EVERY_CHECK` is in the environment, in a step of `.ci/run`: the tests of each chat would
/// otherwise take 11 s instead of 6 s.
const DEADLINE: [&str; 2] = ["slow-suspended-server", "slow-write-deadline"];

/// Other long checks. Like the checks that wait for the deadline, they start first, so that other checks run at the
/// same time.
const LONG: [&str; 2] = ["survive-interrupted", "close-interrupted"];

/// Runs all checks of a stage against its program, and ends this process with the result.
pub fn test_stage(profile: Profile, program: &str) -> ! {
    let server = ServerUnderTest::new(profile, program);
    let has_every_check = std::env::var_os("TINCAN_EVERY_CHECK").is_some();
    let rows = TABLE.iter().filter(|check| check.is_for_stage(profile));
    let rows = rows.filter(|check| has_every_check || !DEADLINE.contains(&check.id));
    run(rows.map(|check| trial(check.id.to_owned(), check, server.clone())).collect())
}

/// Runs the tests, the longest first, and ends this process with the result.
fn run(mut trials: Vec<Trial>) -> ! {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    // One check connects 1,000 clients; if the limit cannot be raised, that check reports it.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let is_long = |trial: &Trial| DEADLINE.iter().chain(&LONG).any(|id| trial.name().ends_with(id));
    trials.sort_by_key(|trial| !is_long(trial));
    libtest_mimic::run(&args, trials).exit()
}

fn trial(name: String, check: &'static Check, server: ServerUnderTest) -> Trial {
    let judge = move || verdict(check, &server).map_err(Failed::from);
    Trial::test(name, judge).with_ignored_flag(!check.needs.met())
}

fn verdict(check: &Check, server: &ServerUnderTest) -> Result<(), String> {
    let Judgement { verdict, leftovers } =
        check.judge(server).map_err(|not_started| not_started.to_string())?;
    match verdict {
        Verdict::Passed if leftovers.is_empty() => Ok(()),
        Verdict::Passed => Err(format!(
            "the server ended, but left these processes running: {}",
            leftovers.join(", ")
        )),
        Verdict::Failed(finding) => {
            let ServerUnderTest { profile, seed, .. } = *server;
            let (target, rerun_command) = (String::new(), rerun_command());
            let book_page = BOOK_IN_CLONE;
            let call = Invocation { profile, seed, hints: 1, target, rerun_command, book_page };
            Err(format!("\n{}", plain(&failure_text(check, &finding, &call))))
        }
        Verdict::Undecided(why) => Err(why),
    }
}

/// Returns the command that runs one test of this process again, with `{id}` for the check.
fn rerun_command() -> String {
    let through_cargo = || {
        let package = std::env::var("CARGO_PKG_NAME").ok()?;
        let program = std::env::current_exe().ok()?;
        let (test, _hash) = program.file_stem()?.to_str()?.rsplit_once('-')?;
        Some(format!("cargo test -p {package} --test {test} -- {{id}}"))
    };
    // Without cargo, the test program itself was called.
    let directly = || format!("{} {{id}}", std::env::args().next().unwrap_or_default());
    through_cargo().unwrap_or_else(directly)
}

/// Runs all checks for servers of this project against each server, and ends this process with the result.
///
/// With one server, a test's name is the check's id; with several servers, the server's name precedes it.
pub fn test_servers(servers: &[OwnServer]) -> ! {
    let trials = servers.iter().flat_map(|own| {
        let name = (servers.len() > 1).then(|| own.name());
        checks_of(*own).map(move |(check, server)| {
            let name =
                name.as_ref().map_or(check.id.to_owned(), |it| format!("{it}: {}", check.id));
            trial(name, check, server)
        })
    });
    run(trials.collect())
}

/// Returns the checks of a server: the checks for all servers of this project, and the checks of its profile.
fn checks_of(own: OwnServer) -> impl Iterator<Item = (&'static Check, ServerUnderTest)> {
    TABLE.iter().filter_map(move |check| {
        let server = ServerUnderTest::own(own);
        if let Some(profile) = own.profile
            && check.requirement(profile) != Requirement::None
        {
            // The checks of a profile use the profile's protocol.
            let tls = own.tls.cloned();
            return Some((check, ServerUnderTest { profile, own: None, tls, ..server }));
        }
        check.is_for_non_stage(&own).then_some((check, server))
    })
}
