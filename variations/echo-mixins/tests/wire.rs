//! The server over raw sockets: `cargo test -p echo-mixins --test wire`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use anyhow::{Context as _, Result};
use probe::server::{Launch, Server, Signal};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, fail, procfs, wait_until};
use rustix::process::{Pid, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-mixins");

fn start(mixin: &str) -> Result<Server> {
    let server = Launch::new(PROGRAM, &[]).args(&["--mixin", mixin, "-v"]).start()?;
    // The process that writes the line on stdout ends.
    let is_alone = || Ok(procfs::children(server.pid().context("no server")?).len() <= 1);
    assert!(wait_until(TIMEOUT, is_alone)?, "the process for stdout has not ended");
    Ok(server)
}

/// Sends bytes, and returns the worker and the text of the answer. Then the server must close the
/// connection.
fn ask(client: &mut Client, bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    client.send(bytes)?;
    receive_answer(client)
}

fn receive_answer(client: &mut Client) -> Result<(String, Vec<u8>)> {
    let (answer, ending) = client.recv_bytes_to_end()?;
    assert_eq!(ending, Received::Eof, "{}", client.transcript());
    let at = answer.windows(2).position(|two| two == b": ").context("no worker in the answer")?;
    let worker = String::from_utf8(answer[..at].to_vec())?;
    let text = answer[at + 2..].to_vec();
    Ok((worker, text))
}

/// Returns the processes that serve clients now: the server's children, except the one that writes the log.
fn workers(server: &Server) -> Vec<u32> {
    let children = procfs::children(server.pid().unwrap()).into_iter();
    // A process that has ended in the meantime has no start.
    let mut children: Vec<_> = children.filter_map(|pid| Some((start_time(pid)?, pid))).collect();
    // The process that writes the log is the oldest. It need not have the smallest process id: after the largest id,
    // the kernel begins again with small ones, and on a busy machine that may happen at any time.
    children.sort_unstable();
    children.into_iter().skip(1).map(|(_, pid)| pid).collect()
}

/// Returns the time at which a process started, in clock ticks since the system started (`proc_pid_stat(5)`).
fn start_time(pid: u32) -> Option<u64> {
    let stat = procfs::read(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Connects a client and waits for its worker. Returns both.
fn connect(server: &Server) -> Result<(Client, u32)> {
    let before = workers(server);
    let client = Client::connect(server.addr())?;
    let mut new = None;
    wait_until(TIMEOUT, || {
        new = workers(server).into_iter().find(|pid| !before.contains(pid));
        Ok(new.is_some())
    })?;
    Ok((client, new.context("no process for the client")?))
}

fn send_signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn wait_for_workers(server: &Server, wanted: usize) -> Result<()> {
    if wait_until(TIMEOUT, || Ok(workers(server).len() == wanted))? {
        return Ok(());
    }
    fail("waited", format!("{wanted} workers"), format!("workers {:?}", workers(server)))
}

#[cfg(target_os = "linux")]
fn thread_count(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

#[test]
fn threads_are_numbered_from_1() -> Result<()> {
    let server = start("thread")?;
    for n in 1..=3 {
        let asked = ask(&mut Client::connect(server.addr())?, b"hello")?;
        assert_eq!(asked, (format!("Thread-{n}"), b"hello".to_vec()));
    }
    Ok(())
}

#[test]
fn a_request_is_one_read_of_up_to_1024_bytes() -> Result<()> {
    for mixin in ["fork", "thread"] {
        let server = start(mixin)?;
        // The rest is ignored.
        let long = [b"x".repeat(1024), b"y".repeat(300_000)].concat();
        let (_, text) = ask(&mut Client::connect(server.addr())?, &long)?;
        assert_eq!(text, b"x".repeat(1024), "{mixin}");
    }
    Ok(())
}

#[test]
fn white_space_at_the_ends_is_removed_and_other_bytes_are_kept() -> Result<()> {
    let server = start("thread")?;
    let requests: [(&[u8], &[u8]); 7] = [
        (b"\t  hello  world \r\n", b"hello  world"),
        ("\u{a0}Grüße\u{2003}\u{b}".as_bytes(), "Grüße".as_bytes()),
        (b"\0 \x1b[2J\0", b"\0 \x1b[2J\0"),
        (b" half a \xc3 ", b"half a \xc3"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"\r\n", b""),
        (b"a: b", b"a: b"),
    ];
    for (request, wanted) in requests {
        let (_, text) = ask(&mut Client::connect(server.addr())?, request)?;
        assert_eq!(text, wanted, "{request:?}");
    }
    Ok(())
}

#[test]
fn a_client_that_leaves_without_a_request_gets_no_answer() -> Result<()> {
    for mixin in ["fork", "thread"] {
        let server = start(mixin)?;
        let mut client = Client::connect(server.addr())?;
        client.half_close()?;
        assert_eq!(client.recv_bytes_to_end()?, (Vec::new(), Received::Eof), "{mixin}");
    }
    Ok(())
}

#[test]
fn an_unknown_mixin_and_a_trace_of_processes_are_usage_errors() -> Result<()> {
    for args in [&["--mixin", "task"][..], &["--trace", "/nowhere/trace"]] {
        let ended = Launch::new(PROGRAM, &[]).args(&["--port", "0"]).args(args).run_to_end()?;
        assert_eq!(ended.status.code(), Some(2), "{ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
    }
    Ok(())
}

#[test]
fn a_client_that_fails_is_logged_with_the_reason() -> Result<()> {
    for mixin in ["fork", "thread"] {
        let server = start(mixin)?;
        let client = Client::connect(server.addr())?;
        let addr = client.addr();
        let accepted = format!("Connection from {addr}");
        server.wait_for_log(&accepted, |line| line.ends_with(&accepted))?;
        client.reset()?;
        server.wait_for_log("the reason", |line| {
            line.contains("WARN") && line.contains(&format!("{addr}: ")) && line.contains("reset")
        })?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod processes {
    use super::*;

    #[test]
    fn are_the_default_and_an_answer_begins_with_the_process_id() -> Result<()> {
        let server = Launch::new(PROGRAM, &[]).start()?;
        let (mut one, worker_of_one) = connect(&server)?;
        let (mut two, worker_of_two) = connect(&server)?;
        assert_eq!(ask(&mut two, b"hello")?, (worker_of_two.to_string(), b"hello".to_vec()));
        assert_eq!(ask(&mut one, b"hello")?, (worker_of_one.to_string(), b"hello".to_vec()));
        Ok(())
    }

    #[test]
    fn leave_no_zombies_while_no_client_connects() -> Result<()> {
        let server = start("fork")?;
        for _ in 0..50 {
            ask(&mut Client::connect(server.addr())?, b"hello")?;
        }
        // A zombie would count as a worker.
        wait_for_workers(&server, 0)
    }

    #[test]
    fn crash_without_an_effect_on_others() -> Result<()> {
        let server = start("fork")?;
        let (mut before, _) = connect(&server)?;
        for how in [Signal::KILL, Signal::ILL, Signal::ABORT, Signal::TERM, Signal::INT] {
            let (mut client, worker) = connect(&server)?;
            send_signal(worker, how);
            client.expect_closed()?;
            let addr = client.addr();
            server.wait_for_log("how it ended", |line| {
                line.contains("WARN")
                    && line.contains(&addr.to_string())
                    && line.contains(&format!("process {worker} was terminated by SIG"))
            })?;
            let disconnected = format!("Client {addr} disconnected");
            server.wait_for_log(&disconnected, |line| line.ends_with(&disconnected))?;
            ask(&mut Client::connect(server.addr())?, b"hello")?;
        }
        assert_eq!(ask(&mut before, b"hello")?.1, b"hello");
        wait_for_workers(&server, 0)
    }

    #[test]
    fn make_room_for_another_client_when_they_crash() -> Result<()> {
        let server = Launch::new(PROGRAM, &[]).args(&["--max-clients", "1"]).start()?;
        let (_client, worker) = connect(&server)?;
        Client::connect(server.addr())?.expect_closed()?;
        send_signal(worker, Signal::KILL);
        wait_for_workers(&server, 0)?;
        ask(&mut Client::connect(server.addr())?, b"hello").map(drop)
    }

    #[test]
    fn have_one_thread_as_the_server_has() -> Result<()> {
        let server = start("fork")?;
        let pid = server.pid().unwrap();
        let (_one, worker) = connect(&server)?;
        for _ in 0..50 {
            let mut client = Client::connect(server.addr())?;
            assert_eq!(thread_count(pid), 1);
            ask(&mut client, b"hello")?;
        }
        assert_eq!(thread_count(worker), 1);
        Ok(())
    }

    #[test]
    fn end_with_the_server() -> Result<()> {
        for how in [Signal::TERM, Signal::INT] {
            let mut server = start("fork")?;
            let (mut client, _) = connect(&server)?;
            let (mut client_of_stopped, stopped) = connect(&server)?;
            send_signal(stopped, Signal::STOP);
            server.signal(how)?;
            server.expect_exit("sent a signal while workers were running")?;
            assert_eq!(server.leftover_processes(), Vec::<String>::new());
            client.expect_closed()?;
            client_of_stopped.expect_closed()?;
        }
        Ok(())
    }

    #[test]
    fn end_with_the_server_when_each_gets_the_signal() -> Result<()> {
        let mut server = start("fork")?;
        let (mut client, _) = connect(&server)?;
        // As the terminal does on Ctrl-C.
        server.signal_all(Signal::INT)?;
        server.expect_exit("sent SIGINT to all processes")?;
        client.expect_closed()?;
        let (_, log) = server.output_lines()?;
        assert!(log.iter().any(|line| line.ends_with("Shutting down")), "{log:?}");
        assert_eq!(server.leftover_processes(), Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn keep_neither_the_port_nor_another_client_open() -> Result<()> {
        let server = start("fork")?;
        let (mut one, worker_of_one) = connect(&server)?;
        let (_two, worker_of_two) = connect(&server)?;
        let sockets = |pid| {
            let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let links = links.flatten().filter_map(|link| std::fs::read_link(link.path()).ok());
            links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
        };
        // A worker closes its copies of the other sockets after it was forked. These stay: the client's socket, the
        // log's socket, and the sockets to which signal handlers write, which a worker does not use.
        let has_five = |pid| sockets(pid) == 5;
        wait_until(TIMEOUT, || Ok(has_five(worker_of_one) && has_five(worker_of_two)))?;
        assert_eq!((sockets(worker_of_one), sockets(worker_of_two)), (5, 5));
        // The first client's connection ends when its own worker has answered, although the second worker,
        // which was forked later, still runs.
        ask(&mut one, b"hello")?;
        let port = server.addr().port().to_string();
        send_signal(server.pid().unwrap(), Signal::KILL);
        wait_until(TIMEOUT, || Ok(!procfs::is_running(server.pid().unwrap())))?;
        assert!(procfs::is_running(worker_of_two));
        Launch::new(PROGRAM, &[]).args(&["--port", &port]).start_with_own_args().map(drop)
    }
}

#[test]
fn the_log_of_a_server_that_is_killed_is_written_to_the_end() -> Result<()> {
    let mut server = start("fork")?;
    ask(&mut Client::connect(server.addr())?, b"hello")?;
    server.signal(Signal::KILL)?;
    server.wait(TIMEOUT)?;
    let (_, log) = server.output_lines()?;
    assert!(log.iter().any(|line| line.ends_with(": hello")), "{log:?}");
    Ok(())
}

#[test]
fn a_stderr_that_is_not_read_does_not_delay_the_end() -> Result<()> {
    let outlet = probe::server::OutputTo::Unread;
    let mut server = Launch::new(PROGRAM, &[]).args(&["-v"]).stderr(outlet).start()?;
    for _ in 0..1000 {
        ask(&mut Client::connect(server.addr())?, &b"x".repeat(1000))?;
    }
    server.signal(Signal::TERM)?;
    server.expect_exit("filled stderr, sent SIGTERM")?;
    assert_eq!(server.leftover_processes(), Vec::<String>::new());
    Ok(())
}
