//! The port that a server is told to take is its own, however many start at once.
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use check::mutants;
use probe::port::Port;
use probe::report_skipped;
use probe::server::{Launch, Server};

/// The variable that makes this program one of many that do the same.
const WORKER: &str = "TINCAN_TEST_WORKER";

/// Starts this program several times, each to run one of its tests as a worker.
fn workers(count: usize, test: &str) -> Vec<Child> {
    let start = |_| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(WORKER, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    (0..count).map(start).collect()
}

fn is_worker() -> bool {
    env::var_os(WORKER).is_some()
}

#[test]
fn no_port_is_reserved_twice() {
    const PROCESSES: usize = 8;
    const EACH: usize = 400;
    if is_worker() {
        let ports: Vec<_> = (0..EACH).map(|_| Port::reserve().unwrap()).collect();
        for port in &ports {
            println!("\nport {port}");
        }
        // Holds them until the last worker has its own, when the test kills it.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let mut workers = workers(PROCESSES, "ports::no_port_is_reserved_twice");
    let mut seen = HashSet::new();
    for worker in &mut workers {
        let lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
        for line in lines.filter(|line| line.starts_with("port ")).take(EACH) {
            assert!(seen.insert(line.clone()), "{line} twice");
        }
    }
    assert_eq!(seen.len(), PROCESSES * EACH);
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
}

/// A server that closes each connection before its client does, so that its port stays in `TIME_WAIT`;
/// with a second argument, it sets `SO_REUSEADDR`.
const SERVER: &str = r#"
    socket(L, PF_INET, SOCK_STREAM, 0) or die;
    setsockopt(L, SOL_SOCKET, SO_REUSEADDR, 1) if @ARGV > 1;
    bind(L, sockaddr_in(shift, INADDR_LOOPBACK)) or die "cannot bind: $!\n";
    listen(L, 5) or die;
    while (accept(C, L)) { close C }"#;

fn start(more: &[&str]) -> Server {
    let args = ["-MSocket", "-e", SERVER, "{port}"].map(OsString::from);
    let started = Launch::new("perl", &args).args(more).start_on_free_port();
    started.unwrap_or_else(|err| panic!("{err:#}"))
}

/// Skips a test where there is no perl.
fn lacks_perl() -> bool {
    let is_lacking = !mutants::is_installed("perl");
    if is_lacking {
        report_skipped("there is no perl").unwrap();
    }
    is_lacking
}

#[test]
fn many_servers_start_at_once() {
    const PROCESSES: usize = 4;
    const THREADS: usize = 4;
    const EACH: usize = 20;
    if lacks_perl() {
        return;
    }
    if is_worker() {
        let start_some = || {
            for i in 0..EACH {
                let server = start(if i % 2 == 0 { &["reuse"] } else { &[] });
                let mut client = TcpStream::connect(server.addr()).unwrap();
                client.read_to_end(&mut Vec::new()).unwrap();
            }
        };
        thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(start_some))));
        return;
    }
    for mut worker in workers(PROCESSES, "ports::many_servers_start_at_once") {
        // Read to the end, so that a worker never waits for room in its pipe.
        worker.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        assert!(worker.wait().unwrap().success());
    }
}

#[test]
fn a_server_that_finds_its_port_taken_is_started_again_on_another() {
    if lacks_perl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ports = folder.path().join("ports");
    let script = r#"echo "$2" >> "$1"
        if test "$(wc -l < "$1")" -lt 3; then echo "bind: Address already in use" >&2; exit 1; fi
        exec perl -MSocket -e "$0" "$2""#;
    let args = ["-c", script, SERVER, ports.to_str().unwrap(), "{port}"].map(OsString::from);
    let server = Launch::new("sh", &args).start_on_free_port().unwrap();
    let ports = std::fs::read_to_string(ports).unwrap();
    let ports: Vec<_> = ports.lines().collect();
    assert_eq!(ports.len(), 3);
    assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 3, "{ports:?}");
    assert_eq!(ports[2], server.addr().port().to_string());
}
