//! The book's own programs, in `docs/code`, print what its chapters say of them.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{stage, stderr, stdout, wait_until};
use probe::TIMEOUT;
use probe::server::{Launch, Signal};
use probe::wire::Client;
use regex::Regex;

/// How long a client is silent: longer than a server keeps events before it writes them to its trace.
const SILENCE: Duration = Duration::from_millis(500);

/// How often `plain-close.py` runs: its results vary.
const RUNS: usize = 10;

/// Returns the lines that a program of the book prints, or `None` if Python is not installed.
fn python(program: &str, args: &[&Path]) -> Option<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/code");
    let Ok(output) = Command::new("python3").arg(folder.join(program)).args(args).output() else {
        probe::report_skipped("python3 is not installed").unwrap();
        return None;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    Some(stdout(&output).lines().map(str::to_owned).collect())
}

/// Writes the trace of a server, ended by this signal, to a file. One client is silent before it sends a
/// message, and another one sends nothing. Returns the time in which the server can have waited for the first.
fn write_trace(trace: &Path, signal: Signal) -> Duration {
    let args = ["--trace".into(), trace.into()];
    let mut server = Launch::new(stage("echo-uni"), &args).start().unwrap();
    // The server may begin to read before this thread continues after connecting.
    let begin = Instant::now();
    let mut client = Client::connect(server.addr()).unwrap();
    let reads = || fs::read_to_string(trace).unwrap().matches(r#""name":"read","ph":"B""#).count();
    wait_until(|| reads() == 1);
    thread::sleep(SILENCE);
    client.send_msg("at last").unwrap();
    client.expect_msg("at last").unwrap();
    let longest = begin.elapsed();
    client.expect_eof().unwrap();
    let _silent = Client::connect(server.addr()).unwrap();
    wait_until(|| reads() == 2);
    server.signal(signal).unwrap();
    server.wait(TIMEOUT).unwrap().unwrap();
    longest
}

fn prints_how_long_a_server_waited(signal: Signal) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    let longest = write_trace(&file, signal);
    let Some(printed) = python("spans.py", &[&file]) else { return };
    // A viewer may have closed the array, and a full disk may have cut off the last event.
    let text = fs::read_to_string(&file).unwrap();
    let text = text.trim_end();
    let closed = format!("{}]\n", text.trim_end_matches([',', ']']));
    let cut = format!("{}\n{{\"name\":\"re", text.trim_end_matches(']'));
    for other in [closed, cut] {
        fs::write(&file, &other).unwrap();
        assert_eq!(python("spans.py", &[&file]).unwrap(), printed, "{other}");
    }
    assert!(printed.iter().all(|line| !line.ends_with("\t0.000")), "{printed:?}");
    let spans = printed.iter().map(|line| line.split('\t').collect::<Vec<_>>());
    let reads = spans.filter(|span| span[..2] == ["main", "read"]).map(|span| span[3].to_owned());
    let reads: Vec<_> = reads.collect();
    assert_eq!(reads.len(), 2, "{printed:?}");
    let first: f64 = reads[0].parse().unwrap();
    let possible = SILENCE.as_secs_f64() * 1000.0..=longest.as_secs_f64() * 1000.0;
    assert!(possible.contains(&first), "{printed:?}");
    // The server ends while it waits for the second client.
    assert_eq!(reads[1], "not ended", "{printed:?}");
}

#[test]
fn spans_of_a_server_that_has_ended() {
    prints_how_long_a_server_waited(Signal::TERM);
}

#[test]
fn spans_of_a_server_that_was_killed() {
    prints_how_long_a_server_waited(Signal::KILL);
}

/// Replaces the number of bytes that come before a reset, which may be any.
fn alike(line: &str) -> String {
    static BYTES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r": \d+ (bytes of \d+, then a reset while the client was receiving)").unwrap()
    });
    BYTES.replace(line, ": some $1").into_owned()
}

#[test]
fn the_chapter_shows_each_result_of_plain_close() {
    let chapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/protocol.md");
    let chapter = fs::read_to_string(chapter).unwrap();
    let shown: Vec<_> = chapter.lines().filter(|it| it.starts_with("closed ")).map(alike).collect();
    assert!(!shown.is_empty());
    for _ in 0..RUNS {
        let Some(lines) = python("plain-close.py", &[]) else { return };
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in lines {
            assert!(shown.contains(&alike(&line)), "the chapter does not show {line}");
        }
    }
}
