//! What the tests of `tincan` share. Each of them uses only a part.
#![allow(dead_code)]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use workbench::procfs;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn wait_until(mut cond: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !cond() {
        assert!(Instant::now() < until, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What has been printed so far, and a way to wait for more.
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

/// The names of the processes with this mark in their environment (Linux).
pub fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let has_mark = |path: &Path| {
        let environ = fs::read(path.join("environ")).unwrap_or_default();
        environ.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let name = |path: &Path| procfs::read(path.join("comm")).unwrap_or_default();
    processes.filter(|path| has_mark(path)).map(|path| name(&path)).collect()
}
