//! Tests `tincan watch` as its user sees it: in a terminal, whose screen is read, and in a pipe.
#![cfg(target_os = "linux")]

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{expect_well_formed, marked, stage, wait_until};
use crate::on_terminal::OnTerminal;
use watch::State;

/// A variable in the environment of every process that a watch starts.
const MARK: &str = "TINCAN_WATCH_TEST";

const ROWS: u16 = 24;
const COLUMNS: u16 = 100;

fn tincan(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command.arg("watch").args(args).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    tincan(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A process that is killed at the end of its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A watch in a terminal of its own.
struct Watch(OnTerminal);

impl Watch {
    fn start(args: &[&str]) -> Self {
        let args = [&["watch"], args].concat();
        Self(OnTerminal::start(Path::new("."), (ROWS, COLUMNS), &args))
    }

    /// Watches a stage on a free port.
    fn of_stage(name: &str, options: &[&str]) -> Self {
        let program = stage(name);
        let command = ["--", program.to_str().unwrap(), "--port", "{port}"];
        Self::start(&[options, &command].concat())
    }

    /// Waits until this number of lanes with this name end with this letter and these words.
    fn wait_for_lanes(&self, count: usize, name: &str, letter: char, words: &str) {
        let is_such = |line: &&str| {
            let lane = line.strip_suffix(words).map(str::trim_end).unwrap_or_default();
            let last = lane.chars().next_back().map(|it| it.to_ascii_lowercase());
            line.starts_with(name) && last == Some(letter)
        };
        let what = format!("{count} lanes of {name} with {letter} and {words}");
        self.wait_for(&what, |screen| screen.lines().filter(is_such).count() >= count);
    }

    /// Waits until the screen shows where the server listens, and returns the address.
    fn addr(&self) -> SocketAddr {
        let find = |screen: &str| {
            let (_, rest) = screen.split_once("listens on ")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        find(&self.wait_for("address", |screen| find(screen).is_some())).unwrap()
    }

    /// Waits for the end of the watch, and returns its exit code and the screen.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.wait_for_end();
        // Its last output may still be on its way.
        let screen = self.wait_for("last lines", |screen| screen.contains("The server "));
        (code, screen)
    }
}

impl Deref for Watch {
    type Target = OnTerminal;

    fn deref(&self) -> &OnTerminal {
        &self.0
    }
}

impl DerefMut for Watch {
    fn deref_mut(&mut self) -> &mut OnTerminal {
        &mut self.0
    }
}

#[test]
fn a_silent_client_is_what_echo_uni_waits_for() {
    let mut watch = Watch::of_stage("echo-uni", &[]);
    watch.wait_for_lanes(1, "echo-uni", 'a', "accept4");
    let addr = watch.addr();
    let silent = TcpStream::connect(addr).unwrap();
    let words = from(&silent);
    watch.wait_for_lanes(1, "echo-uni", 'r', &words);
    watch.type_in("q");
    let (code, screen) = watch.end();
    assert_eq!(code, Some(0), "{screen}");
    // The last lanes stay on the screen.
    assert!(screen.contains(&words), "{screen}");
    assert!(screen.contains("The server was asked to end, and ended"), "{screen}");
}

#[test]
fn one_loop_waits_in_poll() {
    let watch = Watch::of_stage("chat-poll", &[]);
    watch.wait_for_lanes(1, "chat-poll", 'p', "epoll_wait");
    watch.wait_for("legend", |screen| screen.contains("p poll or epoll"));
}

#[test]
fn two_threads_for_a_client_read_and_wait_at_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("lanes.svg");
    let mut watch = Watch::of_stage("chat-threads", &["--svg", svg.to_str().unwrap()]);
    watch.wait_for_lanes(1, "chat-threads", 'a', "accept4");
    let mut client = TcpStream::connect(watch.addr()).unwrap();
    let port = client.local_addr().unwrap().port();
    // The name of each of the two contains the port of its client, and says which half it is.
    watch.wait_for_lanes(1, &format!("recv {port}"), 'r', &from(&client));
    watch.wait_for_lanes(1, "signals", 'r', "recvfrom socket");
    watch.wait_for_lanes(1, &format!("send {port}"), 'l', "futex");
    // A thread that runs for a moment has a capital letter, and the server's output is below the lanes.
    client.write_all(b"hello\0").unwrap();
    let words = from(&client);
    let has_run =
        |line: &str| line.starts_with("recv ") && line.ends_with(&words) && line.contains('R');
    watch.wait_for("capital", |screen| screen.lines().any(has_run));
    watch.wait_for("log", |screen| screen.contains(": hello"));
    watch.type_in("\x03");
    let (code, screen) = watch.end();
    assert_eq!(code, Some(0), "{screen}");
    let drawn = fs::read_to_string(svg).unwrap();
    expect_well_formed(&drawn);
    assert!(drawn.contains(&format!(" :{port}</text>")), "no port {port} in\n{drawn}");
    for part in [
        ">chat-threads</text>",
        ">signals</text>",
        "<rect class=\"s-a\" x=",
        "<rect class=\"s-r\" x=",
        "<rect class=\"s-l\" x=",
        "<line class=\"ran\" x1=",
        "prefers-color-scheme: dark",
        ">lock or queue</text>",
    ] {
        assert!(drawn.contains(part), "no {part} in\n{drawn}");
    }
}

/// Returns the words for a thread that reads from this client.
fn from(client: &TcpStream) -> String {
    format!("recvfrom :{}", client.local_addr().unwrap().port())
}

#[test]
fn lanes_that_do_not_fit_are_counted() {
    let watch = Watch::of_stage("echo-multi", &[]);
    let addr = watch.addr();
    let _clients: Vec<_> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let counted = |line: &str| {
        let (number, rest) = line.split_once(" more: ")?;
        rest.starts_with("read ").then(|| number.parse::<usize>().ok())?
    };
    let all_in = |screen: &str| {
        let shown = screen.lines().filter(|line| line.contains(" recvfrom ")).count();
        // In addition to these 40, one thread waits for signals.
        screen.lines().find_map(counted).is_some_and(|more| shown + more >= 41)
    };
    let screen = watch.wait_for("all of them", all_in);
    assert!(screen.lines().count() <= usize::from(ROWS), "{screen}");
}

#[test]
fn the_lanes_follow_the_size_of_the_terminal() {
    let watch = Watch::of_stage("chat-threads", &[]);
    watch.wait_for_lanes(1, "chat-threads", 'a', "accept4");
    watch.set_size(12, 40);
    let fits = |screen: &str| {
        let lane = screen.lines().find(|line| line.starts_with("chat-th…"));
        lane.is_some_and(|line| line.chars().count() == 40 && line.ends_with('a'))
            && !screen.contains("accept4")
            && screen.matches("q: quit").count() == 1
    };
    watch.wait_for("narrow lanes", fits);
}

#[test]
fn a_process_that_was_already_running_continues() {
    let mut server = Command::new(stage("echo-multi"));
    server.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = server.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr: SocketAddr = line.trim().strip_prefix("Listening on ").unwrap().parse().unwrap();
    let pid = server.id().to_string();
    let output = run(&["--pid", &pid, "--seconds", "0.5"]);
    let printed = text(&output.stdout);
    let still = TcpStream::connect(addr).is_ok() && server.try_wait().unwrap().is_none();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(still, "{printed}");
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let first = format!("echo-multi {pid} ");
    let is_lane = |line: &str| line.starts_with(&first) && line.ends_with("aaaa");
    assert!(printed.lines().any(is_lane), "{printed}");
    assert!(printed.contains(&format!("Process {pid} is still running.")), "{printed}");
    assert!(!printed.contains('\x1b'), "{printed}");
    assert!(text(&output.stderr).contains(&format!("it listens on {addr}")));
}

#[test]
fn a_signal_ends_the_server_and_writes_the_lanes() {
    for (signal, code) in [(Signal::INT, 0), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let folder = tempfile::tempdir().unwrap();
        let svg = folder.path().join("lanes.svg");
        let mark = format!("{:x}", fastrand::u128(..));
        let program = stage("chat-threads");
        let mut command = tincan(&["--svg", svg.to_str().unwrap(), "--"]);
        command.arg(program).args(["--port", "{port}"]).env(MARK, &mark);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = told.find(|line| line.as_ref().unwrap().starts_with("it listens on "));
        assert!(listens.is_some());
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        wait_until(|| marked(&mark).is_empty());
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains("chat-threads "), "{printed}");
        // A server may listen before it handles the signal that asks it to end.
        assert!(printed.contains("The server was asked to end, and ended: "), "{printed}");
        expect_well_formed(&fs::read_to_string(svg).unwrap());
    }
}

#[test]
fn a_server_that_does_not_end_is_killed_with_its_children() {
    let mark = format!("{:x}", fastrand::u128(..));
    let script = "trap '' TERM; sleep 1000 & setsid sleep 1000 & wait";
    let mut command = tincan(&["--seconds", "2", "--", "sh", "-c", script]);
    let output = command.env(MARK, &mark).output().unwrap();
    let printed = text(&output.stdout);
    assert!(marked(&mark).is_empty(), "{printed}");
    assert!(printed.contains("did not end within 5 s, and was killed"), "{printed}");
    let is_lane = |line: &&str| line.starts_with("sleep ") && line.ends_with("sssssssss");
    assert_eq!(printed.lines().filter(is_lane).count(), 2, "{printed}");
    assert!(
        printed.contains("A process that the server had left behind was killed: "),
        "{printed}"
    );
}

#[test]
fn the_end_of_a_server_is_reported() {
    for (script, code) in [("echo last line; exit 0", 0), ("echo last line; exit 7", 1)] {
        let output = run(&["--", "sh", "-c", script]);
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        let told = format!("The server has ended by itself: exit status: {}.", code * 7);
        assert!(printed.contains(&told), "{printed}");
        assert!(printed.contains("stdout| last line"), "{printed}");
    }
    let watch = Watch::start(&["--", "sh", "-c", "printf 'a\\033[2Jb'; sleep 1; exit 7"]);
    let (code, screen) = watch.end();
    assert_eq!(code, Some(1), "{screen}");
    assert!(screen.contains("exit status: 7") && screen.contains("sleep"), "{screen}");
    assert!(screen.contains(r"stdout| a\u{1b}[2Jb"), "{screen}"); // escaped, so that the terminal does not obey it
}

#[test]
fn usage_errors_are_reported() {
    let none = "does-not-exist-anywhere";
    for (args, code, said) in [
        (&[][..], 2, "required arguments were not provided"),
        (&["--pid", "1", "--", "true"], 2, "cannot be used with"),
        (&["--pid", "0"], 2, "0 is not in 1.."),
        (&["--pid", "me"], 2, "invalid digit"),
        (&["--seconds", "0", "--", "true"], 2, "not a number of seconds above 0"),
        (&["--seconds", "NaN", "--", "true"], 2, "not a number of seconds above 0"),
        (&["--pid", "4194305"], 3, "there is no process 4194305"),
        (&["--", none], 3, "there is no such program"),
        (&["--", "chat-threads"], 3, "is target/debug/chat-threads; cargo build -p chat-threads"),
        (&[none, "--seconds", "1"], 3, "stand before the `--`: cargo tincan watch --seconds"),
        (&["--pid", "1", "--", "true"], 2, "watch [OPTIONS] --pid <PID>\n"),
    ] {
        let output = run(args);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(said), "{args:?}: {told}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn no_other_file_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let started = path("started");
    let touch = started.to_str().unwrap();
    fs::write(path("server.py"), "print('hello')\n").unwrap();
    fs::write(path("other.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    fs::write(path("short.svg"), "<svg").unwrap();
    for (name, said) in [
        ("server.py", "is not a picture of tincan watch, and is left as it is"),
        ("other.svg", "is not a picture of tincan watch, and is left as it is"),
        ("short.svg", "is not a picture of tincan watch, and is left as it is"),
        ("none/a.svg", "there is no folder "),
        ("", "this is a folder"),
    ] {
        let before = fs::read(path(name)).ok();
        let output = run(&["--svg", path(name).to_str().unwrap(), "--", "touch", touch]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {told}");
        assert!(told.contains(said), "{name}: {told}");
        assert!(output.stdout.is_empty() && !started.exists(), "{name}: it was started");
        assert_eq!(fs::read(path(name)).ok(), before, "{name}");
    }
}

#[test]
fn an_earlier_picture_is_replaced_and_no_empty_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("lanes.svg");
    let output = run(&["--svg", svg.to_str().unwrap(), "--", "no-such-program"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(!svg.exists(), "an empty file stays");
    // An empty file may be overwritten.
    File::create(&svg).unwrap();
    for program in ["sleep", "cat"] {
        let argument = if program == "sleep" { "0.3" } else { "/dev/null" };
        let output = run(&["--svg", svg.to_str().unwrap(), "--", program, argument]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let drawn = fs::read_to_string(&svg).unwrap();
        assert!(drawn.contains(&format!("What each thread of {program} did")), "{drawn}");
    }
}

/// A user that may not read a program may not see the system calls of its process, except for root.
#[test]
fn hidden_system_calls_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |program: &str, mode: u32| {
        let copy = folder.path().join(Path::new(program).file_name().unwrap());
        // Another process writes the file. If this one did, a child that another thread starts at this moment could
        // keep it open, and then it cannot be executed: ETXTBSY.
        assert!(Command::new("cp").arg(program).arg(&copy).status().unwrap().success());
        fs::set_permissions(&copy, Permissions::from_mode(mode)).unwrap();
        copy
    };
    let hidden = Ended(Command::new(copy("/bin/sleep", 0o111)).arg("60").spawn().unwrap());
    let pid = hidden.0.id().to_string();
    let args = ["watch", "--seconds", "0.3", "--pid", &pid];
    let mut watch = Command::new(env!("CARGO_BIN_EXE_tincan"));
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        watch = Command::new("setpriv");
        watch.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        watch.arg(copy(env!("CARGO_BIN_EXE_tincan"), 0o755));
    }
    let output = watch.args(args).stdin(Stdio::null()).output().unwrap();
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("u waiting"), "{printed}");
    let told = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(
        "The system calls of this process, or of a process that it has started, are hidden"
    ));
}

#[test]
fn the_page_explains_each_letter() {
    let page = include_str!("../../../../docs/src/watch.md");
    let rows: String = page.lines().filter(|line| line.starts_with("| `")).collect();
    for state in State::ALL {
        assert!(rows.contains(&format!("`{}`", state.letter())), "no {}", state.letter());
    }
}
