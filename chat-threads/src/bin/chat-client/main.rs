//! Talks to a chat server: prints what arrives while you type.
//!
//! Start a server, `cargo run --bin chat-threads`, then in two other terminals
//!
//! ```text
//! cargo run --bin chat-client
//! ```
//!
//! Two threads, as the server has for each client: one reads what is typed and sends it, the other
//! receives and prints. This file is the client; `terminal.rs` lets the two threads share a terminal,
//! and `tls.rs` a connection that nobody else can read.

mod terminal;
mod tls;

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Context, bail};
use clap::Parser;
use rustyline::ExternalPrinter;
use tincanchat::cli::{ClientArgs, Failure, in_words, say};
use tincanchat::{DRAIN, LINGER, Rest, prep_msg, printable, recv_msgs};

use terminal::{Screen, Typing, leave_signals_to_main_thread};
use tls::Sock;

/// How long a server may take to answer what came through a pipe, after the pipe's end: a little
/// longer than our servers give a client that leaves.
const ANSWER_TIME: Duration = DRAIN.saturating_add(Duration::from_secs(1));

/// How long it must be quiet until the server's answers so far count as complete.
const QUIET_TIME: Duration = Duration::from_millis(200);

/// What is said when a thread cannot be started: the receiving one, or the one for signals.
const NO_THREAD: &str = "cannot start a thread";

/// What is said of a connection that ends before we have ended it.
const CLOSED: &str = "Connection to server closed";

/// How an answer in TLS to what is no TLS begins: an alert, in some version (RFC 8446 section 5.1).
const TLS_ALERT: &str = "\u{15}\u{3}";

/// Talk to a chat server: what arrives is printed while you type.
#[derive(Parser)]
#[command(
    name = "chat-client",
    version,
    after_help = "Examples:
  chat-client                        talk to the server on this machine, port 4040
  chat-client 192.0.2.7 --port 5050  talk to another one
  echo hello | chat-client           send a line, print what arrives until the server is done
  chat-client | tee chat.txt         plain lines, kept in a file
  chat-client --tls --ca dev/ca.pem  talk in private, to a server that this CA vouches for

A line that is just 'q', or the end of the input, quits; on a terminal Ctrl-D and Ctrl-C do too."
)]
struct Args {
    #[command(flatten)]
    server: ClientArgs,

    /// Talk in private, by TLS, and only to a server that can show that it is this host
    #[arg(long)]
    tls: bool,

    /// Trust the certificate authorities in this PEM file, instead of those that the system trusts
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let (sock, server) = args.server.connect()?;
    let sock = match args.tls {
        true => Sock::shake(sock, &args.server.host, args.ca.as_deref())?,
        false => Sock::Plain(sock),
    };
    let chat = Arc::new(Chat {
        sock,
        has_heard: AtomicBool::new(true),
        has_spoken: AtomicBool::new(false),
        is_leaving: AtomicBool::new(false),
    });
    match terminal::open()? {
        Some((typing, screen)) => chat_on_terminal(&chat, server, typing, screen)?,
        None => chat_in_lines(&chat)?,
    }
    Ok(())
}

fn chat_on_terminal(
    chat: &Arc<Chat>,
    server: SocketAddr,
    typing: Typing,
    mut screen: Screen<impl ExternalPrinter + Send + 'static>,
) -> anyhow::Result<()> {
    say(&format!("Connected to {server}: Enter sends a line, 'q' quits\n"))?;
    let receiver = Arc::clone(chat);
    let receive = move || {
        leave_signals_to_main_thread();
        let ended = catch_panic(|| receiver.receive(|msgs| screen.show(msgs)));
        if !matches!(ended, Ok(Ok(()))) {
            screen.restore();
        }
        end(ended)
    };
    // Typing belongs to the main thread: only there does Ctrl-Z stop rustyline where it asks for it.
    thread::Builder::new().spawn(receive).map_err(in_words).context(NO_THREAD)?;
    chat.finish(chat.send_all(typing)?, LINGER)
}

fn chat_in_lines(chat: &Arc<Chat>) -> anyhow::Result<()> {
    let receiver = Arc::clone(chat);
    let show = |msgs: &[String]| say(&(msgs.join("\n") + "\n"));
    let receive = move || end(catch_panic(|| receiver.receive(show)));
    thread::Builder::new().spawn(receive).map_err(in_words).context(NO_THREAD)?;
    chat.finish(chat.send_all(io::stdin().lines())?, ANSWER_TIME)
}

/// Ends the program from the receiving thread, while the other may be waiting for somebody to type.
fn end(ended: thread::Result<anyhow::Result<()>>) -> ! {
    match ended {
        Ok(Ok(())) => process::exit(0),
        Ok(Err(err)) => {
            let _ = writeln!(io::stderr(), "Error: {err:#}");
            process::exit(1)
        }
        // The panic has been told on stderr.
        Err(_) => process::exit(101),
    }
}

/// Catches a panic of the receiving thread, so that [`end`] can end the program, not only the thread.
fn catch_panic<R>(receive: impl FnOnce() -> R) -> thread::Result<R> {
    panic::catch_unwind(AssertUnwindSafe(receive))
}

/// What both threads need.
struct Chat {
    sock: Sock,
    /// Whether anything has come since the leaving thread last looked.
    has_heard: AtomicBool,
    has_spoken: AtomicBool,
    /// Whether the server is told that nothing more comes.
    is_leaving: AtomicBool,
}

impl Chat {
    /// Hands messages to `show`, as many as have come at a time, until the server closes the
    /// connection: an error, unless we are leaving.
    fn receive(&self, mut show: impl FnMut(&[String]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut rest = Rest::for_client();
        let mut has_answered = false;
        while let Some(received) =
            recv_msgs(&mut &self.sock, &mut rest).map_err(in_words).context(CLOSED)?
        {
            let mut msgs = Vec::new();
            let mut broken = None;
            for msg in received {
                match msg {
                    Ok(msg)
                        if self.sock.is_plain() && !has_answered && msg.starts_with(TLS_ALERT) =>
                    {
                        bail!("the server speaks TLS: try --tls")
                    }
                    Ok(msg) => msgs.push(printable(msg).into_owned()),
                    Err(err) => broken = Some(err),
                }
            }
            if !msgs.is_empty() {
                show(&msgs)?;
            }
            has_answered = true;
            self.has_heard.store(true, Ordering::SeqCst);
            if let Some(err) = broken {
                return Err(err).context("the server does not speak our protocol");
            }
        }
        if !rest.is_empty() {
            bail!("{CLOSED} in the middle of a message");
        }
        if self.is_leaving.load(Ordering::SeqCst) {
            return Ok(());
        }
        // Whoever speaks to a chat hears at least its own words.
        if self.has_spoken.load(Ordering::SeqCst) && !has_answered && self.sock.is_plain() {
            bail!("{CLOSED} without an answer: does it want --tls?");
        }
        bail!(CLOSED)
    }

    /// Sends lines until there are no more or one is `q`; gives whether the server has taken them all.
    fn send_all(&self, lines: impl Iterator<Item = io::Result<String>>) -> anyhow::Result<bool> {
        for line in lines {
            match line {
                Ok(line) if line == "q" => break,
                // What is pasted into the line editor may have several lines.
                Ok(text) if text.lines().all(|msg| self.send(msg)) => {}
                Ok(_) => return Ok(false),
                Err(err) if err.kind() == ErrorKind::InvalidData => refuse("not valid UTF-8"),
                Err(err) => return Err(in_words(err)).context("cannot read what is typed"),
            }
        }
        Ok(true)
    }

    fn send(&self, msg: &str) -> bool {
        match prep_msg(msg) {
            // A server ignores an empty message.
            Ok(_) if msg.is_empty() => true,
            // Waits while the server does not read, so nothing that was typed is dropped.
            Ok(frame) => {
                self.has_spoken.store(true, Ordering::SeqCst);
                (&self.sock).write_all(&frame).is_ok()
            }
            Err(err) => {
                refuse(&err.to_string());
                true
            }
        }
    }

    /// Lets the receiving thread print on until the server has closed the connection, or the time is
    /// over: to end at once would send a reset, which can eat what was sent last.
    fn finish(&self, has_sent_all: bool, patience: Duration) -> ! {
        if !has_sent_all {
            // The receiving thread then finds the connection closed, says so, and ends the program.
            let _ = self.sock.shutdown(Shutdown::Both);
            loop {
                thread::park();
            }
        }
        let end = Instant::now() + patience;
        // The chapter's servers drop a client that stops sending, with all it has yet to get.
        while self.has_heard.swap(false, Ordering::SeqCst) && Instant::now() + LINGER < end {
            thread::sleep(QUIET_TIME);
        }
        // A server that has closed before it knows this has gone away.
        self.is_leaving.store(true, Ordering::SeqCst);
        let _ = self.sock.shutdown(Shutdown::Write);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        process::exit(0)
    }
}

fn refuse(why: &str) {
    // With a closed stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "Not sent: {why}");
}
