//! `tincan lab` as its user sees it: what it prints, how it exits, what it writes, what it leaves
//! running. It measures with the build at hand and with servers built like it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod harness;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use harness::{Printed, collect, marked, stderr, stdout};

/// How long anything may take before a test fails; a first build of the stages is part of it.
const DEADLINE: Duration = Duration::from_mins(4);

/// How long what was left running has to be gone.
const LEFT: Duration = Duration::from_secs(20);

/// What every process that a laboratory starts has in its environment.
const MARK: &str = "TINCAN_LAB_TEST";

const ECHO: &str = r#"
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
while True:
    sock, addr = listener.accept()
    with sock:
        try:
            data = b""
            while not data.endswith(b"\0") and (more := sock.recv(4096)):
                data += more
            sock.sendall(data)
        except OSError:
            pass
"#;

const CHAT: &str = r#"
import asyncio, sys
writers = set()
async def serve(reader, writer):
    writers.add(writer)
    name = "%s:%s: " % writer.get_extra_info("peername")
    try:
        while True:
            msg = await reader.readuntil(b"\0")
            for other in writers:
                other.write(name.encode() + msg)
    except (asyncio.IncompleteReadError, OSError):
        pass
    writers.discard(writer)
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"#;

/// The same, but every so many messages one goes to nobody. Only measured messages are counted: they end in a
/// `#`, and the numbers of those that make the senders known are the highest that there are.
fn lossy(one_in: u32) -> String {
    let counts = "count = 0\nwriters = set()";
    let skips = format!(
        "
            global count
            is_counted = b'#' in msg and b' 9999' not in msg
            count += is_counted
            if is_counted and count % {one_in} == 0: continue
            for other in writers:"
    );
    CHAT.replace("writers = set()", counts).replace("\n            for other in writers:", &skips)
}

/// It answers with the time of day, as it were.
const NONSENSE: &str = r#"
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    sock, addr = listener.accept()
    sock.sendall(b"noon\0")
"#;

fn tincan(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command.arg("lab").args(args).env_remove("PORT").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    tincan(args).output().unwrap()
}

/// A Python server in that folder, as `--mine` takes it.
fn mine(folder: &Path, name: &str, program: &str) -> String {
    let file = folder.join(format!("{name}.py"));
    fs::write(&file, program).unwrap();
    format!("{name}=python3 {} {{port}}", file.display())
}

fn data(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("data.json")).unwrap()).unwrap()
}

#[test]
fn usage_errors_say_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("report.html"), "my own").unwrap();
    let taken = folder.path().to_str().unwrap();
    for (args, said) in [
        (&["flying"][..], "roundtrip    How long"),
        (&["--mine", "python3 my_server.py"], "snake='python3 my_server.py {port}'"),
        (&["--mine", "=python3"], "snake='python3 my_server.py {port}'"),
        (&["--mine", "snake="], "snake='python3 my_server.py {port}'"),
        (&["--mine", "snake=python3 'x"], "quotation mark"),
        (&["--mine", "chat-poll=python3 x"], "chat-poll is the name of a server"),
        (&["--mine", "a=b", "--mine", "a=c"], "cannot both be called a"),
        (&["--only", "chat-pool"], "There are: echo-uni, echo-multi, "),
        (&["--only", "ncat", "--no-peers"], "contradict"),
        (&["--only", "chat-poll", "--variations"], "cannot be used with"),
        (&["--runs", "2"], "at least 3 runs"),
        (&["--out", taken], "that is not the laboratory's"),
        (&["--out", env!("CARGO_BIN_EXE_tincan")], "is no folder"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
    assert_eq!(fs::read_to_string(folder.path().join("report.html")).unwrap(), "my own");
}

#[test]
fn each_experiment_is_listed_with_its_question() {
    let output = run(&["--list"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for id in ["idle", "roundtrip", "fanout", "rate", "frozen", "connections", "churn"] {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{id} ")));
        assert!(line.is_some_and(|line| line.ends_with('?')), "{id}: {text}");
    }
}

#[test]
fn servers_that_cannot_be_measured_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let nonsense = mine(folder.path(), "noon", NONSENSE);
    for (mine, said) in [
        (nonsense.as_str(), "\"noon␀\""),
        ("gone=no-such-program-anywhere {port}", "No such file"),
        ("short=true", "it has ended"),
    ] {
        let output = run(&["--mine", mine, "--as-built"]);
        assert_eq!(output.status.code(), Some(3), "{mine}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{mine}: {}", stderr(&output));
    }
}

#[test]
fn servers_of_ones_own_stand_beside_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, chat) = (mine(folder.path(), "parrot", ECHO), mine(folder.path(), "salon", CHAT));
    let out = folder.path().join("found/here");
    let args = ["idle", "connections", "--as-built", "--quick", "--runs", "1", "--no-peers"];
    let only = ["--only", "echo-uni,chat-poll", "--mine", &echo, "--mine", &chat, "--out"];
    let args = [&args[..], &only, &[out.to_str().unwrap()]].concat();
    let lab = Lab::start(&args);
    let (code, text) = lab.end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    let found = data(&out).to_string();
    for name in ["echo-uni", "chat-poll", "parrot", "salon"] {
        assert!(found.contains(&format!("\"{name}\"")), "{name}: {found}");
    }
    assert!(text.contains("report.html"), "{text}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.to_lowercase().starts_with("<!doctype html>") && page.contains("salon"));
    let idle = runs(&data(&out), "idle", "salon");
    assert!(idle.iter().any(|run| run.get("bytes_per_client").is_some()), "{idle:?}");
    for row in rows(&data(&out), "idle", "parrot") {
        assert_eq!(row["note"], "an echo server keeps nobody");
    }
    let sessions = runs(&data(&out), "connections", "parrot");
    assert!(sessions.iter().any(|run| run.get("sessions_per_s").is_some()), "{sessions:?}");
    // What the laboratory has written, it may replace.
    let again = [&["churn"], &args[2..]].concat();
    let (code, text) = Lab::start(&again).end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
}

#[test]
fn a_message_that_does_not_come_back_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let found = faulty(folder.path(), &["roundtrip"], 2);
    let [alone, crowd] = &runs(&found, "roundtrip", "sieve")[..] else { panic!("{found}") };
    for (run, told) in [(alone, "1 copy had not come"), (crowd, "20 copies had not come")] {
        assert!(run["faults"].to_string().contains(told), "{run}");
    }
}

#[test]
fn copies_that_never_come_are_counted_and_timed() {
    let folder = tempfile::tempdir().unwrap();
    let found = faulty(folder.path(), &["rate", "frozen"], 50);
    let [rate, frozen] = ["rate", "frozen"].map(|it| runs(&found, it, "sieve")[0].clone());
    for run in [&rate, &frozen] {
        let faults = run["faults"].to_string();
        assert!(faults.contains("copies were lost") && !faults.contains("messages"), "{run}");
    }
    // 500 messages a second for 0.4 s, to 20 clients: every 50th is 4 messages, which are 80 copies.
    assert!(rate["undelivered"].as_f64() >= Some(80.0), "{rate}");
    // One copy in fifty is later than all that come: p99 has it.
    assert!(rate["p99_us"].as_f64() > Some(100_000.0), "{rate}");
    // 2,000 a second for 2.45 s are 4,900: 98 of them, in 1,960 copies.
    assert!(frozen["undelivered"].as_f64() >= Some(1960.0), "{frozen}");
    let growth = frozen["growth_bytes_over_s"].as_array().unwrap();
    assert!(growth.iter().all(|point| point[1].as_f64() >= Some(0.0)), "{frozen}");
}

/// What is found of a chat that loses messages.
fn faulty(folder: &Path, experiments: &[&str], one_in: u32) -> Value {
    let (lossy, out) = (mine(folder, "sieve", &lossy(one_in)), folder.join("found"));
    let args = ["--as-built", "--quick", "--runs", "1", "--no-peers", "--only", "sieve"];
    let args = [experiments, &args, &["--mine", &lossy, "--out", out.to_str().unwrap()]].concat();
    let (code, text) = Lab::start(&args).end();
    assert_eq!(code, Some(1), "{text}");
    data(&out)
}

#[test]
fn a_run_that_fails_is_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    // It lets eight clients in: enough to be known as a chat, and too few for a crowd.
    let few = CHAT.replace(
        "writers.add(writer)",
        "writers.add(writer)\n    if len(writers) > 8: raise OSError",
    );
    let few = mine(folder.path(), "bench", &few);
    let out = folder.path().join("found");
    let args = ["fanout", "--as-built", "--quick", "--runs", "1", "--no-peers", "--only", "bench"];
    let args = [&args[..], &["--mine", &few, "--out", out.to_str().unwrap()]].concat();
    let (code, text) = Lab::start(&args).end();
    assert_eq!(code, Some(1), "{text}");
    let row = &rows(&data(&out), "fanout", "bench")[0];
    assert!(row["failure"].to_string().contains("run 1 of 1 failed"), "{row}");
    assert!(text.contains("not measured: run 1 of 1 failed"), "{text}");
}

#[test]
fn the_stages_alone_are_measured_unless_more_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["idle", "--as-built", "--quick", "--runs", "1", "--no-peers"];
    let args = [&args[..], &["--out", folder.path().to_str().unwrap()]].concat();
    let (code, text) = Lab::start(&args).end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    let found = data(folder.path());
    let rows = found["experiments"][0]["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["server"].as_str().unwrap()).collect();
    let stages = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"];
    assert!(names.iter().all(|name| stages.contains(name)), "{names:?}");
    assert!(names.contains(&"chat-poll"), "{names:?}");
}

#[test]
fn a_chat_inside_tls_stands_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let experiments = ["idle", "roundtrip", "frozen", "connections"];
    let args = ["--as-built", "--quick", "--runs", "1", "--only", "chat-tls", "--out", out];
    let (code, text) = Lab::start(&[&experiments[..], &args].concat()).end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    let found = data(folder.path());
    let figures = ["bytes_per_client", "p50_us", "calm_p50_us", "sessions_per_s"];
    for (experiment, figure) in experiments.into_iter().zip(figures) {
        let runs = runs(&found, experiment, "chat-tls");
        assert!(runs.iter().any(|run| run[figure].is_f64()), "{experiment}: {runs:?}");
        let notes = rows(&found, experiment, "chat-tls");
        assert!(notes[0]["note"].to_string().contains("inside TLS"), "{experiment}: {notes:?}");
    }
    let wrong = |run: &Value| run["lost"] != 0.0 || run["forged"] != 0.0;
    assert!(!runs(&found, "roundtrip", "chat-tls").iter().any(wrong), "{found}");
}

/// Where there is no NATS server, the laboratory says so; else that what it takes is not counted.
#[test]
fn what_a_server_needs_runs_beside_it_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("found");
    let args = ["roundtrip", "--as-built", "--quick", "--runs", "1", "--no-peers"];
    let args = [&args[..], &["--only", "chat-nats", "--out", out.to_str().unwrap()]].concat();
    let mut command = tincan(&args);
    command.env("TMPDIR", folder.path());
    let (code, text) = Lab::run(command).end();
    if code == Some(2) {
        assert!(text.contains("nats-server is not installed: chat-nats is left out."), "{text}");
    } else {
        assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
        let rows = rows(&data(&out), "roundtrip", "chat-nats");
        assert!(rows.iter().all(|row| row["runs"][0].get("p50_us").is_some()), "{rows:?}");
        let is_told = |row: &Value| row["note"].to_string().contains("not counted");
        assert!(!rows.is_empty() && rows.iter().all(is_told), "{rows:?}");
    }
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["found"]);
}

/// All runs of a server in an experiment.
fn runs(data: &Value, experiment: &str, server: &str) -> Vec<Value> {
    let rows = rows(data, experiment, server);
    rows.iter().flat_map(|row| row["runs"].as_array().unwrap().clone()).collect()
}

/// A row for each case.
fn rows(data: &Value, experiment: &str, server: &str) -> Vec<Value> {
    let outcomes = data["experiments"].as_array().unwrap();
    let outcome = outcomes.iter().find(|outcome| outcome["id"] == experiment).unwrap();
    let rows = outcome["rows"].as_array().unwrap();
    rows.iter().filter(|row| row["server"] == server).cloned().collect()
}

#[test]
fn an_interruption_keeps_what_is_done() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let lab = Lab::start(&[
            "idle",
            "churn",
            "--as-built",
            "--no-peers",
            "--only",
            "chat-poll",
            "--out",
            out,
        ]);
        lab.wait_for("· idle, 100 clients");
        lab.signal(signal);
        let (code, text) = lab.end();
        assert_eq!(code, Some(128 + signal.as_raw()), "{text}");
        assert!(text.contains("It was interrupted after "), "{text}");
        let data = data(folder.path());
        assert!(data["left_out"].to_string().contains("interrupted"), "{data}");
        assert!(!runs(&data, "idle", "chat-poll").is_empty(), "{data}");
        assert!(folder.path().join("report.html").exists());
    }
}

#[test]
fn nothing_is_left_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let lab =
        Lab::start(&["idle", "--as-built", "--no-peers", "--only", "chat-poll", "--out", out]);
    lab.wait_for("· idle, 1,000 clients");
    let until = Instant::now() + DEADLINE;
    while !marked(&lab.mark).iter().any(|name| name.trim_end() == "chat-poll") {
        assert!(Instant::now() < until, "no server: {}", lab.printed());
    }
    lab.signal(Signal::KILL);
    let (code, text) = lab.end();
    assert_eq!(code, None, "{text}");
}

/// A laboratory that runs, all that it prints, and the mark by which its processes are known.
struct Lab {
    child: Child,
    mark: String,
    printed: Printed,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Lab {
    fn start(args: &[&str]) -> Self {
        Self::run(tincan(args))
    }

    fn run(mut command: Command) -> Self {
        let mark = format!("{:x}", fastrand::u128(..));
        command.env(MARK, &mark).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let printed = Arc::default();
        let readers = vec![collect(stdout, &printed), collect(stderr, &printed)];
        Self { child, mark, printed, readers }
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.0.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        let (printed, changed) = &*self.printed;
        let is_missing = |it: &mut Vec<u8>| !String::from_utf8_lossy(it).contains(text);
        let printed = printed.lock().unwrap();
        drop(changed.wait_timeout_while(printed, DEADLINE, is_missing).unwrap());
        assert!(self.printed().contains(text), "no {text:?} in {}", self.printed());
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; gives its exit code and all that it printed. Nothing may be left running.
    fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end: {}", self.printed()),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let until = Instant::now() + LEFT;
        // Whoever is left running holds the other end of the pipes, too.
        while !marked(&self.mark).is_empty()
            || !self.readers.iter().all(thread::JoinHandle::is_finished)
        {
            assert!(Instant::now() < until, "left running: {:?}", marked(&self.mark));
            thread::sleep(Duration::from_millis(5));
        }
        (status.code(), self.printed())
    }
}
