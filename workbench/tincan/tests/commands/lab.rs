//! `tincan lab` as its user sees it: its output, its exit codes, its files, and that it leaves no process
//! running. It measures with this build and with servers built like it.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use crate::harness::{Printed, collect, marked, python, stderr, stdout};
use probe::server::Launch;

/// The limit for everything, which includes the first build of the stages.
const DEADLINE: Duration = Duration::from_mins(4);

/// The limit for processes that were left running to end.
const LEFT: Duration = Duration::from_secs(20);

/// A variable in the environment of every process that the laboratory starts.
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

/// The same, but one in `one_in` messages is not relayed. Only measured messages are counted: they end with
/// `#`, and the messages before them have the highest numbers.
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

/// A server that sends a message of its own.
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

/// Writes a Python server into the folder, and returns it as a value of `--mine`.
fn mine(folder: &Path, name: &str, program: &str) -> String {
    let file = folder.join(format!("{name}.py"));
    fs::write(&file, program).unwrap();
    format!("{name}={} {} {{port}}", python(), file.display())
}

fn data(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("data.json")).unwrap()).unwrap()
}

#[test]
fn usage_errors_say_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("report.html"), "my own").unwrap();
    let taken = folder.path().to_str().unwrap();
    for (args, said) in [
        (&["flying"][..], "roundtrip      How long"),
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
        (&["--out", env!("CARGO_BIN_EXE_tincan")], "is not a folder"),
        (&["idle", "--window", "4096"], "--window does not change idle"),
        (&["churn", "idle", "--seconds", "1"], "--seconds does not change idle, churn"),
        (&["--seconds=-1"], "expected 0 to 3600 seconds"),
        (&["rate", "--clients", "5"], "--clients does not change rate"),
        (&["--pid", "1"], "--addr <HOST:PORT>"),
        (&["--addr", "127.0.0.1:1", "--only", "redis"], "cannot be used with"),
        (&["--addr", "nowhere"], "invalid"),
        (&["churn", "--addr", "127.0.0.1:1"], "churn reads the server's memory"),
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
    for id in ["idle", "roundtrip", "fanout", "rate", "slow-consumer", "connections", "churn"] {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{id} ")));
        assert!(line.is_some_and(|line| line.ends_with('?')), "{id}: {text}");
    }
}

#[test]
fn servers_that_cannot_be_measured_are_reported() {
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
fn servers_of_the_user_are_measured_with_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, chat) = (mine(folder.path(), "parrot", ECHO), mine(folder.path(), "salon", CHAT));
    let out = folder.path().join("found/here");
    let args = ["--as-built", "--quick", "--runs", "1", "--no-peers"];
    let only = ["--only", "echo-uni,chat-poll", "--mine", &echo, "--mine", &chat, "--out"];
    let args = [&args[..], &only, &[out.to_str().unwrap()]].concat();
    let (code, text) = Lab::start(
        &[&["idle", "connections", "--clients", "20", "--seconds", "0.1"], &args[..]].concat(),
    )
    .end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    let found = data(&out).to_string();
    for name in ["echo-uni", "chat-poll", "parrot", "salon"] {
        assert!(found.contains(&format!("\"{name}\"")), "{name}: {found}");
    }
    assert!(text.contains("report.html"), "{text}");
    expect_answers(&text, &data(&out), &["echo-uni", "chat-poll", "parrot", "salon"]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.to_lowercase().starts_with("<!doctype html>") && page.contains("salon"));
    let place = |id: &str| page.find(&format!("id=\"{id}\"")).unwrap();
    assert!(place("answers") < place("machine") && place("machine") < place("idle"), "{page}");
    let idle = runs(&data(&out), "idle", "salon");
    assert!(idle.iter().any(|run| run.get("bytes_per_client").is_some()), "{idle:?}: {text}");
    for row in rows(&data(&out), "idle", "parrot") {
        assert_eq!(row["not_measured"], "an echo server closes each connection");
    }
    let sessions = runs(&data(&out), "connections", "parrot");
    assert!(sessions.iter().any(|run| run.get("sessions_per_s").is_some()), "{sessions:?}: {text}");
    // The laboratory may replace its own results.
    let (code, text) = Lab::start(&[&["churn"], &args[..]].concat()).end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
}

/// Expects that the answers come before the tables of the experiments, name these servers, and have the figures of
/// `data.json`.
fn expect_answers(text: &str, data: &Value, servers: &[&str]) {
    let (_, shown) = text.split_once("Which design suits which need?").unwrap();
    assert!(shown.contains("\nIdle clients\n") && shown.contains("\nConnections\n"), "{text}");
    assert!(!text.split_once("Which design").unwrap().0.contains("\nIdle clients\n"), "{text}");
    let mut lines = shown.lines();
    let heads: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(heads, servers, "{text}");
    let rows = data["answers"].as_array().unwrap();
    let experiments: Vec<_> = rows.iter().map(|row| row["experiment"].as_str().unwrap()).collect();
    let (idle, connections) = experiments.split_at(1);
    assert_eq!(idle, ["idle"], "{data}");
    // A run that is too short for the kernel's clock has no processor time.
    let are_connections = connections.iter().all(|it| *it == "connections");
    assert!(are_connections && (2..=3).contains(&connections.len()), "{data}");
    for (row, line) in rows.iter().zip(lines) {
        let mut shown = line.trim().split("  ").map(str::trim).filter(|it| !it.is_empty()).skip(1);
        for server in servers {
            let shown = shown.next().unwrap();
            let mut cells = row["cells"].as_array().unwrap().iter();
            match cells.find(|cell| cell["server"] == *server) {
                None => assert_eq!(shown, "-", "{server}: {line}"),
                Some(cell) => match cell["median"].as_f64() {
                    None => assert_eq!(shown, "!", "{server}: {line}"),
                    Some(median) => expect_number(shown, median, line),
                },
            }
        }
        assert_eq!(shown.next(), None, "{line}");
    }
    let answer = &rows[0]["cells"][0];
    let measured = self::rows(data, "idle", answer["server"].as_str().unwrap());
    assert_eq!(measured[0]["summary"]["bytes_per_client"]["median"], answer["median"], "{data}");
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!words.contains("round trip, p50") && words.contains(" lab roundtrip)"), "{text}");
}

/// Expects that a cell shows this number, rounded.
fn expect_number(cell: &str, expected: f64, line: &str) {
    let number = cell.trim_start_matches(['*', '=', '≥', '!']);
    let (digits, unit) = number.split_once(' ').unwrap_or((number, ""));
    let digits: f64 = digits.replace(',', "").replace('−', "-").parse().unwrap();
    let size = match unit {
        "" | "B" | "%" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "k" => 1e3,
        "M" => 1e6,
        other => panic!("{other}: {line}"),
    };
    let off = (digits * size - expected).abs();
    assert!(off <= expected.abs() * 0.06, "{cell} is not {expected}: {line}");
}

#[test]
fn a_terminal_shows_the_answers_on_its_last_screen() {
    let folder = tempfile::tempdir().unwrap();
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let path = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
    let tty = fs::File::options().read(true).write(true).open(path).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&tty, size).unwrap();
    let args =
        ["idle", "roundtrip", "--clients", "10", "--seconds", "0.1", "--as-built", "--quick"];
    let only = ["--runs", "1", "--no-peers", "--only", "chat-poll,chat-async", "--out"];
    let args = [&args[..], &only, &[folder.path().to_str().unwrap()]].concat();
    let mut command = tincan(&args);
    command.stdout(tty).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Closes this process's side of the terminal, so that reading ends with the laboratory.
    drop(command);
    let size = |n: u16| n.try_into().unwrap();
    let mut parser = vt100::Parser::new(size(24), size(80), 1000);
    let mut output = fs::File::from(pty);
    let (sender, screens) = mpsc::channel();
    thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buf) {
            parser.process(&buf[..n]);
        }
        let _ = sender.send(parser);
    });
    let Ok(mut parser) = screens.recv_timeout(DEADLINE) else {
        child.kill().unwrap();
        panic!("the laboratory does not end");
    };
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 1)));
    let screen = parser.screen().contents();
    let line = |start: &str| screen.lines().position(|line| line.starts_with(start));
    let answers = line("Which design suits which need?").unwrap_or_else(|| panic!("{screen}"));
    assert!(line("It took ") > Some(answers), "{screen}");
    assert!(line("Idle clients").is_none_or(|table| table < answers), "{screen}");
    // The table of the first experiment was printed before, and may have left the screen.
    parser.screen_mut().set_scrollback(1000);
    let first = parser.screen().contents();
    let table = first.find("Idle clients\n").unwrap_or_else(|| panic!("{first}"));
    assert!(first.find("Which design").is_none_or(|answers| table < answers), "{first}");
}

#[test]
fn a_message_that_does_not_come_back_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    // At the same time, because each waits five seconds for a copy that does not come.
    thread::scope(|scope| {
        for (clients, fault) in [("1", "1 copy had not come"), ("20", "20 copies had not come")] {
            let folder = folder.path().join(clients);
            scope.spawn(move || {
                fs::create_dir(&folder).unwrap();
                let found = faulty(&folder, &["roundtrip", "--clients", clients], 2);
                let [run] = &runs(&found, "roundtrip", "sieve")[..] else { panic!("{found}") };
                assert!(run["faults"].to_string().contains(fault), "{run}");
            });
        }
    });
}

#[test]
fn copies_that_never_come_are_counted_and_timed() {
    let folder = tempfile::tempdir().unwrap();
    // At the same time, because both spend seconds on waiting for copies.
    let [rate, slow] = thread::scope(|scope| {
        let running = ["rate", "slow-consumer"].map(|experiment| {
            let folder = folder.path().join(experiment);
            scope.spawn(move || {
                fs::create_dir(&folder).unwrap();
                runs(&faulty(&folder, &[experiment], 50), experiment, "sieve")[0].clone()
            })
        });
        running.map(|thread| thread.join().unwrap())
    });
    for run in [&rate, &slow] {
        let faults = run["faults"].to_string();
        assert!(faults.contains("copies were lost") && !faults.contains("messages"), "{run}");
    }
    // 500 messages a second for 0.4 s, to 20 clients: every 50th is 4 messages, which are 80 copies.
    assert!(rate["undelivered"].as_f64() >= Some(80.0), "{rate}");
    // One copy in fifty is later than all copies that come, so p99 shows it.
    assert!(rate["p99_us"].as_f64() > Some(100_000.0), "{rate}");
    // 2,000 a second for 2.45 s are 4,900: 98 of them, in 1,960 copies.
    assert!(slow["undelivered"].as_f64() >= Some(1960.0), "{slow}");
    let growth = slow["growth_bytes_over_s"].as_array().unwrap();
    assert!(growth.iter().all(|point| point[1].as_f64() >= Some(0.0)), "{slow}");
}

/// Returns the results of a chat that does not relay one message in `one_in`.
fn faulty(folder: &Path, experiments: &[&str], one_in: u32) -> Value {
    let (lossy, out) = (mine(folder, "sieve", &lossy(one_in)), folder.join("found"));
    let args = ["--as-built", "--quick", "--runs", "1", "--no-peers", "--only", "sieve"];
    let args = [experiments, &args, &["--mine", &lossy, "--out", out.to_str().unwrap()]].concat();
    let (code, text) = Lab::start(&args).end();
    assert_eq!(code, Some(1), "{text}");
    data(&out)
}

#[test]
fn a_run_that_fails_changes_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    // It takes eight clients: enough to be recognized as a chat, and too few for the experiment.
    let few = CHAT.replace(
        "writers.add(writer)",
        "writers.add(writer)\n    if len(writers) > 8: raise OSError",
    );
    let few = mine(folder.path(), "bench", &few);
    let out = folder.path().join("found");
    let args = ["fanout", "--as-built", "--quick", "--runs", "1", "--no-peers", "--only", "bench"];
    let more = ["--clients", "10", "--mine", &few, "--out", out.to_str().unwrap()];
    let args = [&args[..], &more].concat();
    let (code, text) = Lab::start(&args).end();
    assert_eq!(code, Some(1), "{text}");
    let row = &rows(&data(&out), "fanout", "bench")[0];
    assert!(row["failure"].to_string().contains("run 1 of 1 failed"), "{row}");
    assert!(text.contains("not measured: run 1 of 1 failed"), "{text}");
    let is_answer =
        |line: &str| line.starts_with("Room of 10: deliveries/s ") && line.ends_with(" !");
    assert!(text.lines().any(is_answer), "{text}");
    assert!(text.contains("Faults: see the table “Fan-out”."), "{text}");
    let answer = &data(&out)["answers"][0]["cells"][0];
    assert!(answer["median"].is_null() && answer["is_faulty"] == true, "{answer}");
}

#[test]
fn only_the_stages_are_measured_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["idle", "--clients", "1000", "--as-built", "--quick", "--runs", "1", "--no-peers"];
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
fn a_chat_inside_tls_is_measured_too() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let experiments = ["idle", "roundtrip", "slow-consumer", "connections"];
    // A debug build does a thousand handshakes in seconds, and twenty show the same.
    let args = ["--as-built", "--quick", "--runs", "1", "--clients", "20"];
    let args = [&args[..], &["--only", "chat-tls", "--out", out]].concat();
    let (code, text) = Lab::start(&[&experiments[..], &args].concat()).end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    let found = data(folder.path());
    let figures = ["bytes_per_client", "p50_us", "without_p50_us", "sessions_per_s"];
    for (experiment, figure) in experiments.into_iter().zip(figures) {
        let runs = runs(&found, experiment, "chat-tls");
        assert!(runs.iter().any(|run| run[figure].is_f64()), "{experiment}: {runs:?}");
        let notes = rows(&found, experiment, "chat-tls");
        assert!(notes[0]["note"].to_string().contains("inside TLS"), "{experiment}: {notes:?}");
    }
    let wrong = |run: &Value| run["lost"] != 0.0 || run["forged"] != 0.0;
    assert!(!runs(&found, "roundtrip", "chat-tls").iter().any(wrong), "{found}");
}

/// Where NATS is not installed, the laboratory says so; otherwise, a note says that it is not counted.
#[test]
fn a_nats_server_runs_with_chat_nats_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("found");
    let args = ["roundtrip", "--as-built", "--quick", "--runs", "1", "--no-peers"];
    let args = [&args[..], &["--only", "chat-nats", "--out", out.to_str().unwrap()]].concat();
    let mut command = tincan(&args);
    command.env("TMPDIR", folder.path());
    let (code, text) = Lab::run(command).end();
    if code == Some(2) {
        assert!(text.contains("chat-nats is left out: nats-server is not installed."), "{text}");
    } else {
        assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
        let rows = rows(&data(&out), "roundtrip", "chat-nats");
        assert!(rows.iter().all(|row| row["runs"][0].get("p50_us").is_some()), "{rows:?}");
        let has_note = |row: &Value| row["note"].to_string().contains("not counted");
        assert!(!rows.is_empty() && rows.iter().all(has_note), "{rows:?}");
    }
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["found"]);
}

/// The C programs need no other program than a compiler, which the tests of this workspace have.
#[test]
fn the_c_programs_are_compiled_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let only = "chat-poll,c-accept,c-broadcast,c-broadcast-prefix";
    let args = ["fanout", "connections", "--as-built", "--quick", "--runs", "1", "--only", only];
    let load = ["--clients", "10", "--seconds", "1", "--out", out];
    let (code, text) = Lab::start(&[&args[..], &load].concat()).end();
    let found = data(folder.path());
    if found["left_out"].to_string().contains("there is no C compiler") {
        return;
    }
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    for server in ["c-broadcast", "c-broadcast-prefix", "chat-poll"] {
        let runs = runs(&found, "fanout", server);
        assert_eq!(runs.len(), 1, "{server}: {found}");
        assert!(runs[0]["deliveries_per_s"].as_f64() > Some(0.0), "{server}: {found}");
        let has_ratio = runs[0].get("cpu_times_baseline").is_some();
        assert_eq!(has_ratio, server != "c-broadcast", "{server}: {found}");
    }
    let silent = &rows(&found, "connections", "c-accept")[0];
    assert!(silent["note"].to_string().contains("answered no other client"), "{silent}");
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_server_that_runs_already_is_measured() {
    for (stage, protocol) in [("chat-poll", "chat"), ("echo-multi", "echo")] {
        let server =
            Launch::new(crate::harness::stage(stage), &[]).args(&["-qqq"]).start().unwrap();
        let (addr, pid) = (server.addr().to_string(), server.pid().unwrap().to_string());
        let run = |args: &[&str]| {
            let output = run(&[args, &["--as-built", "--addr", &addr]].concat());
            assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
            stdout(&output)
        };
        let pid = ["--pid", &pid];
        if protocol == "echo" {
            let args = ["connections", "--at-once", "5", "--seconds", "0.2"];
            let text = run(&[&args[..], &pid].concat());
            assert!(text.starts_with("connections, 5 at once\nsessions_per_s  "), "{text}");
            continue;
        }
        let load = ["--clients", "20", "--seconds", "0.2", "--warm-up", "0", "--window", "1024"];
        let text = run(&[&["fanout"], &load[..]].concat());
        assert!(text.starts_with("fanout, 20 clients\ndeliveries_per_s  "), "{text}");
        assert!(!text.contains("server_cpu_percent"), "{text}");
        let args = ["fanout", "idle", "--json", "--protocol", protocol];
        let text = run(&[&args[..], &load, &pid].concat());
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [idle, fanout] = &lines[..] else { panic!("{text}") };
        assert!(idle["experiment"] == "idle" && idle["case"] == "20 clients", "{idle}");
        assert!(idle["bytes_per_client"].is_f64() && idle["faults"].is_array(), "{idle}");
        assert!(fanout["server_cpu_percent"].is_f64(), "{fanout}");
    }
}

/// Returns all runs of a server in an experiment.
fn runs(data: &Value, experiment: &str, server: &str) -> Vec<Value> {
    let rows = rows(data, experiment, server);
    rows.iter().flat_map(|row| row["runs"].as_array().unwrap().clone()).collect()
}

/// Returns the measurement of each case.
fn rows(data: &Value, experiment: &str, server: &str) -> Vec<Value> {
    let outcomes = data["experiments"].as_array().unwrap();
    let outcome = outcomes.iter().find(|outcome| outcome["id"] == experiment).unwrap();
    let rows = outcome["rows"].as_array().unwrap();
    rows.iter().filter(|row| row["server"] == server).cloned().collect()
}

#[test]
fn an_interruption_keeps_the_results_so_far() {
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
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("It was interrupted after "), "{text}");
        let data = data(folder.path());
        assert!(data["interruption"].to_string().contains("It was interrupted after"), "{data}");
        assert!(!runs(&data, "idle", "chat-poll").is_empty(), "{data}");
        assert!(folder.path().join("report.html").exists());
    }
}

#[test]
fn no_server_is_left_when_it_is_killed() {
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

/// A laboratory that runs, its output, and the mark of its processes.
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

    /// Waits for its end, and until none of its processes runs. Returns its exit code and its output.
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
        // A process that is left running also keeps the pipes open.
        while !marked(&self.mark).is_empty()
            || !self.readers.iter().all(thread::JoinHandle::is_finished)
        {
            assert!(Instant::now() < until, "left running: {:?}", marked(&self.mark));
            thread::sleep(Duration::from_millis(5));
        }
        (status.code(), self.printed())
    }
}
