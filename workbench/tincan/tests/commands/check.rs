//! Tests `tincan check` as its user sees it: what it prints, its exit codes, and that no process stays.
#![cfg(unix)]

use std::env::consts::EXE_EXTENSION;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use check::mutants;
use check::{Check, Profile, Requirement, TABLE};
use probe::port::Port;
#[cfg(target_os = "linux")]
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[cfg(target_os = "linux")]
use crate::harness::marked;
use crate::harness::{python, stderr, stdout, wait_until};

fn tincan(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command.args(args).env_remove("CARGO_PKG_NAME").env_remove("PORT").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    tincan(args).output().unwrap()
}

/// Servers that are compiled once for all tests.
struct Programs {
    right: PathBuf,
    wrong: PathBuf,
    pair: PathBuf,
}

/// Returns a correct chat server; an echo server as a beginner writes it, which sends back what a read
/// returns, without the ␀; and an echo server that writes addresses as Python does.
fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        const WRONG: &str = r#"
            use std::io::{Read, Write};
            fn main() {
                let port = std::env::args().nth(1).unwrap();
                let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
                for sock in listener.incoming() {
                    let mut sock = sock.unwrap();
                    let mut data = [0; 1024];
                    let len = sock.read(&mut data).unwrap();
                    println!("got {len} bytes");
                    sock.write_all(&data[..len.saturating_sub(1)]).unwrap();
                }
            }"#;
        const PAIR: &str = r#"
            use std::io::{BufRead, BufReader, Write};
            fn main() {
                let port = std::env::args().nth(1).unwrap();
                let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
                loop {
                    let (mut sock, addr) = listener.accept().unwrap();
                    let mut msg = Vec::new();
                    BufReader::new(&sock).read_until(0, &mut msg).unwrap();
                    let name = format!("('{}', {}): ", addr.ip(), addr.port());
                    sock.write_all(&[name.as_bytes(), &msg].concat()).unwrap();
                }
            }"#;
        let right = compiled("right.rs", mutants::right_source("chat.rs").unwrap());
        let wrong = compiled("wrong.rs", WRONG);
        let pair = compiled("pair.rs", PAIR);
        Programs { right, wrong, pair }
    })
}

/// Compiles a program, unless an earlier run has compiled the same source. The program gets its place when it is
/// complete: another run of these tests, in the same checkout, may use it at this moment.
fn compiled(name: &str, text: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join(name), folder.join(name).with_extension(EXE_EXTENSION));
    let is_compiled = fs::read_to_string(&source).is_ok_and(|compiled| compiled == text);
    if !is_compiled || !program.exists() {
        let new = tempfile::tempdir_in(folder).unwrap();
        let new_source = new.path().join(name);
        fs::write(&new_source, text).unwrap();
        let command = mutants::command(&new_source).unwrap();
        fs::rename(&command[0], &program).unwrap();
        fs::rename(&new_source, &source).unwrap();
    }
    program
}

fn right() -> &'static str {
    programs().right.to_str().unwrap()
}

fn wrong() -> &'static str {
    programs().wrong.to_str().unwrap()
}

#[test]
fn a_right_server_gets_a_short_answer() {
    let output = run(&["check", "chat", "--patience", "20", "--", right(), "{port}"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().count() <= 20, "{text}");
    let asked = |check: &&Check| check.requirement(Profile::Chat) == Requirement::MustPass;
    let all = TABLE.iter().filter(asked).count();
    assert!(text.contains(&format!("\npass: {all} of {all} checks of chat in ")), "{text}");
}

#[test]
fn a_failure_is_explained() {
    let output = run(&["check", "echo-uni", "--", wrong(), "{port}"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("frame-one · framing · one message\n"), "{text}");
    for part in [
        "      did  A connected and sent one message",
        " expected  \"hello␀\"\n            68 65 6c 6c 6f 00\n",
        "      got  \"hello\"\n                 ^ byte 6\n            68 65 6c 6c 6f\n",
        "     rule  A message is UTF-8 text ended by one ␀",
        "   likely  The answer does not end with a ␀",
        "  printed  stdout| got 6 bytes\n",
        "     read  book/protocol.html, \"Why messages need frames\"\n",
        "   → \"hello␀\"\n",
        "   ← \"hello\"\n",
        "    stdout| got 6 bytes\n",
        "\nFAIL: 1 of ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let again = text.lines().find_map(|line| line.strip_prefix("    again  ")).unwrap();
    let words = shlex::split(again).unwrap();
    let again = Command::new(&words[0]).args(&words[1..]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(stdout(&again).starts_with("frame-one · "));
}

#[test]
fn an_address_may_be_written_as_python_prints_it() {
    let server = programs().pair.to_str().unwrap();
    let args = ["check", "echo-multi", "--only", "frame-one", "--", server, "{port}"];
    let output = run(&args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("note: the server writes a client's address as Python prints a tuple"),
        "{text}"
    );
    // An answer of echo-uni has no address, so that there it is an error.
    assert_eq!(run(&[&["check", "echo-uni"], &args[2..]].concat()).status.code(), Some(1));
}

#[test]
fn more_hints_say_more() {
    let lines = |hints: &str| {
        let args = ["check", "echo-uni", "--hints", hints, "--only", "frame-one", "--"];
        let text = stdout(&run(&[&args[..], &[wrong(), "{port}"]].concat()));
        ["   likely  ", "  look at  ", "  to fix  "].map(|label| text.contains(label))
    };
    assert_eq!(lines("0"), [false, false, false]);
    assert_eq!(lines("1"), [true, false, false]);
    assert_eq!(lines("2"), [true, true, false]);
    assert_eq!(lines("3"), [true, true, true]);
}

#[test]
fn a_grid_shows_which_profile_must_pass_which_check() {
    let text = stdout(&run(&["check", "--list"]));
    for check in TABLE.iter() {
        assert!(text.contains(&format!("\n  {} ", check.id)), "{}\n{text}", check.id);
    }
    let row =
        |id: &str| text.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap();
    let marks = |id: &str| row(id).matches(['●', '○', '·']).collect::<String>();
    assert_eq!(marks("frame-one"), "●●●●●●······");
    assert_eq!(marks("silent-peer"), "○●●●●●●●●●●·");
    assert_eq!(marks("cli-usage"), "···········●");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn the_checks_of_a_profile_are_listed_with_their_rules() {
    let text = stdout(&run(&["check", "echo-uni", "--list"]));
    for check in TABLE.iter() {
        let asked = check.requirement(Profile::EchoUni);
        let line = format!("\n  {:<21}{}", check.id, check.title);
        assert_eq!(text.contains(&line), asked != Requirement::None, "{}\n{text}", check.id);
        let words = check.rule.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        assert!(asked == Requirement::None || text.contains(&words), "{}", check.id);
    }
    assert!(text.contains("(must fail)"), "{text}");
}

#[test]
fn programs_can_read_the_result() {
    let only = ["--only", "frame-one", "--only", "frame-three"];
    let check = |format| {
        let args =
            [&["check", "echo-uni", "--format", format][..], &only, &["--", wrong(), "{port}"]];
        stdout(&run(&args.concat()))
    };
    let json: Value = serde_json::from_str(&check("json")).unwrap();
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["checks"][0]["id"], "frame-one");
    assert_eq!(json["checks"][0]["failure"]["expected"]["hex"], "68656c6c6f00");
    assert_eq!(json["checks"][0]["failure"]["got"]["hex"], "68656c6c6f");
    assert_eq!(json["checks"][1]["outcome"], "not tried");
    let junit = check("junit");
    assert!(junit.contains("tests=\"2\" skipped=\"1\" failures=\"1\""), "{junit}");
    assert!(junit.contains("<testcase name=\"frame-one\" classname=\"framing\""), "{junit}");
}

#[test]
fn a_check_can_run_with_the_checks_that_it_depends_on_alone() {
    let outcomes = |args: &[&str], server: &str| {
        let command = ["--format", "json", "--", server, "{port}"];
        let text = stdout(&run(&[&["check"][..], args, &command].concat()));
        let json: Value = serde_json::from_str(&text).unwrap();
        let rows = json["checks"].as_array().unwrap().iter();
        let outcome = |row: &Value| {
            format!("{} {}", row["id"].as_str().unwrap(), row["outcome"].as_str().unwrap())
        };
        rows.map(outcome).collect::<Vec<_>>()
    };
    let passed = ["frame-one passed", "frame-three passed", "frame-bytewise passed"];
    assert_eq!(outcomes(&["chat", "--until", "frame-bytewise"], right()), passed);
    assert_eq!(
        outcomes(&["echo-uni", "--until", "frame-three"], wrong()),
        ["frame-one failed", "frame-three not tried"]
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_late_check_is_tried_as_often_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    for tries in ["1", "2"] {
        // It notes each start, and listens but never accepts.
        let starts = folder.path().join(tries);
        let script = "import os, socket, sys, time\n\
                      print('start', file=open(sys.argv[1], 'a'))\n\
                      listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
                      time.sleep(600)";
        let args =
            ["check", "echo-uni", "--only", "frame-one", "--patience", "1", "--tries", tries];
        let server = ["--", python(), "-c", script, starts.to_str().unwrap()];
        let output = run(&[&args[..], &server].concat());
        assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
        // One start more: the round trip is measured first.
        let started = fs::read_to_string(&starts).unwrap().lines().count();
        assert_eq!(started, tries.parse::<usize>().unwrap() + 1);
    }
}

#[test]
fn the_output_of_a_server_that_ends_at_once_is_shown() {
    let script = "echo what it says; echo and why >&2; exit 7";
    let output = run(&["check", "chat", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    for part in ["exit status: 7", "stdout| what it says", "stderr| and why"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let output = run(&["check", "chat", "--", "/no/such/program", "{port}"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("/no/such/program"));
}

#[test]
fn the_port_can_come_in_a_variable_or_be_the_servers_own() {
    for script in [r#"exec "$0" "$PORT""#, r#"test "$HOST" = 127.0.0.1 && exec "$0" 0"#] {
        let args = ["check", "chat", "--only", "frame-one", "--", "sh", "-c", script, right()];
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{script}: {}", stderr(&output));
    }
}

#[test]
fn a_message_that_does_not_come_is_not_explained_as_one_out_of_order() {
    let right = mutants::right_source("chat_threads.py").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("loses.py");
    let told = |lost: &str, options: &[&str]| {
        let if_kept = format!(
            "            if not (msg.startswith('number ') and int(msg[7:]) {lost}):\n\
             {0}{0}{0}{0}broadcast_msg(client, msg)\n",
            "    "
        );
        let text = right.replace("            broadcast_msg(client, msg)\n", &if_kept);
        fs::write(&program, text).unwrap();
        let args = ["check", "chat", "--only", "chat-sender-order"];
        let server = ["--", python(), program.to_str().unwrap(), "{port}"];
        stdout(&run(&[&args, options, &server].concat()))
    };
    // On a busy machine, the next message may take longer than a second, so this has more patience.
    let text = told("== 49", &[]);
    assert!(text.contains("overtake"), "the next message came instead\n{text}");
    let text = told(">= 49", &["--patience", "1"]);
    assert!(text.contains("      got  nothing for"), "{text}");
    assert!(text.contains("   likely  A message was lost, or it still waits"), "{text}");
    assert!(!text.contains("overtake"), "{text}");
}

/// Linux keeps 15 bytes of a program's name: this name is cut inside its first `ö`.
#[test]
fn a_server_works_whose_name_the_kernel_cuts_inside_a_character() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("process-name-töööö");
    // Not by this process, in which another thread may start a child: see ETXTBSY in execve(2).
    assert!(Command::new("cp").arg(right()).arg(&program).status().unwrap().success());
    let program = program.to_str().unwrap();
    for id in ["frame-one", "threads-each", "term-port"] {
        let output = run(&["check", "chat-threads", "--only", id, "--", program, "{port}"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    }
}

/// Ends a process when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_that_runs_already_is_checked_where_it_is() {
    let port = Port::reserve().unwrap();
    let addr = port.addr();
    let _server = Ended(Command::new(right()).arg(port.to_string()).spawn().unwrap());
    wait_until(|| TcpStream::connect(addr).is_ok());
    let output = run(&["check", "chat", "--patience", "20", "--addr", &addr.to_string()]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("not run   term-delivers, term-port"), "{text}");
    let output = run(&["check", "chat", "--addr", &addr.to_string(), "--only", "term-port"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(TcpStream::connect(addr).is_ok(), "it must still run");
}

#[test]
fn wrong_calls_are_usage_errors() {
    for args in [
        &["check"][..],
        &["check", "echo-uni"],
        &["check", "no-such-profile", "--", "true"],
        &["check", "chat", "--only", "no-such-check", "--", "true"],
        &["check", "chat", "--hints", "4", "--", "true"],
        &["check", "chat", "--until", "framing", "--", "true"],
        &["check", "chat", "--until", "frame-one", "--only", "frame-one", "--", "true"],
        &["check", "chat", "--tries", "0", "--", "true"],
        &["check", "chat", "--addr", "127.0.0.1:1", "--", "true"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains("Usage:") || stderr(&output).contains("--help"),
            "{args:?}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_stays_whatever_signal_ends_it() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mark = format!("tincan-test-{}-{signal:?}", std::process::id());
        // The server shows that it runs by a file: its output goes to tincan.
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let script = r#"touch "$1"; exec "$0" "$PORT""#;
        let mut command = tincan(&["check", "chat", "--", "sh", "-c", script, right()]);
        command.arg(&runs).env("MARK", &mark).stdout(Stdio::piped());
        let mut tincan = Ended(command.spawn().unwrap());
        wait_until(|| runs.exists());
        wait_until(|| marked(&mark).len() >= 2); // tincan and a server
        kill_process(Pid::from_child(&tincan.0), signal).unwrap();
        let status = tincan.0.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{signal:?}");
        wait_until(|| marked(&mark).is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_stays_when_it_is_killed() {
    let mark = format!("tincan-test-{}-killed", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    for (i, args) in [&["check", "chat", "--"][..], &["watch", "--"]].into_iter().enumerate() {
        let runs = folder.path().join(i.to_string());
        // A process of the server's group, but not its first one.
        let script = r#""$0" "$PORT" & touch "$1"; wait"#;
        let mut command = tincan(&[args, &["sh", "-c", script, right()]].concat());
        command.arg(&runs).env("MARK", &mark).stdout(Stdio::null()).stderr(Stdio::null());
        let mut tincan = Ended(command.spawn().unwrap());
        wait_until(|| runs.exists());
        tincan.0.kill().unwrap();
        tincan.0.wait().unwrap();
        wait_until(|| marked(&mark).is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_that_a_server_leaves_behind_is_reported_and_ended() {
    let mark = format!("tincan-test-{}-survivor", std::process::id());
    // One stays in the server's process group, the other leaves it.
    for stays in ["sleep 600", "setsid sleep 600"] {
        let script = format!(r#"{stays} >/dev/null 2>&1 & exec "$0" "$PORT""#);
        let mut command = tincan(&["check", "chat", "--only", "term-port", "--", "sh", "-c"]);
        let output = command.arg(script).arg(right()).env("MARK", &mark).output().unwrap();
        let text = stdout(&output);
        assert!(text.contains("note: term-port: the server left a process behind: "), "{text}");
        assert!(text.contains("(sleep)"), "{text}");
        assert!(marked(&mark).is_empty(), "{text}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_failed_check_of_concurrency_shows_what_each_thread_did() {
    let server = programs().pair.to_str().unwrap();
    let checked = |id: &str, format: &str, target: &[&str]| {
        // With a patience of less, a busy machine may take only one sample of the threads.
        let args = ["check", "echo-multi", "--patience", "3", "--tries", "1", "--only", id];
        let output = run(&[&args[..], &["--format", format], target].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stdout(&output)
    };
    let command = ["--", server, "{port}"];
    // It waits for the silent client and accepts no other client until the check ends.
    let is_lane = |line: &str| line.starts_with("pair ") && line.contains("rrrrrrrrr");
    let text = checked("silent-peer", "text", &command);
    assert!(text.contains("  what each thread of the server did in one more run"), "{text}");
    assert!(text.lines().any(|line| is_lane(line.trim_start())), "{text}");
    let json: Value = serde_json::from_str(&checked("silent-peer", "json", &command)).unwrap();
    let threads = json["checks"][0]["failure"]["threads"].as_str().unwrap();
    assert!(threads.lines().next().is_some_and(is_lane), "{threads}");
    assert!(threads.lines().all(|line| line.chars().count() <= 76), "{threads}");

    // Threads are not shown for a check of another theme, or for a server that tincan has not started.
    let text = checked("frame-empty", "text", &["--", wrong(), "{port}"]);
    assert!(!text.contains("what each thread did"), "{text}");
    let port = Port::reserve().unwrap();
    let addr = port.addr().to_string();
    let _server = Ended(Command::new(server).arg(port.to_string()).spawn().unwrap());
    wait_until(|| TcpStream::connect(&addr).is_ok());
    let text = checked("silent-peer", "text", &["--addr", &addr]);
    assert!(!text.contains("what each thread did"), "{text}");
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let mut command = tincan(&["check", "--list"]);
    let mut child = Ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap().trim(), "echo-uni");
    drop(lines);
    assert!(child.0.wait().unwrap().success());
    let mut said = BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(said.next().is_none());
}
