//! Tests `tincan grade` as a teacher sees it: each submission costs only its own row, and no process stays.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use check::mutants;
#[cfg(target_os = "linux")]
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{expect_well_formed, stderr, stdout};
#[cfg(target_os = "linux")]
use crate::harness::{marked, wait_until};

/// A folder with submissions in Python.
struct Class(TempDir);

impl Class {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Returns a file beside the folder with the submissions.
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn submit(&self, name: &str, source: &str) -> &Self {
        let folder = self.file("class").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("server.py"), source).unwrap();
        self
    }

    /// Submits a right server.
    fn submit_right(&self, name: &str) -> &Self {
        self.submit(name, &right())
    }

    /// Returns the command that grades the submissions.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
        command.args(["grade", "echo-uni", "--submissions"]).arg(self.file("class"));
        command.args(["--cmd", "python3 -S {dir}/server.py {port}"]).args(args);
        command.env_remove("CARGO_PKG_NAME").stdin(Stdio::null());
        command
    }

    fn grade(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.grade(&[args, &["--format", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn right() -> String {
    mutants::right_source("echo_uni.py").unwrap().to_owned()
}

/// Answers each message without its ␀.
const WRONG: &str = "import socket, sys\n\
                     listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
                     while True:\n    \
                         client = listener.accept()[0]\n    \
                         client.sendall(b'<i>' + client.recv(1024)[:-1])\n    \
                         client.close()\n";

/// Two quick checks; the second runs only if the first passes.
const TWO: [&str; 4] = ["--only", "frame-one", "--only", "frame-three"];

/// Returns the row of a submission.
fn row<'a>(json: &'a Value, name: &str) -> &'a Value {
    let rows = json["submissions"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()
}

fn outcome<'a>(json: &'a Value, name: &str, id: &str) -> &'a str {
    row(json, name)["checks"][id]["outcome"].as_str().unwrap()
}

#[test]
fn the_table_shows_points_and_remarks() {
    let class = Class::new();
    class.submit_right("ann").submit("bob", WRONG).submit("carl", "def (");
    class.submit_right(".git");
    let text = stdout(&class.grade(&TWO));
    for part in [
        "submission  framing  points\nann             2/2     2/2\nbob             0/2     0/2\n",
        "\nbob\n  failed      frame-one: one message\n  not run     frame-three (easier checks did not pass)\n",
        "\ncarl\n  not started could not start `python3",
        "\nSubmissions that passed all checks of echo-uni: 1 of 3.\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    // The path of the folder decides where this line is broken.
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains("; its last line: SyntaxError: "), "{text}");
    assert!(!text.contains("\nann\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn programs_and_browsers_can_read_the_results() {
    let class = Class::new();
    let name = "=<b>\"Li\", & Jo";
    class.submit_right("ann").submit(name, WRONG);
    let (weights, page) = (class.file("weights"), class.file("page.html"));
    fs::write(&weights, "# Points\nframing 2\nframe-three 0.5 # less\n").unwrap();
    let options = ["--weights", weights.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let grade =
        |format| stdout(&class.grade(&[&TWO[..], &options, &["--format", format]].concat()));

    let json: Value = serde_json::from_str(&grade("json")).unwrap();
    assert_eq!(json["max_points"], 2.5);
    assert_eq!(row(&json, "ann")["points"], 2.5);
    assert_eq!(row(&json, name)["points"], 0.0);
    assert_eq!(outcome(&json, name, "frame-one"), "failed");
    let text = row(&json, name)["checks"]["frame-one"]["text"].as_str().unwrap();
    assert!(text.contains("<i>hello"), "{text}");

    // The second and the third run have replaced the page of the first.
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<a href=\"#s0\">=&lt;b&gt;&quot;Li&quot;, &amp; Jo</a>"), "{html}");
    assert!(html.contains("&lt;i&gt;hello") && !html.contains("<i>"), "{html}");
    assert!(html.contains("id=\"s0-frame-one\"") && html.contains("href=\"#s0-frame-one\""));
    let needs_network = ["http:", "https:", "<script", "<link", "<img", "@import", "url("];
    assert!(needs_network.iter().all(|part| !html.contains(part)), "{html}");

    let csv = grade("csv");
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[0], "submission,points,max_points,remarks,frame-one,frame-three");
    assert_eq!(lines[1], "\"'=<b>\"\"Li\"\", & Jo\",0,2.5,failed: frame-one,failed,not run");
    assert_eq!(lines[2], "ann,2.5,2.5,,passed,passed");

    let junit = grade("junit");
    expect_well_formed(junit.split_once("?>").unwrap().1);
    assert!(junit.contains("<testsuite name=\"ann\" tests=\"2\" skipped=\"0\""), "{junit}");
    assert!(junit.contains("tests=\"2\" skipped=\"1\" errors=\"0\" failures=\"1\""), "{junit}");
}

/// `PRINTS` never ends. The other two could harm the machine, so they end by themselves.
#[test]
#[cfg(target_os = "linux")]
fn a_submission_that_uses_too_much_costs_only_its_own_row() {
    const PRINTS: &str = "while True: print('y' * 1000)\n";
    const FILLS: &str = "import time\n\
                         kept = [bytearray(b'x') * (1 << 20) for _ in range(300)]\n\
                         time.sleep(20)\n";
    // Each process leaves the group and the session of its parent. There are 64 at most.
    const FORKS: &str = "import os, time\n\
                         end = time.time() + 20\n\
                         for _ in range(6):\n    \
                             if os.fork() == 0: os.setsid()\n\
                         while time.time() < end: time.sleep(0.1)\n";
    let mark = format!("tincan-test-{}-limits", std::process::id());
    let class = Class::new();
    class.submit_right("ann").submit("bob", WRONG).submit("carl", "def (");
    class.submit("prints", PRINTS).submit("fills", FILLS).submit("forks", FORKS);
    let limits = ["--output", "1", "--memory", "150", "--processes", "40", "--jobs", "3"];
    let mut command = class.command(&[&TWO[..], &limits, &["--format", "json"]].concat());
    let output = command.env("MARK", &mark).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, ended) in [
        ("ann", ""),
        ("bob", ""),
        ("carl", "not started: could not start"),
        ("prints", "stopped: it printed more than 1 MiB"),
        ("fills", "stopped: it used more than 150 MiB of memory"),
        ("forks", "stopped: it had more than 40 processes and threads"),
    ] {
        let row = row(&json, name);
        match row["ended"].as_str() {
            None => assert!(ended.is_empty(), "{row:#}"),
            Some(why) => assert!(!ended.is_empty() && why.starts_with(ended), "{row:#}"),
        }
        assert_eq!(row["points"], if name == "ann" { 2.0 } else { 0.0 }, "{row:#}");
    }
    assert!(marked(&mark).is_empty(), "{:?}", marked(&mark));
}

#[test]
fn a_submission_that_hangs_is_stopped() {
    let class = Class::new();
    class.submit("ann", "import time\ntime.sleep(60)\n");
    let json = class.json(&[&TWO[..], &["--time", "2"]].concat());
    assert_eq!(row(&json, "ann")["ended"], "stopped: it took longer than 2 s");
}

#[test]
fn a_submission_that_is_stopped_keeps_its_points() {
    let class = Class::new();
    // The command runs in the submission's folder. The first start is for measuring the round trip, the second for
    // the first check, and the third for the second check.
    let source = right().replace(
        "def main():",
        "def main():\n    \
             print('start', file=open('starts', 'a'))\n    \
             while len(list(open('starts'))) == 3: print('y' * 1000)",
    );
    class.submit("ann", &source);
    let json = class.json(&[&TWO[..], &["--output", "1"]].concat());
    let row = row(&json, "ann");
    assert_eq!(row["ended"], "stopped: it printed more than 1 MiB");
    assert_eq!(row["points"], 1.0);
    assert_eq!(row["checks"]["frame-one"]["outcome"], "passed");
    assert_eq!(row["checks"]["frame-three"]["why"], "the run ended during this check");
}

#[test]
fn a_server_that_did_not_start_gets_a_second_run() {
    let class = Class::new();
    let at_starts = |first: &str, others: &str| {
        format!(
            "import os\nprint('start', file=open('starts', 'a'))\n\
             if len(list(open('starts'))) == 1: {first}\n{others}{}",
            right()
        )
    };
    // The first time, both end at once.
    class.submit("ann", &at_starts("os._exit(1)", ""));
    class.submit("bob", &at_starts("os._exit(1)", "while True: print('y' * 1000)\n"));
    let json = class.json(&[&TWO[..], &["--output", "1"]].concat());
    assert_eq!(row(&json, "ann")["points"], 2.0, "{json:#}");
    assert!(row(&json, "ann")["ended"].is_null(), "{json:#}");
    assert_eq!(row(&json, "bob")["ended"], "stopped: it printed more than 1 MiB");
}

#[test]
#[cfg(target_os = "linux")]
fn memory_that_processes_share_counts_once() {
    // Eight processes share 40 MiB.
    let source = format!(
        "import os\nkept = bytearray(b'x') * (40 << 20)\n\
         for _ in range(7):\n    \
             if os.fork() == 0:\n        \
                 import time\n        \
                 time.sleep(20)\n\
         {}",
        right()
    );
    let class = Class::new();
    class.submit("ann", &source);
    let json = class.json(&["--only", "frame-one", "--memory", "200"]);
    assert_eq!(outcome(&json, "ann", "frame-one"), "passed", "{}", row(&json, "ann"));
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_stays_whatever_ends_it() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mark = format!("tincan-test-{}-grade-{signal:?}", std::process::id());
        let class = Class::new();
        let runs = class.file("runs");
        // A server that never answers, and a process in a session of its own.
        let source = format!(
            "import os, socket, sys, time\n\
             if os.fork() == 0: os.setsid()\n\
             else: listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
             open({:?}, 'w')\n\
             time.sleep(100)\n",
            runs.to_str().unwrap()
        );
        class.submit("ann", &source).submit("bob", &source);
        let mut command = class.command(&[&TWO[..], &["--patience", "600"]].concat());
        let mut tincan = command.env("MARK", &mark).stdout(Stdio::null()).spawn().unwrap();
        wait_until(|| runs.exists());
        kill_process(Pid::from_child(&tincan), signal).unwrap();
        let status = tincan.wait().unwrap();
        let expected = (signal != Signal::KILL).then(|| 128 + signal.as_raw());
        assert_eq!(status.code(), expected, "{signal:?}");
        wait_until(|| marked(&mark).is_empty());
    }
}

#[test]
fn wrong_calls_are_explained() {
    let class = Class::new();
    let said = |args: &[&str]| {
        let output = class.command(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        stderr(&output)
    };
    let no_such = said(&[]);
    assert!(no_such.contains("class: No such file or directory"), "{no_such}");
    fs::create_dir(class.file("class")).unwrap();
    fs::write(class.file("class/server.py"), "").unwrap();
    let empty = said(&[]);
    assert!(empty.contains("each submission must be a folder in it"), "{empty}");
    class.submit("ann", "open('started', 'w')");
    let weights = class.file("weights");
    fs::write(&weights, "frame-one 1\nframe-on 2\n").unwrap();
    let wrong = said(&["--weights", weights.to_str().unwrap()]);
    assert!(
        wrong.contains("weights: line 2: frame-on: no such check; similar ids: frame-one"),
        "{wrong}"
    );
    let unwritable = Path::new("/no/such/folder/page.html");
    let wrong = said(&["--html", unwritable.to_str().unwrap()]);
    assert!(wrong.contains("cannot write /no/such/folder/page.html"), "{wrong}");
    let wrong = said(&["--html", weights.to_str().unwrap()]);
    assert!(wrong.contains("is not a page of tincan grade, and is left as it is"), "{wrong}");
    let other_profile = said(&["--only", "chat-everyone"]);
    assert!(other_profile.contains("asks for none of these checks"), "{other_profile}");
    assert!(!class.file("class/ann/started").exists(), "a wrong call must not start a server");
}
