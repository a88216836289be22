//! Helpers of the tests of `tincan`.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use probe::{procfs, servers};

/// Far longer than anything here takes.
const TIMEOUT: Duration = Duration::from_mins(1);

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn wait_until(mut cond: impl FnMut() -> bool) {
    let until = Instant::now() + TIMEOUT;
    while !cond() {
        assert!(Instant::now() < until, "the condition did not become true in {TIMEOUT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the path of Python's interpreter: a version manager's wrapper takes seconds to start it on a busy machine.
pub fn python() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let ask = ["-c", "import sys; print(sys.executable)"];
        let path = Command::new("python3").args(ask).output().map(|output| stdout(&output));
        path.map_or_else(|_| "python3".to_owned(), |path| path.trim().to_owned())
    })
}

/// The output so far, and a way to wait for more.
pub type Printed = Arc<(Mutex<Vec<u8>>, Condvar)>;

/// Reads a pipe to its end, in a thread of its own.
pub fn collect(mut pipe: impl Read + Send + 'static, printed: &Printed) -> JoinHandle<()> {
    let printed = Arc::clone(printed);
    thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut buf) {
            printed.0.lock().unwrap().extend_from_slice(&buf[..n]);
            printed.1.notify_all();
        }
    })
}

/// Returns the names of the processes with this mark in their environment (Linux).
pub fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let has_mark = |path: &Path| {
        let environ = fs::read(path.join("environ")).unwrap_or_default();
        environ.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let name = |path: &Path| procfs::read(path.join("comm")).unwrap_or_default();
    processes.filter(|path| has_mark(path)).map(|path| name(&path)).collect()
}

/// Builds the stages, and returns the path of the program of one of them.
pub fn stage(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_tincan")).parent().unwrap();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let mut cargo = probe::cargo();
        cargo.args(["build", "--quiet", "--bins", "--profile", profile, "--target-dir"]);
        cargo.arg(folder.parent().unwrap());
        cargo.args(servers::stages().flat_map(|stage| ["-p", stage.package]));
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        folder.to_owned()
    });
    folder.join(name)
}

/// Expects that each tag is closed, and that each attribute has a value in quotes.
pub fn expect_well_formed(xml: &str) {
    let mut open = Vec::new();
    for part in xml.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(!text.contains('>'), "{part}");
        for (i, entity) in text.split('&').enumerate() {
            assert!(i == 0 || entity.split_once(';').unwrap().0.len() < 5, "{part}");
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{part}");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{part}");
        let outside: String = tag.split('"').step_by(2).collect();
        let words: Vec<_> = outside.trim_end_matches('/').split_whitespace().collect();
        assert!(words[1..].iter().all(|word| word.ends_with('=')), "{part}");
        if !tag.ends_with('/') {
            open.push(words[0].to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
