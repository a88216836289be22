//! What `calc-reactor` does for many clients at once, in one thread.
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

use workbench::procfs::Figures;
use workbench::server::{Launch, Server};
use workbench::wire::Client;
use workbench::{PATIENCE, wait_until};

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

/// Waits until the server has no more descriptors than it had then, where the system tells.
fn expect_descriptors_of(server: &Server, then: Option<Figures>) {
    let is_back = |now: Figures, then: Figures| now.descriptors <= then.descriptors;
    let cond = || Ok(server.figures().zip(then).is_none_or(|(now, then)| is_back(now, then)));
    assert!(wait_until(PATIENCE, cond).unwrap(), "{:?}, then {then:?}", server.figures());
}

/// Lines of 64 KiB, each of another kind that takes long.
fn long_lines() -> Vec<Vec<u8>> {
    let digits = |n| "7".repeat(n);
    let many = vec!["9"; 32_768].join(",");
    let middling = vec!["9".repeat(32); 1985].join(",");
    let (one, two) = (digits(65_535), format!("{0},{0}", digits(32_767)));
    let mixed = format!("{},{}", digits(32_767), vec!["9"; 16_000].join(","));
    [many, middling, one, two, mixed].map(|line| format!("{line}\n").into_bytes()).to_vec()
}

/// Has clients calculate products of long lines, so many at a time, and calls `meanwhile` again and
/// again until they are done; gives how long they took, all of them.
#[cfg(target_os = "linux")]
fn while_others_calculate(server: &Server, clients: u32, mut meanwhile: impl FnMut()) -> Duration {
    let lines = long_lines();
    let is_over = AtomicBool::new(false);
    let calculators = (0..clients).map(|_| connect(server)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let begin = Instant::now();
        let workers: Vec<_> = calculators
            .into_iter()
            .map(|mut client| {
                let lines = &lines;
                scope.spawn(move || {
                    client.send(b"product\n").unwrap();
                    client.expect_bytes(PRODUCT_MODE).unwrap();
                    for line in lines {
                        client.send(line).unwrap();
                        let answer = client.line().unwrap();
                        assert!(answer.starts_with(b"Product of"));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for worker in workers {
                worker.join().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            meanwhile();
        }
        begin.elapsed()
    })
}

/// How long the one thread of the server has run.
#[cfg(target_os = "linux")]
fn processor_time(server: &Server) -> Duration {
    let path = format!("/proc/{}/schedstat", server.pid().unwrap());
    let nanoseconds = std::fs::read_to_string(path).unwrap();
    Duration::from_nanos(nanoseconds.split(' ').next().unwrap().parse().unwrap())
}

/// Nobody is to wait for more than 50 ms. A wait is counted in the server's processor time, since any
/// program may be kept waiting by others on its machine; every second wait is looked at, since the
/// client may be, too. A slice is 1 ms, and a turn has one of these, so an exchange takes little more;
/// where each calculator has its slice in each turn, it takes `CALCULATORS` times as long, and where
/// lines are calculated in one go, ten times that.
#[test]
#[cfg(target_os = "linux")]
fn products_do_not_stall_the_others() {
    use calc::SLICE;
    const CALCULATORS: u32 = 16;
    let server = start();
    let mut client = connect(&server);
    let mut waits = Vec::new();
    let all = while_others_calculate(&server, CALCULATORS, || {
        let (began, ran) = (Instant::now(), processor_time(&server));
        exchange(&mut client);
        waits.push((processor_time(&server).saturating_sub(ran), began.elapsed()));
    });
    waits.sort();
    let (median, longest) = (waits[waits.len() / 2].0, waits[waits.len() - 1].0);
    let (of, by_the_clock) = (waits.len(), waits.iter().map(|wait| wait.1).max().unwrap());
    println!(
        "{of} exchanges in {all:?}, of the server's time: median {median:?}, longest {longest:?}; \
         by the clock: longest {by_the_clock:?}"
    );
    assert!(median < SLICE * (CALCULATORS / 2), "half of {of} waited for {median:?}");
}

#[test]
fn a_client_that_does_not_read_is_asked_for_no_more_lines() {
    const LINES: usize = 5_000;
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other);
    let before = server.figures();
    let digits = "7".repeat(4_000);
    let lines = format!("{digits}\n").repeat(LINES);
    let mut slow = TcpStream::connect(server.addr()).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut to_server, taken) = (slow.try_clone().unwrap(), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in lines.as_bytes().chunks(10_000) {
                to_server.write_all(piece).unwrap();
                taken.fetch_add(piece.len(), Ordering::Relaxed);
            }
        });
        // The server takes no more when nothing was taken during many exchanges with another client.
        let (mut last, mut exchanges) = (0, 0);
        while exchanges < 500 {
            exchange(&mut other);
            let now = taken.load(Ordering::Relaxed);
            (last, exchanges) = (now, if now > last { 0 } else { exchanges + 1 });
        }
        assert!(last < lines.len(), "all of {last} bytes taken, though no answer was read");
        if let Some((before, now)) = before.zip(server.figures()) {
            let grown = now.resident.saturating_sub(before.resident);
            assert!(grown < 4 << 20, "{grown} bytes of memory more");
        }
        let answer = format!("Sum of input integers: '{digits}'\r\n");
        let expected = [WELCOME, answer.repeat(LINES).as_bytes()].concat();
        let mut got = vec![0; expected.len()];
        slow.read_exact(&mut got).unwrap();
        assert!(got == expected);
    });
}

#[test]
fn a_client_that_says_much_at_once_does_not_stall_the_others() {
    const LINES: usize = 20_000;
    let server = start();
    let mut other = connect(&server);
    let mut flood = connect(&server);
    let mut exchanges = 0;
    let answer = b"ERROR. Enter only integers separated by commas\n";
    thread::scope(|scope| {
        let flooding = scope.spawn(move || {
            flood.send(&b"\n".repeat(LINES)).unwrap();
            flood.expect_bytes(&answer.repeat(LINES)).unwrap();
        });
        while !flooding.is_finished() {
            exchange(&mut other);
            exchanges += 1;
        }
    });
    println!("{exchanges} exchanges");
    assert!(exchanges >= 200, "{exchanges} exchanges while {LINES} lines were answered");
}

#[test]
fn a_thousand_clients_in_the_same_threads() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let server = start();
    let mut first = connect(&server);
    exchange(&mut first);
    let alone = server.figures();
    let mut clients: Vec<_> = (0..1_000).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send(b"1,2\n").unwrap();
    }
    for client in clients.iter_mut().rev() {
        client.expect_bytes(b"Sum of input integers: '3'\r\n").unwrap();
    }
    if let Some((alone, now)) = alone.zip(server.figures()) {
        assert_eq!(now.threads, alone.threads);
        let each = now.resident.saturating_sub(alone.resident) / 1_000;
        assert!(each < 4096, "{each} bytes of memory for an idle client");
    }
    drop(clients);
    expect_descriptors_of(&server, alone);
    exchange(&mut first);
}

#[test]
fn a_client_that_vanishes_amid_a_product_is_forgotten() {
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other);
    let before = server.figures();
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
fn who_is_told_goodbye_and_stays_holds_nobody_up() {
    let server = start();
    let mut other = connect(&server);
    let mut stays: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    for client in &mut stays {
        client.send(b"quit\n1,2\n1,2\n").unwrap();
    }
    exchange(&mut other);
    for client in &mut stays {
        client.expect_bytes(b"connection closed\r\n").unwrap();
        client.expect_eof().unwrap();
    }
    exchange(&mut other);
}
