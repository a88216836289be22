//! The client: what is typed goes out while what others say comes in.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::select::{FdSet, select};
use tincanchat::cli::{ClientArgs, in_words, say};
use tincanchat::{MAX_MSG_LEN, printable};

use crate::frame::{MAX_RELAY_LEN, Rest, frame};
use crate::keyboard::typed;
use crate::server::unwatchable;

/// The longest line that is read at all: what a message may have, and much white space around it.
const MAX_LINE: usize = 4 * MAX_MSG_LEN;

pub fn run(name: &str, host: &str, port: u16) -> Result<()> {
    let (sock, server) = ClientArgs { host: host.to_owned(), port }.connect()?;
    if let Some(why) = unwatchable(&sock) {
        bail!("cannot wait for the server: {why}");
    }
    let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let (prompt, typed, rest) = (None, Vec::new(), Rest::default());
    let mut chat =
        Chat { sock, server, name, is_interactive, prompt, typed, rest, has_typed_all: false };
    chat.send(&format!("NAME: {name}"))?;
    while chat.turn()? {}
    Ok(())
}

struct Chat<'a> {
    sock: TcpStream,
    server: SocketAddr,
    name: &'a str,
    is_interactive: bool,
    /// `[name@ip]> `, once the server has said the address.
    prompt: Option<String>,
    /// The beginning of a line.
    typed: Vec<u8>,
    rest: Rest,
    has_typed_all: bool,
}

impl Chat<'_> {
    /// Waits for the keyboard and the server; says whether there is more to wait for.
    fn turn(&mut self) -> Result<bool> {
        let keyboard = io::stdin();
        let mut readable = FdSet::new();
        readable.insert(self.sock.as_fd());
        if !self.has_typed_all {
            readable.insert(keyboard.as_fd());
        }
        match select(None, &mut readable, None, None, None) {
            Err(Errno::EINTR) => return Ok(true),
            result => result.context("select")?,
        };
        let is_heard = readable.contains(self.sock.as_fd());
        if !self.has_typed_all && readable.contains(keyboard.as_fd()) {
            self.take_typed()?;
        }
        if is_heard { self.hear() } else { Ok(true) }
    }

    fn take_typed(&mut self) -> Result<()> {
        match typed(&io::stdin()) {
            Some(text) => self.typed.extend_from_slice(&text),
            None => return self.end(),
        }
        while let Some(end) = self.typed.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.typed.drain(..=end).collect();
            self.say(&line)?;
        }
        ensure!(self.typed.len() <= MAX_LINE, "a line of more than {MAX_LINE} bytes");
        Ok(())
    }

    /// The last line may have no end. What others say is printed until the server closes as well.
    fn end(&mut self) -> Result<()> {
        self.has_typed_all = true;
        let line = std::mem::take(&mut self.typed);
        self.say(&line)?;
        if self.is_interactive {
            say("\n")?;
        }
        // That the server is gone already, the next receive shows.
        let _ = self.sock.shutdown(Shutdown::Write);
        Ok(())
    }

    fn say(&mut self, line: &[u8]) -> Result<()> {
        let Ok(text) = str::from_utf8(line) else {
            eprintln!("not sent: not valid UTF-8");
            return self.show_prompt();
        };
        match text.trim() {
            "" => {}
            text if text.len() > MAX_MSG_LEN => {
                eprintln!("not sent: {} bytes, and {MAX_MSG_LEN} are allowed", text.len());
            }
            text => self.send(text)?,
        }
        self.show_prompt()
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.sock.write_all(&frame(text)).map_err(in_words).context("sending")
    }

    /// Receives once; says whether there will be more.
    fn hear(&mut self) -> Result<bool> {
        let n = match self.rest.recv(&mut self.sock) {
            Err(err) if err.kind() == ErrorKind::Interrupted => return Ok(true), // a signal came
            received => received.map_err(in_words).context("receiving")?,
        };
        let (texts, wrong) = self.rest.take_texts(MAX_RELAY_LEN);
        for text in &texts {
            self.show(text)?;
        }
        wrong.context("what the server sends is no frame")?;
        match n {
            0 if self.has_typed_all => Ok(false),
            0 => bail!("the server has closed the connection"),
            _ => Ok(true),
        }
    }

    fn show(&mut self, text: &str) -> Result<()> {
        if let (None, Some(ip)) = (&self.prompt, text.strip_prefix("CLIENT: ")) {
            self.prompt = Some(printable(&format!("[{}@{ip}]> ", self.name)).into_owned());
            eprintln!("Connected to {}: Enter sends a line, Ctrl-D ends the chat", self.server);
        } else {
            // The line that is being typed is torn, but not lost: the terminal keeps it.
            let before = if self.is_interactive { "\n" } else { "" };
            say(&format!("{before}{}\n", printable(text)))?;
        }
        self.show_prompt()
    }

    fn show_prompt(&self) -> Result<()> {
        match &self.prompt {
            Some(prompt) if self.is_interactive && !self.has_typed_all => say(prompt),
            _ => Ok(()),
        }
    }
}
