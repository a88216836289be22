//! `calc-reactor` with many clients at once, in one thread.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
#[cfg(target_os = "linux")]
use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use probe::procfs::Usage;
use probe::server::{Launch, Server};
use probe::wire::Client;
use probe::{TIMEOUT, wait_until};

const WELCOME: &[u8] = b"<welcome: starting in sum mode>\n";
const PRODUCT_MODE: &[u8] = b"<switching to product mode>\r\n";

fn start() -> Server {
    Launch::new(env!("CARGO_BIN_EXE_calc-reactor"), &[]).args(&["-q"]).start().unwrap()
}

fn connect(server: &Server) -> Client {
    let mut client = Client::connect(server.addr()).unwrap();
    client.expect_bytes(WELCOME).unwrap();
    client
}

fn exchange(client: &mut Client) {
    client.send(b"1,2\n").unwrap();
    client.expect_bytes(b"Sum of input integers: '3'\r\n").unwrap();
}

/// Waits until the server has no more descriptors open than before. Passes if the system does not report
/// them.
fn expect_descriptors_of(server: &Server, before: Option<Usage>) {
    let has_closed_them = || {
        let Some((now, before)) = server.usage().zip(before) else { return Ok(true) };
        Ok(now.descriptors <= before.descriptors)
    };
    let is_done = wait_until(TIMEOUT, has_closed_them).unwrap();
    assert!(is_done, "before: {before:?}, now: {:?}", server.usage());
}

/// Returns lines of 64 KiB, each with a different kind of list that takes long to calculate.
fn long_lines() -> Vec<Vec<u8>> {
    let digits = |n| "7".repeat(n);
    let lists = [
        vec!["9"; 32_768].join(","),
        vec!["9".repeat(32); 1985].join(","),
        digits(65_535),
        format!("{0},{0}", digits(32_767)),
        format!("{},{}", digits(32_767), vec!["9"; 16_000].join(",")),
    ];
    lists.map(|list| format!("{list}\n").into_bytes()).to_vec()
}

/// Has several clients calculate products of long lines at the same time, and calls `exchange` repeatedly
/// until they are done. Returns how long they took.
#[cfg(target_os = "linux")]
fn while_others_calculate(server: &Server, clients: u32, mut exchange: impl FnMut()) -> Duration {
    let lines = long_lines();
    let is_done = AtomicBool::new(false);
    let calculators = (0..clients).map(|_| connect(server)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let start = Instant::now();
        let workers: Vec<_> = calculators
            .into_iter()
            .map(|mut client| {
                let lines = &lines;
                scope.spawn(move || {
                    client.send(b"product\n").unwrap();
                    client.expect_bytes(PRODUCT_MODE).unwrap();
                    for line in lines {
                        client.send(line).unwrap();
                        let answer = client.recv_line().unwrap();
                        assert!(answer.starts_with(b"Product of"));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for worker in workers {
                worker.join().unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            exchange();
        }
        start.elapsed()
    })
}

/// Returns the processor time that the main thread of the server has used.
#[cfg(target_os = "linux")]
fn processor_time(server: &Server) -> Duration {
    let path = format!("/proc/{}/schedstat", server.pid().unwrap());
    let nanoseconds = std::fs::read_to_string(path).unwrap();
    Duration::from_nanos(nanoseconds.split(' ').next().unwrap().parse().unwrap())
}

/// How long one exchange took.
#[cfg(target_os = "linux")]
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Wait {
    processor_time: Duration,
    wall_time: Duration,
}

/// Checks that a client that requests a short sum does not wait until long products have been calculated.
///
/// The wait is measured in processor time of the server, because other programs may keep the server
/// waiting. The test examines the median wait, because other programs may keep this client waiting too. In
/// each turn of the executor, one calculation gets a slice of 1 ms, so an exchange takes little more than
/// that. If each calculation got a slice in each turn, an exchange would take `CALCULATORS` times as long;
/// if each line were calculated without a stop, ten times longer still.
#[test]
#[cfg(target_os = "linux")]
fn products_do_not_stall_the_other_clients() {
    use calc::TIME_SLICE;
    const CALCULATORS: u32 = 16;
    let server = start();
    let mut client = connect(&server);
    let mut waits = Vec::new();
    let total = while_others_calculate(&server, CALCULATORS, || {
        let start = Instant::now();
        let before = processor_time(&server);
        exchange(&mut client);
        waits.push(Wait {
            processor_time: processor_time(&server).saturating_sub(before),
            wall_time: start.elapsed(),
        });
    });
    waits.sort();
    let count = waits.len();
    let quarter = waits[count / 4].processor_time;
    let median = waits[count / 2].processor_time;
    let longest = waits[count - 1].processor_time;
    let longest_wall_time = waits.iter().map(|wait| wait.wall_time).max().unwrap();
    println!(
        "{count} exchanges in {total:?}; processor time of the server: median {median:?}, longest {longest:?}; \
         wall time: longest {longest_wall_time:?}"
    );
    // A quarter, because on a busy machine the server also calculates while the client waits for a processor.
    assert!(
        quarter < TIME_SLICE * (CALCULATORS / 2),
        "three quarters of {count} took {quarter:?} or more"
    );
}

#[test]
fn the_server_reads_no_more_lines_from_a_client_that_does_not_read() {
    const LINES: usize = 5_000;
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other);
    let before = server.usage();
    let digits = "7".repeat(4_000);
    let lines = format!("{digits}\n").repeat(LINES);
    let mut slow = TcpStream::connect(server.addr()).unwrap();
    slow.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut to_server = slow.try_clone().unwrap();
    let accepted = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in lines.as_bytes().chunks(10_000) {
                to_server.write_all(piece).unwrap();
                accepted.fetch_add(piece.len(), Ordering::Relaxed);
            }
        });
        // The server has stopped reading if it accepts no bytes during 500 exchanges with another client.
        let mut last = 0;
        let mut exchanges = 0;
        while exchanges < 500 {
            exchange(&mut other);
            exchanges += 1;
            let now = accepted.load(Ordering::Relaxed);
            if now > last {
                last = now;
                exchanges = 0;
            }
        }
        assert!(last < lines.len(), "all {last} bytes were accepted, although no answer was read");
        if let Some((before, now)) = before.zip(server.usage()) {
            let grown = now.resident_bytes.saturating_sub(before.resident_bytes);
            assert!(grown < 4 << 20, "the memory has grown by {grown} bytes");
        }
        let answer = format!("Sum of input integers: '{digits}'\r\n");
        let expected = [WELCOME, answer.repeat(LINES).as_bytes()].concat();
        let mut received = vec![0; expected.len()];
        slow.read_exact(&mut received).unwrap();
        assert!(received == expected);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_sends_many_lines_at_once_does_not_stall_the_others() {
    const LINES: usize = 20_000;
    let server = start();
    let mut other = connect(&server);
    let mut flood = connect(&server);
    let mut longest = Duration::ZERO;
    let begin = processor_time(&server);
    let answer = b"ERROR. Enter only integers separated by commas\n";
    thread::scope(|scope| {
        let flooding = scope.spawn(move || {
            flood.send(&b"\n".repeat(LINES)).unwrap();
            flood.expect_bytes(&answer.repeat(LINES)).unwrap();
        });
        while !flooding.is_finished() {
            let before = processor_time(&server);
            exchange(&mut other);
            longest = longest.max(processor_time(&server).saturating_sub(before));
        }
    });
    let total = processor_time(&server).saturating_sub(begin);
    println!("processor time of the server: longest exchange {longest:?}, in total {total:?}");
    assert!(longest < total / 2, "an exchange took {longest:?} of {total:?}");
}

#[test]
fn a_thousand_clients_in_the_same_threads() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let server = start();
    let mut first = connect(&server);
    exchange(&mut first);
    let alone = server.usage();
    let mut clients: Vec<_> = (0..1_000).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send(b"1,2\n").unwrap();
    }
    for client in clients.iter_mut().rev() {
        client.expect_bytes(b"Sum of input integers: '3'\r\n").unwrap();
    }
    if let Some((alone, now)) = alone.zip(server.usage()) {
        // On a busy machine, a thread of the start may still have run when the first client was alone.
        assert!(now.threads <= alone.threads, "{} threads, then {}", alone.threads, now.threads);
        let each = now.resident_bytes.saturating_sub(alone.resident_bytes) / 1_000;
        assert!(each < 4096, "an idle client takes {each} bytes");
    }
    drop(clients);
    expect_descriptors_of(&server, alone);
    exchange(&mut first);
}

#[test]
fn a_client_that_disconnects_during_a_product_leaves_nothing_behind() {
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other);
    let before = server.usage();
    for line in long_lines() {
        let mut client = connect(&server);
        client.send(b"product\n").unwrap();
        client.expect_bytes(PRODUCT_MODE).unwrap();
        client.send(&line).unwrap();
        client.reset().unwrap();
        exchange(&mut other);
    }
    expect_descriptors_of(&server, before);
    exchange(&mut other);
}

#[test]
fn a_client_that_stays_connected_after_quit_does_not_stall_the_others() {
    let server = start();
    let mut other = connect(&server);
    let mut staying: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    for client in &mut staying {
        client.send(b"quit\n1,2\n1,2\n").unwrap();
    }
    exchange(&mut other);
    for client in &mut staying {
        client.expect_bytes(b"connection closed\r\n").unwrap();
        client.expect_eof().unwrap();
    }
    exchange(&mut other);
}
