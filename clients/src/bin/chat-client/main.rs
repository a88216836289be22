//! Talks to a chat server: prints messages as they arrive, while you type.
//!
//! Start a server, `cargo run -p chat-threads`, then in two other terminals
//!
//! ```text
//! cargo run --bin chat-client
//! ```
//!
//! Like the server's handler for a client, the program has two threads: the main thread sends the lines
//! that are typed, the receiving thread prints the messages that arrive. `terminal.rs` lets the two threads
//! share a terminal; `tls.rs` lets them share an encrypted connection.

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
use serverkit::{ClientArgs, Failure, print_or_exit, readable_error};
use tincanchat::{DRAIN, LINGER, RecvBuf, prep_msg, printable, recv_msgs};

use terminal::{Terminal, block_termination_signals};
use tls::Sock;

/// How long the client waits, at the end of piped input, for the server to answer and to close: 4 s. That
/// is one second more than our servers give a client that leaves.
const ANSWER_TIME: Duration = DRAIN.saturating_add(Duration::from_secs(1));

/// How long the server must be silent before the answers to piped input count as complete: 200 ms.
const QUIET_TIME: Duration = Duration::from_millis(200);

/// The error when the server ends the connection before the client leaves.
const CLOSED: &str = "Connection to server closed";

/// The first bytes with which a TLS server answers a client that does not speak TLS: an alert (21), and
/// the high byte of the protocol version (RFC 8446 section 5.1).
const TLS_ALERT: &str = "\u{15}\u{3}";

/// Talk to a chat server: messages are printed as they arrive, while you type.
#[derive(Parser)]
#[command(
    name = "chat-client",
    version,
    after_help = "Examples:
  chat-client                        talk to the server on this machine, port 4040
  chat-client 192.0.2.7 --port 5050  talk to another server
  echo hello | chat-client           send a line, print the messages that arrive, and exit
  chat-client | tee chat.txt         print plain lines, and keep them in a file
  chat-client --tls --ca dev/ca.pem  talk to chat-tls, started with --dev-cert dev

A line that is just 'q', or the end of the input, quits; on a terminal, so do Ctrl-D and Ctrl-C."
)]
struct Args {
    #[command(flatten)]
    server: ClientArgs,

    /// Encrypt the connection with TLS, and check that the server's certificate is for this host
    #[arg(long)]
    tls: bool,

    /// Trust the certificate authorities in this PEM file instead of the ones that the system trusts
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let (sock, server) = args.server.connect()?;
    let sock = match args.tls {
        true => Sock::connect_tls(sock, &args.server.host, args.ca.as_deref())?,
        false => Sock::Plain(sock),
    };
    let chat = Arc::new(Chat {
        sock,
        has_received: AtomicBool::new(true),
        has_sent: AtomicBool::new(false),
        is_leaving: AtomicBool::new(false),
    });
    match terminal::open()? {
        Some(terminal) => chat_on_terminal(&chat, server, terminal)?,
        None => chat_in_plain_lines(&chat)?,
    }
    Ok(())
}

/// Chats with a line editor on a terminal. Ends the program, unless an error comes first.
fn chat_on_terminal(
    chat: &Arc<Chat>,
    server: SocketAddr,
    terminal: Terminal<impl ExternalPrinter + Send + 'static>,
) -> anyhow::Result<()> {
    print_or_exit(&format!("Connected to {server}: Enter sends a line, 'q' quits\n"))?;
    let Terminal { typed_lines, mut printer } = terminal;
    let receiver = Arc::clone(chat);
    start_receiving_thread(move || {
        block_termination_signals();
        let ended = catch_panic(|| receiver.receive(|msgs| printer.print(msgs)));
        // The main thread may be inside rustyline, and cannot be made to return.
        if !matches!(ended, Ok(Ok(()))) {
            printer.restore_terminal();
        }
        exit(ended)
    })?;
    // rustyline must run in the main thread. At Ctrl-Z it sends a signal to the process, which the main
    // thread handles; any other thread would keep running for a moment, and change the terminal again.
    chat.send_and_leave(typed_lines, LINGER)
}

/// Chats when stdin or stdout is not a terminal. Ends the program, unless an error comes first.
fn chat_in_plain_lines(chat: &Arc<Chat>) -> anyhow::Result<()> {
    let receiver = Arc::clone(chat);
    start_receiving_thread(move || {
        let print = |msgs: &[String]| print_or_exit(&(msgs.join("\n") + "\n"));
        let ended = catch_panic(|| receiver.receive(print));
        exit(ended)
    })?;
    chat.send_and_leave(io::stdin().lines(), ANSWER_TIME)
}

fn start_receiving_thread(run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let thread = thread::Builder::new().name("receiving".to_owned());
    thread.spawn(run).map_err(readable_error).context("cannot start a thread")?;
    Ok(())
}

/// Catches a panic of the receiving thread, so that [`exit`] can end the program, not only the thread.
fn catch_panic<R>(receive: impl FnOnce() -> R) -> thread::Result<R> {
    panic::catch_unwind(AssertUnwindSafe(receive))
}

/// Ends the program when the receiving thread has ended: the main thread may be waiting for a line.
fn exit(ended: thread::Result<anyhow::Result<()>>) -> ! {
    match ended {
        Ok(Ok(())) => process::exit(0),
        Ok(Err(err)) => {
            // With a closed stderr there is nowhere to report this.
            let _ = writeln!(io::stderr(), "Error: {err:#}");
            process::exit(1)
        }
        // The thread panicked: the message is on stderr already.
        Err(_) => process::exit(101),
    }
}

/// The state that the two threads share.
struct Chat {
    sock: Sock,
    /// Whether messages have arrived since [`Chat::leave`] last looked.
    has_received: AtomicBool,
    /// Whether the main thread has sent a message.
    has_sent: AtomicBool,
    /// Whether the main thread is about to tell the server, or has told it, that it will send nothing more.
    is_leaving: AtomicBool,
}

impl Chat {
    /// Receives until the server closes the connection, and calls `print` with one or more messages at
    /// a time. Runs in the receiving thread.
    ///
    /// It is an error if the server closes the connection before the client leaves.
    fn receive(
        &self,
        mut print: impl FnMut(&[String]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rest = RecvBuf::for_client();
        let mut is_first_answer = true;
        loop {
            let received = recv_msgs(&mut &self.sock, &mut rest);
            let Some(received) = received.map_err(readable_error).context(CLOSED)? else {
                break;
            };
            let mut msgs = Vec::new();
            let mut frame_error = None;
            for msg in received {
                match msg {
                    Ok(msg) => {
                        let is_tls = self.sock.is_plain() && msg.starts_with(TLS_ALERT);
                        if is_first_answer && is_tls {
                            bail!("the server speaks TLS: try --tls");
                        }
                        msgs.push(printable(msg).into_owned());
                    }
                    // The last item: the bytes that follow cannot be split into messages.
                    Err(err) => frame_error = Some(err),
                }
            }
            // Empty if the server sent only empty messages.
            if !msgs.is_empty() {
                print(&msgs)?;
            }
            is_first_answer = false;
            self.has_received.store(true, Ordering::SeqCst);
            if let Some(err) = frame_error {
                return Err(err).context("the server does not speak our protocol");
            }
        }
        if !rest.is_empty() {
            bail!("{CLOSED} in the middle of a message");
        }
        if self.is_leaving.load(Ordering::SeqCst) {
            return Ok(());
        }
        // A chat server relays a client's message to that client too. A TLS server closes the connection
        // when it gets a message that is not encrypted.
        if self.has_sent.load(Ordering::SeqCst) && is_first_answer && self.sock.is_plain() {
            bail!("{CLOSED} without an answer: does it want --tls?");
        }
        bail!(CLOSED)
    }

    /// Sends the lines, tells the server that no more follow, and ends the program. Returns only if the
    /// lines cannot be read.
    fn send_and_leave(
        &self,
        lines: impl Iterator<Item = io::Result<String>>,
        answer_time: Duration,
    ) -> anyhow::Result<()> {
        // `send_lines` also drops the iterator. With a line editor, that lets the receiving thread print
        // from then on, as it must in both of the steps that follow.
        match self.send_lines(lines)? {
            true => self.leave(answer_time),
            false => self.wait_for_receiving_thread(),
        }
    }

    /// Sends lines until they end or one of them is `q`. Reports whether all of them could be sent: `false`
    /// means that the connection has failed.
    fn send_lines(&self, lines: impl Iterator<Item = io::Result<String>>) -> anyhow::Result<bool> {
        for line in lines {
            match line {
                Ok(line) if line == "q" => break,
                Ok(text) => {
                    // Text that was pasted into the line editor may contain several lines.
                    for msg in text.lines() {
                        if self.send(msg).is_err() {
                            return Ok(false);
                        }
                    }
                }
                Err(err) if err.kind() == ErrorKind::InvalidData => {
                    report_not_sent("not valid UTF-8");
                }
                Err(err) => return Err(readable_error(err)).context("cannot read from stdin"),
            }
        }
        Ok(true)
    }

    /// Sends one message, or reports on stderr why it cannot be sent. Waits while the server does not
    /// read. It is an error if the connection fails.
    fn send(&self, msg: &str) -> io::Result<()> {
        // A server ignores an empty message.
        if msg.is_empty() {
            return Ok(());
        }
        match prep_msg(msg) {
            Ok(frame) => {
                self.has_sent.store(true, Ordering::SeqCst);
                (&self.sock).write_all(&frame)
            }
            Err(err) => {
                report_not_sent(&err.to_string());
                Ok(())
            }
        }
    }

    /// Tells the server that no more messages follow, and ends the program: at the latest after
    /// `answer_time`, or earlier, in the receiving thread, when the server closes the connection.
    fn leave(&self, answer_time: Duration) -> ! {
        let deadline = Instant::now() + answer_time;
        // The Python servers of the chapter drop a client that shuts down its sending side, together with
        // the messages that are queued for it. So the client waits for the answers first.
        while self.has_received.swap(false, Ordering::SeqCst) && Instant::now() + LINGER < deadline
        {
            thread::sleep(QUIET_TIME);
        }
        // Set just before the shutdown, not earlier: a server that closes the connection before the
        // shutdown has gone away, which is an error.
        self.is_leaving.store(true, Ordering::SeqCst);
        let _ = self.sock.shutdown(Shutdown::Write);
        // The program does not end at once: ending it while messages arrive would send a reset, which can
        // destroy messages of ours that the server has not read yet.
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
        process::exit(0)
    }

    /// Closes a connection that has failed, and waits for the receiving thread to find it closed, report
    /// this, and end the program.
    fn wait_for_receiving_thread(&self) -> ! {
        let _ = self.sock.shutdown(Shutdown::Both);
        loop {
            thread::park();
        }
    }
}

fn report_not_sent(reason: &str) {
    // With a closed stderr there is nowhere to report this.
    let _ = writeln!(io::stderr(), "Not sent: {reason}");
}
