//! The client: one select waits for the keyboard and for the server.

use std::io::{self, IsTerminal as _, Write as _};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::select::{FdSet, select};
use serverkit::{ClientArgs, print_or_exit, readable_error};
use tincanchat::{MAX_MSG_LEN, printable};

use crate::frame::{MAX_RELAY_LEN, RecvBuf, frame};
use crate::keyboard::read_typed;
use crate::select::check_watchable;

/// The longest line that the client reads, in bytes: room for the longest message and for white space
/// around it.
const MAX_LINE: usize = 4 * MAX_MSG_LEN;

/// Joins the chat, and returns when the chat ends.
pub fn run(name: &str, host: &str, port: u16) -> Result<()> {
    let (sock, server) = ClientArgs { host: host.to_owned(), port }.connect()?;
    check_watchable(&sock).context("cannot wait for the server")?;
    let mut chat = Chat {
        sock,
        server,
        name,
        is_interactive: io::stdin().is_terminal() && io::stdout().is_terminal(),
        prompt: None,
        typed: Vec::new(),
        is_input_over: false,
        rest: RecvBuf::new(MAX_RELAY_LEN),
    };
    chat.send(&format!("NAME: {name}"))?;
    while chat.take_turn()? {}
    Ok(())
}

struct Chat<'a> {
    sock: TcpStream,
    server: SocketAddr,
    name: &'a str,
    /// Whether a user types, so that a prompt is shown.
    is_interactive: bool,
    /// `[name@ip]> `. `None` until the server has sent the client's address.
    prompt: Option<String>,
    /// The unfinished line from the keyboard.
    typed: Vec<u8>,
    is_input_over: bool,
    /// The unfinished frame from the server.
    rest: RecvBuf,
}

impl Chat<'_> {
    /// Waits until the user has typed something or the server has sent something, and handles it. Reports
    /// whether the chat goes on.
    fn take_turn(&mut self) -> Result<bool> {
        let keyboard = io::stdin();
        let mut readable = FdSet::new();
        readable.insert(self.sock.as_fd());
        if !self.is_input_over {
            readable.insert(keyboard.as_fd());
        }
        match select(None, &mut readable, None, None, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(true), // a signal came; the set is not valid
            Err(err) => return Err(err).context("select"),
        }
        // select has left in the set only the descriptors that are ready.
        let has_received = readable.contains(self.sock.as_fd());
        if readable.contains(keyboard.as_fd()) {
            self.handle_keyboard()?;
        }
        if has_received { self.handle_server() } else { Ok(true) }
    }

    /// Reads from the keyboard, and sends each complete line.
    fn handle_keyboard(&mut self) -> Result<()> {
        let Some(text) = read_typed(&io::stdin()) else {
            return self.handle_end_of_input();
        };
        self.typed.extend_from_slice(&text);
        while let Some(end) = self.typed.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.typed.drain(..=end).collect();
            self.send_line(&line)?;
        }
        ensure!(self.typed.len() <= MAX_LINE, "a line has more than {MAX_LINE} bytes");
        Ok(())
    }

    /// Sends the last line, which may have no line end, and ends the sending side. The server then closes
    /// the connection, too. Until that happens, the client prints the messages that it receives.
    fn handle_end_of_input(&mut self) -> Result<()> {
        self.is_input_over = true;
        let line = mem::take(&mut self.typed);
        self.send_line(&line)?;
        if self.is_interactive {
            print_or_exit("\n")?;
        }
        let _ = self.sock.shutdown(Shutdown::Write); // if the server is gone, the next read says so
        Ok(())
    }

    /// Sends a line without the white space around it. A line that cannot be sent is reported to the user.
    fn send_line(&mut self, line: &[u8]) -> Result<()> {
        match str::from_utf8(line).map(str::trim) {
            Ok("") => {}
            Ok(msg) if msg.len() > MAX_MSG_LEN => {
                eprintln!("not sent: the line has {} bytes, more than {MAX_MSG_LEN}", msg.len());
            }
            Ok(msg) => self.send(msg)?,
            Err(_) => eprintln!("not sent: the line is not UTF-8"),
        }
        self.show_prompt()
    }

    fn send(&mut self, msg: &str) -> Result<()> {
        // Blocks until the kernel has accepted all of it.
        self.sock.write_all(&frame(msg)).map_err(readable_error).context("sending")
    }

    /// Receives once, and prints each message. Reports whether there may be more to receive.
    fn handle_server(&mut self) -> Result<bool> {
        let received = self.rest.read_from(&mut self.sock);
        let n = received.map_err(readable_error).context("receiving")?;
        for msg in self.rest.take_msgs() {
            let msg = msg.context("the server breaks the protocol")?;
            self.show_msg(&msg)?;
        }
        if n > 0 {
            return Ok(true);
        }
        ensure!(self.is_input_over, "the server has closed the connection");
        Ok(false)
    }

    fn show_msg(&mut self, msg: &str) -> Result<()> {
        match msg.strip_prefix("CLIENT: ") {
            // The first message contains the client's own address.
            Some(ip) if self.prompt.is_none() => {
                let prompt = format!("[{}@{ip}]> ", self.name);
                self.prompt = Some(printable(&prompt).into_owned());
                let server = self.server;
                eprintln!("Connected to {server}: Enter sends a line, Ctrl-D ends the chat");
            }
            _ => {
                // On a terminal, the message interrupts the line that the user is typing. The terminal
                // keeps that line.
                let line_end = if self.is_interactive { "\n" } else { "" };
                print_or_exit(&format!("{line_end}{}\n", printable(msg)))?;
            }
        }
        self.show_prompt()
    }

    fn show_prompt(&self) -> Result<()> {
        match &self.prompt {
            Some(prompt) if self.is_interactive && !self.is_input_over => print_or_exit(prompt),
            _ => Ok(()),
        }
    }
}
