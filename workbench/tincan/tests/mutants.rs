//! The checker is checked: each right server passes the ladder, and each mutant fails its one check,
//! with the text that is kept in `mutants/golden/`.
//!
//! With `INSTA_UPDATE=always` these texts are written anew.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use check::Profile;
use check::mutants::{self, Mutant, RIGHT};
use libtest_mimic::{Arguments, Failed, Trial};
use regex::Regex;
use serde_json::Value;

/// Most of a climb is waiting.
const AT_ONCE: usize = 6;

fn main() {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    let mut trials = vec![Trial::test("every_check_has_a_mutant", every_check_has_a_mutant)];
    let mut tools = Tools::default();
    for (file, profile) in RIGHT {
        let judge = move || is_right(file, *profile);
        trials.push(trial(format!("right::{file}"), tools.for_file(file), judge));
    }
    for mutant in mutants::all().unwrap() {
        let (name, tool) = (format!("mutant::{}", mutant.id), tools.for_file(&mutant.right));
        trials.push(trial(name, tool, move || is_caught(&mutant)));
    }
    libtest_mimic::run(&args, trials).exit()
}

/// What each language takes, and whether it is there: to look for it may take a tenth of a second.
#[derive(Default)]
struct Tools(HashMap<&'static str, bool>);

impl Tools {
    fn for_file(&mut self, file: &str) -> (&'static str, bool) {
        let tool = mutants::tool(Path::new(file)).unwrap();
        (tool, *self.0.entry(tool).or_insert_with(|| mutants::is_there(tool)))
    }
}

/// A machine may lack a language, but not the one where it is decided whether all is well. The checks
/// look at processes as only Linux shows them.
fn trial(
    name: String,
    (tool, is_there): (&'static str, bool),
    judge: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let is_missing = !is_there;
    if is_missing && cfg!(target_os = "linux") && env::var_os("CI").is_some() {
        return Trial::test(name, move || Err(Failed::from(format!("{tool} is not installed"))));
    }
    Trial::test(name, judge).with_ignored_flag(is_missing || !cfg!(target_os = "linux"))
}

fn every_check_has_a_mutant() -> Result<(), Failed> {
    let mutants = mutants::all().unwrap();
    let rows = check::TABLE.iter().filter(|check| check.is_for_anybody());
    let missing: Vec<_> = rows
        .map(|check| check.id)
        .filter(|id| mutants.iter().all(|mutant| mutant.fails != *id))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no mutant fails {missing:?}").into()) }
}

fn is_right(file: &str, profile: Profile) -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join(file);
    fs::copy(mutants::folder().unwrap().join("right").join(file), &source).unwrap();
    let report = climb(profile, &source)?;
    if rows(&report).iter().all(|row| row["outcome"] == "passed") {
        return Ok(());
    }
    Err(told(&report).into())
}

fn is_caught(mutant: &Mutant) -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join(mutant.file_name());
    fs::write(&source, mutant.text().unwrap()).unwrap();
    let report = climb(mutant.profile, &source)?;
    let wrong: Vec<_> = rows(&report)
        .iter()
        .filter(|row| row["outcome"] != "passed" && row["outcome"] != "not tried")
        .collect();
    match wrong[..] {
        [row] if row["id"] == mutant.fails.as_str() && row["outcome"] == "failed" => {
            expect_golden(mutant, row["failure"]["text"].as_str().unwrap(), folder.path())
        }
        _ => Err(format!("not just {} fails:\n{}", mutant.fails, told(&report)).into()),
    }
}

/// Runs the whole ladder as a user would, and gives the report.
fn climb(profile: Profile, source: &Path) -> Result<Value, Failed> {
    let mut tincan = Command::new(env!("CARGO_BIN_EXE_tincan"));
    // A shim of a version manager would take longer to start than the server itself.
    if let Some(path) = &*PATH_TO_PYTHON {
        tincan.env("PATH", path);
    }
    // Others run at the same time.
    tincan.args(["check", &profile.to_string(), "--patience", "8", "--format", "json", "--"]);
    // Called through cargo or not, the text is the same.
    tincan.args(mutants::command(source)?).env("CARGO", "cargo");
    let output = tincan.output().unwrap();
    let stderr = || String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice::<Value>(&output.stdout).map_err(|_| stderr())?;
    assert_eq!(report["exit_code"].as_i64(), output.status.code().map(i64::from));
    Ok(report)
}

/// The search path with the real interpreter's folder first.
static PATH_TO_PYTHON: LazyLock<Option<OsString>> = LazyLock::new(|| {
    let asked = ["-c", "import os, sys; print(os.path.dirname(sys.executable))"];
    let output = Command::new("python3").args(asked).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([folder].into_iter().chain(env::split_paths(&path))).ok()
});

fn rows(report: &Value) -> &Vec<Value> {
    report["checks"].as_array().unwrap()
}

/// What did not pass, for the text of a failed test.
fn told(report: &Value) -> String {
    let mut text = String::new();
    for row in rows(report).iter().filter(|row| row["outcome"] != "passed") {
        let _ = writeln!(text, "{} {} {}", row["id"], row["outcome"], row["why"]);
        text += row["failure"]["text"].as_str().unwrap_or_default();
    }
    text
}

fn expect_golden(mutant: &Mutant, text: &str, folder: &Path) -> Result<(), Failed> {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(mutants::folder().unwrap().join("golden"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let text = text.replace(&*folder.to_string_lossy(), "FOLDER");
    let text = what_stays(&text, VARY.contains(&mutant.fails.as_str()));
    let compare = || settings.bind(|| insta::assert_snapshot!(mutant.id.as_str(), text));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare))
        .map_err(|_| Failed::from(format!("another text than in mutants/golden:\n{text}")))
}

/// Checks that try several moments, or in which chance decides: a mutant may fail them in several ways.
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

/// An address before a message, a line of bytes or of marks below them, a number, and how a connection
/// ended.
static PATTERNS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    let patterns = [
        // A window on long bytes may begin amid an address.
        r#"…?"[\d.:]*\d: "#,
        r"^ {11}[ …]*(([0-9a-f]{2} ?)+…?|\^.*)$",
        r"\d+(\.\d+)?",
        "a reset|the end of the stream",
    ];
    patterns.map(|pattern| Regex::new(pattern).unwrap())
});

/// A failure's text without what differs from run to run: addresses, and numbers where it says what
/// was expected and got; where that varies, all about it. The pictures tell of times, and what
/// the server prints depends on its language's version.
fn what_stays(text: &str, varies: bool) -> String {
    let (text, _) = text.split_once("\n  who sent what when").unwrap_or((text, ""));
    let (text, _) = text.split_once("\n  what each thread did").unwrap_or((text, ""));
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
        // Hexadecimal digits have the address, too, and the marks stand where it ends.
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
