//! What is told of a climb: to people, and to programs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::ValueEnum;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::{Asked, Check, Finding, Outcome, Profile, Report, TABLE, Theme};
use probe::Description;
use probe::wire::show_text;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// `JUnit` XML, which most CI systems read
    #[value(help = "JUnit XML, which most CI systems read")]
    Junit,
}

/// How the check was called.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The profile.
    pub profile: Profile,
    /// The seed.
    pub seed: u64,
    /// How much help is given with a failure, 0 to 3.
    pub hints: u8,
    /// What was checked: `--addr ADDR`, or `-- CMD ARGS…`, quoted for a shell.
    pub target: String,
    /// What has to be typed to see one failure again, with `{id}` for the check.
    pub again: String,
}

impl Invocation {
    fn again(&self, id: &str) -> String {
        self.again.replace("{id}", id)
    }
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const UNSURE: Style = AnsiColor::Yellow.on_default();
const LABEL: Style = Style::new().dimmed();

/// Writes a report; as text without the failures, of which [`run_checks`](super::run_checks) tells at once.
///
/// # Errors
///
/// What `out` cannot take.
pub fn write_report(
    out: &mut dyn Write,
    report: &Report,
    call: &Invocation,
    format: Format,
) -> Result<()> {
    match format {
        Format::Text => out.write_all(text(report, call).as_bytes())?,
        Format::Json => writeln!(out, "{:#}", as_json(report, call))?,
        Format::Junit => out.write_all(as_junit(report, call)?.as_bytes())?,
    }
    Ok(())
}

fn text(report: &Report, call: &Invocation) -> String {
    let mut text = String::new();
    let mut theme = None;
    for (check, ..) in &report.rows {
        if theme != Some(check.theme) {
            theme = Some(check.theme);
            text += &theme_line(report, call, check.theme);
        }
    }
    text.push('\n');
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text + &last_line(report, call)
}

/// A line for a part of the ladder, and one for each of its rows that did not just pass.
fn theme_line(report: &Report, call: &Invocation, theme: Theme) -> String {
    let rows = || report.rows.iter().filter(move |(check, ..)| check.theme == theme);
    let passed = rows().filter(|(_, it, _)| matches!(it, Outcome::Passed)).count();
    let all = rows().filter(|(_, it, _)| !matches!(it, Outcome::NotAsked(_))).count();
    let style = if passed == all { GOOD } else { UNSURE };
    let counts = format!("{passed:>2} of {all}");
    let mut text = format!("  {:<13}{style}{counts}{style:#}", theme.to_string());
    let limits = rows().filter(|(check, it, _)| {
        matches!(it, Outcome::Passed) && check.asked(call.profile) == Asked::Limit
    });
    for (check, ..) in limits {
        let _ = write!(text, "  ({} was seen to fail, as here it must)", check.id);
    }
    text.push('\n');
    for (check, outcome, _) in rows() {
        let id = check.id;
        let _ = match outcome {
            Outcome::Passed | Outcome::NotTried(_) | Outcome::NotAsked(_) => Ok(()),
            Outcome::Failed(_) => writeln!(text, "    {BAD}failed{BAD:#}    {id}"),
            Outcome::Undecided(why) => {
                let lines = wrapped(&format!("{id}: {why}"), WIDTH);
                writeln!(text, "    {UNSURE}undecided{UNSURE:#} {}", lines.join("\n              "))
            }
        };
    }
    text + &not_tried(&rows().collect::<Vec<_>>())
}

/// The rows that were left out, with each reason told once.
fn not_tried(rows: &[&(Check, Outcome, Duration)]) -> String {
    let mut reasons: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for (check, outcome, _) in rows {
        let reason = match outcome {
            Outcome::NotTried(why) => ("not tried", why.as_str()),
            Outcome::NotAsked(why) => ("not asked", *why),
            _ => continue,
        };
        match reasons.iter_mut().find(|(it, _)| *it == reason) {
            Some((_, ids)) => ids.push(check.id),
            None => reasons.push((reason, vec![check.id])),
        }
    }
    let mut text = String::new();
    for ((label, why), ids) in reasons {
        for (i, line) in wrapped(&format!("{} ({why})", ids.join(", ")), WIDTH).iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let _ = writeln!(text, "    {label:<9} {line}");
        }
    }
    text
}

fn last_line(report: &Report, call: &Invocation) -> String {
    let all = report.rows.len() - report.count(|it| matches!(it, Outcome::NotAsked(_)));
    let failed = report.count(|it| matches!(it, Outcome::Failed(_)));
    let passed = report.count(|it| matches!(it, Outcome::Passed));
    let checks = if all == 1 { "1 check".to_owned() } else { format!("{all} checks") };
    let result = match report.exit_code() {
        0 => format!("{GOOD}pass{GOOD:#}: {passed} of {checks}"),
        1 => format!("{BAD}FAIL{BAD:#}: {failed} of {checks} failed, {passed} passed,"),
        _ => format!("{UNSURE}undecided{UNSURE:#}: {passed} of {checks} passed"),
    };
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let trip = report.round_trip.map(|it| format!(", round trip {:.2} ms", millis(it)));
    let seconds = report.took.as_secs_f64();
    let Invocation { profile, seed, .. } = call;
    let trip = trip.unwrap_or_default();
    let mut text = format!("{result} of {profile} in {seconds:.1} s (seed {seed}{trip})\n");
    let mut easiest = report.rows.iter().filter(|(_, it, _)| matches!(it, Outcome::Failed(_)));
    if let (Some((check, ..)), true) = (easiest.next(), failed > 1) {
        let _ = writeln!(text, "Begin with the first: {}", call.again(check.id));
    }
    text
}

/// How long the lines of a text are, in characters.
const WIDTH: usize = 76;

/// One failure, with all that helps to understand it.
#[must_use]
pub fn one_failure(check: &Check, finding: &Finding, call: &Invocation) -> String {
    let failure = &finding.failure;
    let mut text = format!("{BAD}{}{BAD:#} · {}", check.id, check.theme);
    if !check.title.is_empty() {
        let _ = write!(text, " · {}", check.title);
    }
    text.push('\n');
    let mut part = |label: &str, body: &str| {
        for (i, line) in body.trim_end().lines().enumerate() {
            let label = if i == 0 { label } else { "" };
            let _ = writeln!(text, "{LABEL}{label:>9}{LABEL:#}  {line}");
        }
    };
    part("did", &failure.did);
    let (expected, got) = compared(&failure.expected, &failure.got);
    part("expected", &expected);
    part("got", &got);
    let mut part = |label: &str, body: &str| part(label, &wrapped(body, WIDTH).join("\n"));
    part("rule", check.rule);
    let likely = check.asked(call.profile) != Asked::Limit;
    let [likely_wrong, look_at, to_mend] = check.hints;
    let likely_wrong = failure.likely.unwrap_or(likely_wrong);
    let hints = [("likely", likely_wrong), ("look at", look_at), ("to mend", to_mend)];
    let wanted = if likely { call.hints.into() } else { 0 };
    hints.into_iter().take(wanted).for_each(|(label, hint)| part(label, hint));
    if !likely {
        part(
            "likely",
            "The server serves several clients at once; its profile is that of one \
                        that cannot. Check it as echo-multi.",
        );
    }
    if let Some((page, heading)) = check.read.split_once('#') {
        part("read", &format!("docs/src/{page}, \"{heading}\""));
    }
    // A line that is to be copied is not broken.
    let _ = writeln!(text, "{LABEL}{:>9}{LABEL:#}  {}", "again", call.again(check.id));
    if !finding.picture.is_empty() {
        let _ = writeln!(text, "\n  who sent what when (→ to the server, ← from it):");
        text += &indented(&finding.picture);
    }
    if !finding.threads.is_empty() {
        let _ = writeln!(text, "\n  what each thread did when it failed once more (tincan watch):");
        text += &indented(&finding.threads);
    }
    if !finding.output.is_empty() {
        let _ = writeln!(text, "\n  what the server itself printed last:");
        text += &indented(&finding.output);
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["    ", line, "\n"]).collect()
}

/// Both in words, or as text and in hexadecimal, with a mark where they begin to differ.
fn compared(expected: &Description, got: &Description) -> (String, String) {
    let (Some(wanted), Some(came)) = (&expected.bytes, &got.bytes) else {
        let alone = |said: &Description| match &said.bytes {
            Some(bytes) => in_window(bytes, 0, None) + &words(said),
            None => said.text.clone(),
        };
        return (alone(expected), alone(got));
    };
    let same = wanted.iter().zip(came).take_while(|(a, b)| a == b).count();
    (
        in_window(wanted, same, None) + &words(expected),
        in_window(came, same, Some(same)) + &words(got),
    )
}

fn words(said: &Description) -> String {
    if said.text.is_empty() { String::new() } else { format!("({})\n", said.text) }
}

/// How many bytes are shown before and behind the place where two texts begin to differ.
const BEFORE: usize = 16;
const BEHIND: usize = 8;

/// The bytes around a place, as text and below that in hexadecimal.
fn in_window(bytes: &[u8], at: usize, mark: Option<usize>) -> String {
    // A window does not begin or end amid a character.
    let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut begin = if at <= BEFORE + 4 { 0 } else { at - BEFORE };
    while is_inside(begin) && begin < at {
        begin += 1;
    }
    let mut end = bytes.len().min(at.max(begin + BEFORE) + BEHIND);
    while is_inside(end) {
        end += 1;
    }
    let lead = if begin > 0 { "…" } else { "" };
    let tail = if end < bytes.len() { "…" } else { "" };
    let part = &bytes[begin..end];
    let length = if begin > 0 || end < bytes.len() {
        format!("   {} bytes", bytes.len())
    } else {
        String::new()
    };
    let mut text = format!("{lead}\"{}\"{tail}{length}\n", show_text(part));
    if let Some(mark) = mark {
        let before = show_text(&bytes[begin..mark.min(bytes.len())]).chars().count();
        let blank = lead.chars().count() + 1 + before;
        let _ = writeln!(text, "{:blank$}^ byte {}", "", mark + 1);
    }
    let _ = writeln!(text, "{lead} {} {tail}", hex(part).join(" "));
    if let Some(mark) = mark {
        let blank = lead.chars().count() + 1 + 3 * (mark - begin);
        let _ = writeln!(text, "{:blank$}^^", "");
    }
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Undecided(_) => "undecided",
        Outcome::NotTried(_) => "not tried",
        Outcome::NotAsked(_) => "not asked",
    }
}

fn as_json(report: &Report, call: &Invocation) -> Value {
    let rows = report.rows.iter().map(|(check, outcome, took)| {
        let mut row = json!({
            "id": check.id,
            "theme": check.theme.to_string(),
            "title": check.title,
            "rule": check.rule,
            "asked": check.asked(call.profile).to_string(),
            "outcome": outcome_name(outcome),
            "seconds": took.as_secs_f64(),
        });
        match outcome {
            Outcome::Passed => {}
            Outcome::Undecided(why) | Outcome::NotTried(why) => row["why"] = json!(why),
            Outcome::NotAsked(why) => row["why"] = json!(why),
            Outcome::Failed(finding) => row["failure"] = finding_as_json(check, finding, call),
        }
        row
    });
    json!({
        "profile": call.profile.to_string(),
        "target": call.target,
        "seed": call.seed,
        "round_trip_seconds": report.round_trip.map(|it| it.as_secs_f64()),
        "seconds": report.took.as_secs_f64(),
        "exit_code": report.exit_code(),
        "notes": report.notes,
        "checks": rows.collect::<Vec<_>>(),
    })
}

fn finding_as_json(check: &Check, finding: &Finding, call: &Invocation) -> Value {
    let said = |said: &Description| {
        let hex = said.bytes.as_ref().map(|bytes| hex(bytes).concat());
        json!({ "text": said.to_string(), "hex": hex })
    };
    json!({
        "did": finding.failure.did,
        "expected": said(&finding.failure.expected),
        "got": said(&finding.failure.got),
        "hints": check.hints.iter().take(call.hints.into()).collect::<Vec<_>>(),
        "read": format!("docs/src/{}", check.read),
        "again": call.again(check.id),
        "text": plain(&one_failure(check, finding, call)),
        "picture": finding.picture,
        "threads": finding.threads,
        "output": finding.output,
    })
}

fn as_junit(report: &Report, call: &Invocation) -> Result<String> {
    let mut whole = quick_junit::Report::new(format!("tincan check {}", call.profile));
    whole.set_time(report.took);
    let mut suite = TestSuite::new(call.profile.to_string());
    for (check, outcome, took) in &report.rows {
        let status = match outcome {
            Outcome::Passed => TestCaseStatus::success(),
            Outcome::NotTried(why) => skipped(why),
            Outcome::NotAsked(why) => skipped(why),
            Outcome::Undecided(why) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message(why.as_str());
                status
            }
            Outcome::Failed(finding) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(finding.failure.got.to_string());
                status.set_description(plain(&one_failure(check, finding, call)));
                status
            }
        };
        let mut case = TestCase::new(check.id, status);
        case.set_classname(check.theme.to_string()).set_time(*took);
        suite.add_test_case(case);
    }
    whole.add_test_suite(suite);
    Ok(whole.to_string()?)
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

/// The same text without colours.
#[must_use]
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Lists the checks that a profile must pass, with their rules; without a profile, shows which profile must
/// pass which check.
///
/// # Errors
///
/// Any error of `out`.
pub fn list(out: &mut dyn Write, only: Option<Profile>) -> io::Result<()> {
    match only {
        Some(profile) => list_of(out, profile),
        None => grid(out),
    }
}

fn list_of(out: &mut dyn Write, profile: Profile) -> io::Result<()> {
    let mut theme = None;
    for check in TABLE.iter().filter(|check| check.asked(profile) != Asked::Nothing) {
        if theme != Some(check.theme) {
            theme = Some(check.theme);
            writeln!(out, "{}", check.theme)?;
        }
        let limit =
            if check.asked(profile) == Asked::Limit { " (must be seen to fail)" } else { "" };
        writeln!(out, "  {:<21}{}{limit}", check.id, check.title)?;
        for line in wrapped(check.rule, WIDTH) {
            writeln!(out, "      {LABEL}{line}{LABEL:#}")?;
        }
    }
    Ok(())
}

/// The width of the column with the ids.
const ID_WIDTH: usize = 28;

/// Writes a row for each check, and a column for each profile.
fn grid(out: &mut dyn Write) -> io::Result<()> {
    let profiles = Profile::value_variants();
    let columns =
        profiles.iter().map(Profile::to_string).chain(["servers of this project".to_owned()]);
    for (i, column) in columns.enumerate() {
        writeln!(out, "{:ID_WIDTH$}{}{column}", "", "│ ".repeat(i))?;
    }
    let mut theme = None;
    for check in TABLE.iter() {
        if theme != Some(check.theme) {
            theme = Some(check.theme);
            writeln!(out, "{}", check.theme)?;
        }
        let asked = profiles.iter().map(|profile| match check.asked(*profile) {
            Asked::Pass => "●",
            Asked::Limit => "○",
            Asked::Nothing => "·",
        });
        let ours = if check.is_for_our_servers() { "●" } else { "·" };
        let marks = asked.chain([ours]).collect::<Vec<_>>().join(" ");
        let line = format!("  {:<width$}{marks}  {}", check.id, check.title, width = ID_WIDTH - 2);
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    writeln!(out, "● must pass   ○ must be seen to fail   · is not checked")?;
    writeln!(out, "`tincan check PROFILE --list` shows the rules for a profile.")
}

/// Breaks a text at blanks into lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_marked_where_they_begin_to_differ() {
        let (expected, got) =
            (Description::bytes(b"hello\0".to_vec(), ""), Description::bytes(b"hx\0".to_vec(), ""));
        let (expected, got) = compared(&expected, &got);
        assert_eq!(expected, "\"hello␀\"\n 68 65 6c 6c 6f 00\n");
        assert_eq!(got, "\"hx␀\"\n  ^ byte 2\n 68 78 00\n    ^^\n");
    }

    #[test]
    fn the_mark_counts_characters_in_the_text_and_bytes_in_hexadecimal() {
        let (a, b) = (Description::bytes("€a\0".into(), ""), Description::bytes("€b\0".into(), ""));
        let (_, got) = compared(&a, &b);
        assert_eq!(got, "\"€b␀\"\n  ^ byte 4\n e2 82 ac 62 00\n          ^^\n");
    }

    #[test]
    fn of_long_bytes_a_part_is_shown() {
        let (a, b) = (vec![b'x'; 100], [&[b'x'; 60][..], b"y"].concat());
        let (expected, got) = compared(&Description::bytes(a, ""), &Description::bytes(b, ""));
        assert!(expected.starts_with("…\"xxxxxxxxxxxxxxxxxxxxxxxx\"…   100 bytes\n"), "{expected}");
        assert!(got.contains("\"xxxxxxxxxxxxxxxxy\""), "{got}");
        assert!(got.ends_with("^^\n"), "{got}");
    }
}
