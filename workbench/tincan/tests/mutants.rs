//! Tests the checks themselves: each right server passes all checks of its profile, and each mutant
//! fails its check with the text in `golden/`.
//!
//! A mutant runs the checks that its check depends on, which must pass, and then its check. With
//! `TINCAN_EVERY_CHECK=1` in the environment, it runs all checks of its profile and must fail only its
//! own, and the right servers in other languages than Python run too; CI does this. With
//! `INSTA_UPDATE=always`, the texts are written anew.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

use check::Profile;
use check::mutants::{self, Mutant, right_servers};
use libtest_mimic::{Arguments, Failed, Trial};
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

/// How many tests run at once: most of the time, a check waits.
const AT_ONCE: usize = 12;

/// The mutants that wait for half a minute and more. They start first.
const LONG: [&str; 3] = ["pool-too-small", "backlog-of-five", "sigterm-ignored"];

fn main() {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    let mut trials = vec![Trial::test("every_check_has_a_mutant", every_check_has_a_mutant)];
    let mut tools = Tools::default();
    let mut mutants = mutants::all().unwrap();
    mutants.sort_by_key(|mutant| !LONG.contains(&mutant.id.as_str()));
    let is_python = |file: &str| Path::new(file).extension() == Some("py".as_ref());
    let right: Vec<_> =
        right_servers().filter(|(file, _)| every_check() || is_python(file)).collect();
    let each = mutants.len().div_ceil(right.len());
    // A right server keeps a processor busy, and most mutants wait: one in between uses both.
    for (file, profile) in right {
        let judge = move || is_right(file, profile);
        trials.push(trial(format!("right::{file}"), tools.for_file(file), judge));
        for mutant in mutants.drain(..each.min(mutants.len())) {
            let (name, tool) = (format!("mutant::{}", mutant.id), tools.for_file(&mutant.right));
            trials.push(trial(name, tool, move || is_caught(&mutant)));
        }
    }
    let python = folder_with_python();
    if let Some(folder) = &python {
        SEARCH_PATH.get_or_init(|| path_beginning_with(folder.path()));
    }
    let conclusion = libtest_mimic::run(&args, trials);
    drop(python); // `exit` drops nothing
    conclusion.exit()
}

/// Reports whether CI, or a contributor, asked for the tests that take minutes.
fn every_check() -> bool {
    env::var_os("TINCAN_EVERY_CHECK").is_some()
}

/// The compiler or interpreter of each language, and whether it is installed: to find out may take a
/// tenth of a second.
#[derive(Default)]
struct Tools(HashMap<&'static str, bool>);

impl Tools {
    fn for_file(&mut self, file: &str) -> (&'static str, bool) {
        let tool = mutants::tool(Path::new(file)).unwrap();
        (tool, *self.0.entry(tool).or_insert_with(|| mutants::is_installed(tool)))
    }
}

/// Makes a test that is skipped if the language is not installed, except in CI, where it fails then.
///
/// Outside Linux all are skipped: the checks read `/proc`.
fn trial(
    name: String,
    (tool, is_installed): (&'static str, bool),
    judge: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let is_missing = !is_installed;
    if is_missing && cfg!(target_os = "linux") && env::var_os("CI").is_some() {
        return Trial::test(name, move || Err(Failed::from(format!("{tool} is not installed"))));
    }
    Trial::test(name, judge).with_ignored_flag(is_missing || !cfg!(target_os = "linux"))
}

fn every_check_has_a_mutant() -> Result<(), Failed> {
    let mutants = mutants::all().unwrap();
    let rows = check::TABLE.iter().filter(|check| check.has_profile());
    let missing: Vec<_> = rows
        .map(|check| check.id)
        .filter(|id| mutants.iter().all(|mutant| mutant.fails != *id))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no mutant fails {missing:?}").into()) }
}

fn is_right(file: &str, profile: Profile) -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join(file);
    fs::write(&source, mutants::right_source(file).unwrap()).unwrap();
    // Other tests run at the same time, so that a right server may need more than 3 s to answer.
    let report = check(&source, profile, &["--patience", "20"])?;
    if rows(&report).iter().all(|row| row["outcome"] == "passed") {
        return Ok(());
    }
    Err(not_passed(&report).into())
}

fn is_caught(mutant: &Mutant) -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join(mutant.file_name());
    fs::write(&source, mutant.source().unwrap()).unwrap();
    let options: &[&str] = match every_check() {
        true => &["--patience", "8"],
        // Whether a mutant that was late once is late again is tested with every check.
        false => &["--patience", "8", "--until", &mutant.fails, "--tries", "1"],
    };
    let report = check(&source, mutant.profile, options)?;
    let wrong: Vec<_> = rows(&report)
        .iter()
        .filter(|row| row["outcome"] != "passed" && row["outcome"] != "not tried")
        .collect();
    match wrong[..] {
        [row] if row["id"] == mutant.fails.as_str() && row["outcome"] == "failed" => {
            expect_golden(mutant, row["failure"]["text"].as_str().unwrap(), folder.path())
        }
        _ => Err(format!("not just {} fails:\n{}", mutant.fails, not_passed(&report)).into()),
    }
}

/// Runs `tincan check` with these options, and returns the report.
fn check(source: &Path, profile: Profile, options: &[&str]) -> Result<Value, Failed> {
    let mut tincan = Command::new(env!("CARGO_BIN_EXE_tincan"));
    if let Some(path) = SEARCH_PATH.get() {
        tincan.env("PATH", path);
    }
    tincan.args(["check", &profile.to_string(), "--format", "json"]);
    // The golden texts contain the command as it is called through cargo.
    tincan.args(options).arg("--").args(mutants::command(source)?).env("CARGO_PKG_NAME", "tincan");
    // A server that runs for a second does not need Java's best compiler: without it, it costs a quarter less.
    tincan.env("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC");
    let output = tincan.output().unwrap();
    let stderr = || String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice::<Value>(&output.stdout).map_err(|_| stderr())?;
    assert_eq!(report["exit_code"].as_i64(), output.status.code().map(i64::from));
    Ok(report)
}

/// The search path of the servers.
static SEARCH_PATH: OnceLock<OsString> = OnceLock::new();

/// Makes a folder with a program `python3`, which starts in half of the usual time: it is the interpreter itself,
/// not a version manager's wrapper, and it imports no site packages. `None` if there is no Python.
#[cfg(unix)]
fn folder_with_python() -> Option<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let ask = ["-c", "import sys; print(sys.executable)"];
    let output = Command::new("python3").args(ask).output().ok()?;
    let interpreter = String::from_utf8(output.stdout).ok()?;
    let folder = tempfile::tempdir().ok()?;
    let program = folder.path().join("python3");
    fs::write(&program, format!("#!/bin/sh\nexec '{}' -S \"$@\"\n", interpreter.trim())).ok()?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).ok()?;
    Some(folder)
}

#[cfg(not(unix))]
fn folder_with_python() -> Option<TempDir> {
    None
}

/// Returns the search path with this folder first.
fn path_beginning_with(folder: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([folder.to_owned()].into_iter().chain(env::split_paths(&path))).unwrap()
}

fn rows(report: &Value) -> &Vec<Value> {
    report["checks"].as_array().unwrap()
}

/// Returns the checks that did not pass, for the text of a failed test.
fn not_passed(report: &Value) -> String {
    let mut text = String::new();
    for row in rows(report).iter().filter(|row| row["outcome"] != "passed") {
        let _ = writeln!(text, "{} {} {}", row["id"], row["outcome"], row["why"]);
        text += row["failure"]["text"].as_str().unwrap_or_default();
    }
    text
}

fn expect_golden(mutant: &Mutant, text: &str, folder: &Path) -> Result<(), Failed> {
    let mut settings = insta::Settings::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../check/golden");
    settings.set_snapshot_path(golden);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // What a server prints may contain a port or a time.
    let mut lines = Vec::new();
    let mut is_printed = false;
    for line in text.lines() {
        // The text after a label may go on below it.
        is_printed =
            line.starts_with("  printed  ") || is_printed && line.starts_with("           ");
        if !is_printed {
            lines.push(line);
        }
    }
    let text = lines.join("\n");
    let text = text.replace(&*folder.to_string_lossy(), "FOLDER");
    let text = without_variable_parts(&text, VARY.contains(&mutant.fails.as_str()));
    let compare = || settings.bind(|| insta::assert_snapshot!(mutant.id.as_str(), text));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare))
        .map_err(|_| Failed::from(format!("another text than in workbench/check/golden:\n{text}")))
}

/// Checks that a mutant may fail in several ways: they try several moments, or timing decides.
const VARY: &[&str] = &[
    "chat-leaver",
    "chat-one-order",
    "chat-sender-order",
    "chat-whole-frames",
    "crowd-1100",
    "frame-half-close",
    "names-cut",
    "party-login",
    "party-look",
    "party-names",
    "party-unknown",
    "reset-any-moment",
    "reset-hundred",
    "select-last-bytes",
    "select-megabyte",
    "slow-pause",
];

/// Match an address before a message, a line of hexadecimal bytes or of marks below them, a number, and
/// how a connection ended.
static PATTERNS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    let patterns = [
        // The part that is shown of long bytes may begin inside an address.
        r#"…?"[\d.:]*\d: "#,
        r"^ {11}[ …]*(([0-9a-f]{2} ?)+…?|\^.*)$",
        r"\d+(\.\d+)?",
        "a reset|the end of the stream",
    ];
    patterns.map(|pattern| Regex::new(pattern).unwrap())
});

/// Returns a failure's text without the parts that differ from run to run.
///
/// Removed are the addresses and numbers in `expected` and `got`, or if the failure varies, these
/// sections as a whole; the timelines, which contain times; and the server's output, which depends on
/// the version of its language.
fn without_variable_parts(text: &str, varies: bool) -> String {
    let (text, _) = text.split_once("\n  what each client sent").unwrap_or((text, ""));
    let (text, _) = text.split_once("\n  what each thread of").unwrap_or((text, ""));
    let (did, rest) = text.split_once("\n expected").unwrap();
    let (came, rest) = rest.split_once("\n     rule").unwrap();
    if varies {
        let title = did.lines().next().unwrap();
        return format!("{title}\n     rule{rest}");
    }
    let [address, hexadecimal, number, end] = &*PATTERNS;
    let has_address = address.is_match(came);
    let mut kept = String::new();
    for line in came.lines() {
        let is_hexadecimal = hexadecimal.is_match(line);
        // The hexadecimal bytes contain the address too, and the marks depend on its length.
        if is_hexadecimal && has_address {
            continue;
        }
        let line = address.replace_all(line, "\"ADDR: ");
        let line = if is_hexadecimal && !line.contains("byte") {
            line
        } else {
            number.replace_all(&line, "N").into_owned().into()
        };
        let _ = writeln!(kept, "{}", end.replace_all(&line, "an end"));
    }
    format!("{did}\n expected{kept}     rule{rest}")
}
