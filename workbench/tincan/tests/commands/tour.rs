//! Tests the output of `tincan tour`, and that no process of it is left running, according to `/proc`.
#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::harness::{Printed, collect, marked};
use probe::servers;

/// How long anything may take before a test fails, including a first build of the stages.
const DEADLINE: Duration = Duration::from_mins(3);

/// How long a process may still be running after the end of its tour.
const LEFT: Duration = Duration::from_secs(20);

/// A variable in the environment of every process that a tour starts.
const MARK: &str = "TINCAN_TOUR_TEST";

const SCENES: usize = 6;

#[test]
fn every_scene_shows_its_point() {
    let mut tour = Tour::start(&["--yes"]);
    assert_eq!(tour.end(), Some(0), "{}", tour.printed());
    tour.expect_nothing_left();
    let text = tour.printed();
    // A terminal of 80 columns wraps no line.
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let uni = scene(&text, 1);
    let gets =
        |scene: &[Vec<String>], column| place(scene, column, |cell| cell.starts_with("gets"));
    assert!(gets(&uni, 1) < gets(&uni, 2), "{text}");
    let waits = place(&uni, 2, |cell| cell == "waits");
    assert!(waits < place(&uni, 3, |cell| cell == "Connection from Bob"), "{text}");
    let multi = scene(&text, 2);
    assert!(gets(&multi, 2) < gets(&multi, 1), "{text}");
    let threads: Vec<_> = multi.iter().filter(|row| row[3].starts_with('=')).collect();
    assert_eq!(threads[2][3], "= 3 threads", "{text}");

    let room = scene(&text, 3);
    let all_hear = |row: &Vec<String>| row[1..4].iter().all(|cell| cell.starts_with("gets Cy: hi"));
    assert!(room.iter().any(all_hear), "{text}");
    let cut_off = place(&room, 4, |cell| cell.starts_with("WARN Cy: "));
    assert!(cut_off < place(&room, 4, |cell| cell == "Client Cy disconnected"), "{text}");
    assert!(cut_off < place(&room, 2, |cell| cell.starts_with("says still")), "{text}");

    for number in [4, 5] {
        let rows = scene(&text, number);
        let threads: Vec<_> = rows.iter().filter(|row| row[4].starts_with('=')).collect();
        assert_eq!(threads.len(), 2, "{text}");
        assert_eq!(threads[0][4], threads[1][4], "{text}");
    }
    expect_plausible_costs(&text);
}

/// Examines the last table.
fn expect_plausible_costs(text: &str) {
    let costs = servers::stages().map(|stage| {
        let name = stage.name;
        let is_its = |line: &&str| line.starts_with(&format!("{name} ")) && line.contains("MB");
        let row = text.lines().find(is_its);
        let row: Vec<_> = row.unwrap().split_whitespace().collect();
        let threads = |n: usize| row[n].parse::<u32>().unwrap();
        let memory = |n: usize| row[n].parse::<f64>().unwrap();
        (threads(1), threads(2), memory(3), memory(5))
    });
    let costs: Vec<_> = costs.collect();
    for &(threads, more_threads, memory, more_memory) in &costs {
        assert!((1..100).contains(&threads) && threads <= more_threads, "{costs:?}");
        assert!(memory > 0.5 && memory <= more_memory && more_memory < 200.0, "{costs:?}");
    }
    let &[uni, multi, chat, poll, _] = costs.as_slice() else { panic!("{costs:?}") };
    assert_eq!((uni.0, uni.1), (1, 1));
    assert!(multi.1 >= 200 && chat.1 >= 400, "{costs:?}");
    assert_eq!(poll.0, poll.1);
}

#[test]
fn a_signal_ends_the_tour_in_any_scene() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let number = fastrand::usize(1..=SCENES);
        let mut tour = Tour::start(&["--yes"]);
        tour.wait_for(&format!("── {number} of {SCENES}"));
        // At a random moment of the scene.
        thread::sleep(Duration::from_millis(fastrand::u64(0..400)));
        tour.signal(signal);
        let code = tour.end();
        tour.expect_nothing_left();
        assert_eq!(code, Some(128 + signal.as_raw()), "scene {number}: {}", tour.printed());
    }
}

#[test]
fn nothing_is_left_running_after_sigkill() {
    let mut tour = Tour::start(&["--yes"]);
    tour.wait_for("── 3 of ");
    tour.wait_for("says hi");
    tour.signal(Signal::KILL);
    tour.end();
    tour.expect_nothing_left();
}

#[test]
fn a_signal_ends_the_build_too() {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    let script = r#"printf '#!/bin/sh\necho building\nsleep 1000 & wait\n' > "$0"; chmod +x "$0""#;
    by_another_process("sh", &["-c".as_ref(), script.as_ref(), cargo.as_os_str()]);
    let mut tour = Tour::start_with(&["--yes"], &[("CARGO", cargo.to_str().unwrap())]);
    tour.wait_for("building");
    tour.signal(Signal::TERM);
    assert_eq!(tour.end(), Some(128 + 15));
    tour.expect_nothing_left();
}

#[test]
fn enter_leads_to_the_end() {
    let mut tour = Tour::on_terminal(&[]);
    let mut at = 0;
    loop {
        let next = tour.wait_after(at, &["q: quit", "cargo tincan check"]);
        if tour.printed()[at..next].contains("cargo tincan check") {
            break;
        }
        at = next;
        tour.type_in("\r");
    }
    assert_eq!(tour.end(), Some(0));
    tour.expect_nothing_left();
}

#[test]
fn keys_end_the_tour() {
    for (key, code) in [("q", 0), ("\x04", 0), ("\x03", 130), ("\x1c", 131)] {
        let mut tour = Tour::on_terminal(&[]);
        let mut at = 0;
        for _ in 0..fastrand::usize(2..=8) {
            at = tour.wait_after(at, &["q: quit"]);
            tour.type_in("\r");
        }
        tour.wait_after(at, &["q: quit"]);
        // Other keys have no effect.
        tour.type_in("xyz \t");
        tour.type_in(key);
        assert_eq!(tour.end(), Some(code), "{key:?}: {}", tour.printed());
        tour.wait_for("nothing is left running");
        tour.expect_nothing_left();
    }
}

#[test]
fn one_scene_alone() {
    for only in ["2", "echo-multi"] {
        let mut tour = Tour::start(&["--yes", "--only", only]);
        assert_eq!(tour.end(), Some(0));
        let text = tour.printed();
        assert!(text.contains("2 of 6 · echo-multi") && !text.contains("1 of 6"), "{text}");
    }
    let mut tour = Tour::start(&["--only", "7"]);
    assert_eq!(tour.end(), Some(2));
    assert!(tour.printed().contains("the scenes are 1 to 6"));
}

#[test]
fn without_a_terminal_there_are_no_pauses() {
    let mut tour = Tour::start(&["--only", "1"]);
    assert_eq!(tour.end(), Some(0));
    assert!(tour.printed().contains("not a terminal"));
}

/// If Bob does not have to wait, the tour must not say that he does.
#[test]
fn another_behaviour_is_an_error() {
    let mut built = Tour::start(&["--yes", "--only", "echo-multi"]);
    assert_eq!(built.end(), Some(0), "{}", built.printed());
    let tincan = Path::new(env!("CARGO_BIN_EXE_tincan"));
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("tincan");
    copy(tincan, &alone);
    copy(&tincan.with_file_name("echo-multi"), &folder.path().join("echo-uni"));
    let mut tour = Tour::spawn(Command::new(alone).args(["tour", "--yes", "--only", "echo-uni"]));
    assert_eq!(tour.end(), Some(1));
    let text = tour.printed();
    assert!(text.contains("not what was expected"), "{text}");
    assert!(text.contains("Bob has to wait"), "{text}");
    tour.expect_nothing_left();
}

#[test]
fn missing_stages_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("tincan");
    copy(Path::new(env!("CARGO_BIN_EXE_tincan")), &alone);
    let mut tour = Tour::spawn(Command::new(alone).args(["tour", "--yes", "--only", "chat-poll"]));
    assert_eq!(tour.end(), Some(1));
    assert!(tour.printed().contains("there is no chat-poll in "), "{}", tour.printed());
}

/// Returns the rows of a scene, each a list of cells, with the time first. The lines of a cell are joined.
fn scene(text: &str, number: usize) -> Vec<Vec<String>> {
    let begin = text.find(&format!("── {number} of ")).unwrap();
    let end = text.find(&format!("── {} of ", number + 1)).unwrap();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in text[begin..end].lines().filter(|line| line.contains('│')) {
        let cells = line.split('│').map(|cell| cell.trim().to_owned());
        match rows.last_mut() {
            Some(row) if line.starts_with("        ") => {
                for (cell, more) in row.iter_mut().zip(cells) {
                    cell.push_str(if more.is_empty() { "" } else { " " });
                    cell.push_str(&more);
                }
            }
            _ => rows.push(cells.collect()),
        }
    }
    rows
}

/// Returns the index of the first row with such a cell in a column.
fn place(rows: &[Vec<String>], column: usize, fits: impl Fn(&str) -> bool) -> usize {
    let place = rows.iter().position(|row| row.get(column).is_some_and(|cell| fits(cell)));
    place.unwrap_or_else(|| panic!("no such cell in column {column} of {rows:#?}"))
}

/// A running tour, its output, and the value of [`MARK`] in the environments of its processes.
struct Tour {
    child: Child,
    mark: String,
    printed: Printed,
    readers: Vec<thread::JoinHandle<()>>,
    /// Both ends of the tour's terminal, if it has one.
    terminal: Option<(File, File)>,
}

impl Tour {
    fn start(args: &[&str]) -> Tour {
        Tour::start_with(args, &[])
    }

    fn start_with(args: &[&str], env: &[(&str, &str)]) -> Tour {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
        Tour::spawn(command.arg("tour").args(args).envs(env.iter().copied()))
    }

    fn spawn(command: &mut Command) -> Tour {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut tour, mark) = (None, mark());
        let child = tour.insert(command.env(MARK, &mark).spawn().unwrap());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let printed = Arc::default();
        let readers = vec![collect(stdout, &printed), collect(stderr, &printed)];
        Tour { child: tour.unwrap(), mark, printed, readers, terminal: None }
    }

    /// Starts a tour in a terminal of its own, whose keys cause signals.
    fn on_terminal(args: &[&str]) -> Tour {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let path = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let tty = File::options().read(true).write(true).open(path).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&tty, size).unwrap();
        let mark = mark();
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_tincan"), "tour"])
            .args(args)
            .env("TERM", "xterm")
            .env(MARK, &mark)
            .stdin(tty.try_clone().unwrap())
            .stdout(tty.try_clone().unwrap())
            .stderr(tty.try_clone().unwrap())
            .spawn()
            .unwrap();
        let keyboard = File::from(pty);
        let printed = Arc::default();
        // The thread ends with the test, because the test also holds the other end of the terminal.
        drop(collect(keyboard.try_clone().unwrap(), &printed));
        Tour { child, mark, printed, readers: Vec::new(), terminal: Some((keyboard, tty)) }
    }

    fn type_in(&mut self, keys: &str) {
        self.terminal.as_mut().unwrap().0.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.0.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        self.wait_after(0, &[text]);
    }

    /// Waits until one of the texts is printed after a place, and returns the place after the text.
    fn wait_after(&self, at: usize, texts: &[&str]) -> usize {
        let find = |printed: &[u8]| {
            let printed = String::from_utf8_lossy(printed).into_owned();
            let ends = texts.iter().filter_map(|text| {
                printed.get(at..)?.find(text).map(|found| at + found + text.len())
            });
            ends.min()
        };
        let (printed, changed) = &*self.printed;
        let printed = printed.lock().unwrap();
        let (printed, _) =
            changed.wait_timeout_while(printed, DEADLINE, |it| find(it).is_none()).unwrap();
        let found = find(&printed);
        found.unwrap_or_else(|| panic!("no {texts:?} in {}", String::from_utf8_lossy(&printed)))
    }

    /// Waits for the end of the tour, and returns its exit code. The mode of its terminal must be restored.
    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end: {}", self.printed()),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let gone = Instant::now();
        assert!(status.code().is_some() || status.signal() == Some(9), "{status}");
        // A process that is left running holds the other ends of the pipes.
        while !self.readers.iter().all(thread::JoinHandle::is_finished) {
            let waits = Instant::now() < gone + LEFT;
            assert!(waits, "left running: {:?}", marked(&self.mark));
            thread::sleep(Duration::from_millis(5));
        }
        if let Some((_, tty)) = &self.terminal {
            use rustix::termios::LocalModes;
            let mode = tcgetattr(tty).unwrap();
            assert!(mode.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        }
        status.code()
    }

    /// Expects that the processes with the mark end in time.
    fn expect_nothing_left(&self) {
        let until = Instant::now() + LEFT;
        loop {
            let left = marked(&self.mark);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "left running: {left:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mark() -> String {
    format!("{:x}", fastrand::u128(..))
}

/// Lets another process write a program. If this process did, and another test forked at that moment, the
/// child would have the program open for writing, and it could not be run.
fn by_another_process(program: &str, args: &[&OsStr]) {
    assert!(Command::new(program).args(args).status().unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    by_another_process("cp", &[from.as_os_str(), to.as_os_str()]);
}
