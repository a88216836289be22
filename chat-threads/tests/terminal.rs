//! What `chat-client` does on a terminal: it gets a pseudo-terminal, and the tests look at the screen
//! that its output makes.
#![cfg(unix)]
// In a test that is what should happen when something fails.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use workbench::dialogue::reset;

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-client");

const COLS: u16 = 70;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_R: &str = "\x12";
const CTRL_Z: &str = "\x1a";
const UP: &str = "\x1b[A";

#[test]
fn a_line_being_typed_is_not_torn() {
    let mut chat = Chat::start();
    chat.type_in("half a li");
    chat.wait_for_last_line("> half a li");
    chat.server_says("127.0.0.1:50312: what arrives");
    chat.wait_for("127.0.0.1:50312: what arrives\n> half a li");
    chat.type_in("ne\r");
    assert_eq!(chat.read_frame(), "half a line");
    chat.wait_for("> half a line\n>");
}

#[test]
fn a_line_that_wraps_is_not_torn() {
    let mut chat = Chat::start();
    let long = "日本語 words and more words ".repeat(4);
    chat.type_in(&long);
    chat.wait_for(&on_screen(&format!("> {long}")));
    chat.server_says("a: one");
    chat.server_says("a: two");
    chat.wait_for(&on_screen(&format!("a: one\na: two\n> {long}")));
    chat.type_in("\r");
    assert_eq!(chat.read_frame(), long);
}

/// Between two lines rustyline would print in any order, and across the prompt, if it were let.
#[test]
fn all_arrives_in_order_and_in_place_while_line_after_line_is_entered() {
    let mut chat = Chat::with_env(24, &[("NO_COLOR", "1")]);
    let mut sock = chat.sock.try_clone().unwrap();
    let (sender, has_ended) = mpsc::channel::<()>();
    let talker = thread::spawn(move || {
        let mut count = 0;
        while has_ended.try_recv().is_err() {
            sock.write_all(format!("a: message {count}!\0").as_bytes()).unwrap();
            count += 1;
            thread::sleep(Duration::from_micros(20));
        }
        count
    });
    let mut at = 0;
    for n in 0..200 {
        // What is typed meets a prompt: between two lines, the terminal would echo it.
        at = chat.wait_for_output_after(at, "\x1b[?2004h");
        at = chat.wait_for_output_after(at, "> ");
        chat.type_in(&format!("line {n}\r"));
        assert_eq!(chat.read_frame(), format!("line {n}"));
    }
    sender.send(()).unwrap();
    let count = talker.join().unwrap();
    chat.wait_for_output_after(0, &format!("a: message {}!", count - 1));

    let bytes = chat.terminal.0.lock().unwrap().bytes.clone();
    let output = String::from_utf8(bytes).unwrap();
    let places: Vec<_> = output.match_indices("a: message ").map(|(at, _)| at).collect();
    assert_eq!(places.len(), count);
    for (n, &at) in places.iter().enumerate() {
        let (before, message) = output.split_at(at);
        assert!(message.starts_with(&format!("a: message {n}!")), "no {n}: {message:.30}");
        // At the start of a line, or of one whose prompt has just been erased.
        assert!(before.ends_with('\n') || before.ends_with("\r\x1b[K"), "{n} is out of place");
    }
}

#[test]
fn what_is_typed_ahead_is_not_lost() {
    let mut chat = Chat::start();
    chat.type_in("one\rtwo\rthree\rfo");
    for msg in ["one", "two", "three"] {
        assert_eq!(chat.read_frame(), msg);
    }
    chat.wait_for_last_line("> fo");
}

#[test]
fn what_is_pasted_is_sent_at_enter_a_message_a_line() {
    let mut chat = Chat::start();
    chat.type_in("\x1b[200~one\r\rtwo\x1b[201~");
    chat.wait_for("> one\n\ntwo");
    chat.server_says("a: hello");
    chat.wait_for("a: hello\n> one\n\ntwo");
    chat.type_in("\r");
    assert_eq!(chat.read_frame(), "one");
    assert_eq!(chat.read_frame(), "two");
}

#[test]
fn wide_characters_are_deleted_whole() {
    let mut chat = Chat::start();
    chat.type_in("日本x\x7f\x7f語\r");
    assert_eq!(chat.read_frame(), "日語");
    chat.wait_for("> 日語\n>");
}

#[test]
fn arrow_up_brings_back_the_last_line() {
    let mut chat = Chat::start();
    chat.type_in("first\rsecond\r");
    chat.wait_for("> first\n> second\n>");
    chat.type_in(UP);
    chat.wait_for_last_line("> second");
    chat.type_in(UP);
    chat.wait_for_last_line("> first");
    chat.type_in("!\r");
    for msg in ["first", "second", "first!"] {
        assert_eq!(chat.read_frame(), msg);
    }
}

#[test]
fn q_and_ctrl_d_and_ctrl_c_quit_after_what_was_typed_was_sent() {
    for quit in ["q\r", CTRL_D, CTRL_C] {
        let mut chat = Chat::start();
        chat.type_in("hello\r");
        chat.wait_for("> hello\n>");
        chat.type_in(quit);
        assert_eq!(chat.read_frame(), "hello");
        assert_eq!(chat.sock.read(&mut [0]).unwrap(), 0, "it must have stopped sending");
        let (code, stderr) = chat.end();
        assert_eq!((code, &stderr[..]), (Some(0), &[][..]), "{quit:?}");
    }
}

#[test]
fn what_arrives_after_the_last_line_is_printed() {
    for quit in ["q\r", CTRL_D] {
        let mut chat = Chat::start();
        chat.type_in(quit);
        assert_eq!(chat.sock.read(&mut [0]).unwrap(), 0, "it must have stopped sending");
        chat.server_says("server: bye");
        chat.wait_for("server: bye");
    }
}

#[test]
fn a_server_that_ignores_its_leaving_does_not_hold_it() {
    let mut chat = Chat::start();
    let start = Instant::now();
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
    assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
}

#[test]
fn a_line_with_a_zero_byte_is_refused() {
    let mut chat = Chat::start();
    // Ctrl-V takes the next key as it is; Ctrl-@ is the zero byte.
    chat.type_in("a\x16\0b\r");
    let refusal = chat.stderr.recv_timeout(DEADLINE);
    assert_eq!(refusal.as_deref(), Ok("Not sent: the text has a zero byte in it, at byte 1"));
    chat.type_in("fine\r");
    assert_eq!(chat.read_frame(), "fine");
}

#[test]
fn the_terminal_is_put_back_when_the_server_goes_away() {
    for typed in ["", "in the middle"] {
        let mut chat = Chat::start();
        chat.type_in(typed);
        let prompt = format!("> {typed}");
        chat.wait_for_last_line(prompt.trim_end());
        chat.server_says("server: shutting down");
        chat.sock.shutdown(Shutdown::Both).unwrap();
        chat.expect_closed();
        chat.wait_for(&format!("server: shutting down\n{}\n", prompt.trim_end()));
    }
}

/// rustyline then waits for a key, and for nothing else.
#[test]
fn the_terminal_is_put_back_from_a_search_in_the_history_too() {
    let mut chat = Chat::start();
    chat.type_in("hello\r");
    chat.wait_for("> hello\n>");
    chat.type_in(CTRL_R);
    chat.wait_for("(reverse-i-search)");
    chat.sock.shutdown(Shutdown::Both).unwrap();
    chat.expect_closed();
}

#[test]
fn a_signal_that_ends_it_puts_the_terminal_back() {
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT, Signal::INT] {
        for (keys, shown) in [("", ">"), ("in the middle", "> in the middle"), (CTRL_R, "search")] {
            if signal == Signal::INT && keys == CTRL_R {
                continue; // rustyline takes SIGINT itself, and here may see it only with the next key
            }
            let mut chat = Chat::start();
            chat.type_in("hello\r");
            chat.wait_for("> hello\n>");
            chat.type_in(keys);
            chat.wait_for(shown);
            chat.signal(signal);
            let (code, stderr) = chat.end();
            // For SIGINT it quits, as for Ctrl-C.
            let expected = (signal == Signal::INT).then_some(0);
            assert_eq!((code, &stderr[..]), (expected, &[][..]), "{signal:?} after {keys:?}");
        }
    }
}

/// In the background the terminal is not the client's: to change it would stop the client again.
#[test]
#[cfg(target_os = "linux")] // elsewhere setsid(1) is not there, or does not know --ctty
fn a_signal_ends_it_in_the_background_too() {
    // The shell goes on when the client has stopped; with -m it has jobs though it asks nobody.
    // Its own end would end the client in any case.
    let script = r#""$0" --port "$1"; kill %1; kill -CONT %1; read -r enter"#;
    let mut shell = Command::new("setsid");
    shell.args(["--ctty", "--wait", "sh", "-m", "-c", script, PROGRAM]);
    let mut chat = Chat::run(24, &[], &mut shell);
    chat.wait_for_last_line(">");
    chat.type_in("half a li");
    chat.wait_for_last_line("> half a li");
    chat.type_in(CTRL_Z);
    assert_eq!(chat.sock.read(&mut [0]).expect("the client does not end"), 0);
    chat.type_in("\r");
    assert_eq!(chat.end().0, Some(0));
}

/// A shell makes the terminal its own while a program is stopped.
#[test]
fn it_goes_on_after_a_stop_that_it_has_not_seen() {
    let mut chat = Chat::start();
    chat.type_in("half a li");
    chat.wait_for_last_line("> half a li");
    chat.signal(Signal::STOP);
    tcsetattr(&chat.tty, OptionalActions::Now, &chat.mode).unwrap();
    chat.tty.write_all(b"\x1b[?2004l\n$ fg\n").unwrap();
    chat.signal(Signal::CONT);
    chat.wait_for("$ fg\n\n> half a li");
    let mode = tcgetattr(&chat.tty).unwrap();
    assert!(!mode.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON));
    assert!(chat.terminal.0.lock().unwrap().parser.screen().bracketed_paste());
    chat.type_in("ne\r");
    assert_eq!(chat.read_frame(), "half a line");
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_and_the_client_goes_on() {
    let mut chat = Chat::start();
    for (bytes, text) in [(&b"caf\xe9\r"[..], "café"), (b"\xff", "thé")] {
        let prompts = chat.count("\x1b[?2004h");
        chat.keyboard.write_all(bytes).unwrap();
        let refusal = chat.stderr.recv_timeout(DEADLINE);
        assert_eq!(refusal.as_deref(), Ok("Not sent: not valid UTF-8"), "{bytes:?}");
        // What is typed meets a prompt: between two lines, the terminal would echo it.
        drop(chat.wait_until_terminal("a prompt", |terminal| {
            terminal.count("\x1b[?2004h") > prompts && terminal.contents().ends_with("\n>")
        }));
        chat.type_in(&format!("{text}\r"));
        assert_eq!(chat.read_frame(), text);
        chat.server_says(&format!("a: {text}"));
        chat.wait_for(&format!("a: {text}\n>"));
    }
    chat.type_in(CTRL_D);
    assert_eq!(chat.end(), (Some(0), vec![]));
}

#[test]
fn a_reset_at_once_is_told_in_words() {
    let mut chat = Chat::open(24, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    reset(std::mem::replace(&mut chat.sock, other));
    let (code, stderr) = chat.end();
    let words = "Error: Connection to server closed: the server has reset the connection";
    assert_eq!((code, &stderr[..]), (Some(1), &[words.to_owned()][..]));
}

/// Some terminals join the rows of a line that they have broken, others do not; and it takes a moment
/// until the client knows of the new size.
#[test]
fn no_message_is_lost_when_the_terminal_is_made_wider() {
    for joins in [true, false] {
        let mut chat = Chat::with_env(40, &[("NO_COLOR", "1")]);
        let typed = "0123456789".repeat(17);
        chat.type_in(&typed);
        let long = format!("a: {}", "x".repeat(180));
        let msgs = ["a: one", "a: two", &long, "a: four", "a: five", "a: six"];
        let expect = |chat: &Chat, count: usize| {
            let expected = format!("{}> {typed}", msgs[..count].concat());
            let is_so = |screen: &str| screen.replace('\n', "").ends_with(&expected);
            chat.wait_until(&format!("{count} messages, rows joined: {joins}"), is_so);
        };
        for msg in &msgs[..4] {
            chat.server_says(msg);
        }
        expect(&chat, 4);
        chat.terminal.0.lock().unwrap().set_cols(150, joins);
        chat.server_says(msgs[4]);
        expect(&chat, 5);
        chat.tell_cols(150);
        chat.server_says(msgs[5]);
        expect(&chat, 6);
        chat.type_in("\r");
        assert_eq!(chat.read_frame(), typed);
    }
}

/// Of the line being typed, more rows may be left on the screen than it has.
#[test]
fn no_message_is_lost_when_the_terminal_is_made_narrower() {
    for joins in [true, false] {
        let mut chat = Chat::with_env(40, &[("NO_COLOR", "1")]);
        let typed = "0123456789".repeat(17);
        chat.type_in(&typed);
        let msgs = ["a: one", "a: two", "a: three"];
        let expect = |chat: &Chat, count: usize| {
            let above = msgs[..count - 1].join("\n");
            let last = format!("\n{}\n> ", msgs[count - 1]);
            chat.wait_until(&format!("{count} messages, rows joined: {joins}"), |screen| {
                let is_typed = screen.replace('\n', "").ends_with(&format!("> {typed}"));
                is_typed && screen.contains(&above) && screen.contains(&last)
            });
        };
        chat.server_says(msgs[0]);
        chat.server_says(msgs[1]);
        expect(&chat, 2);
        chat.terminal.0.lock().unwrap().set_cols(50, joins);
        chat.tell_cols(50);
        chat.wait_until("the line in new rows", |screen| {
            screen.replace('\n', "").ends_with(&format!("> {typed}"))
        });
        chat.server_says(msgs[2]);
        expect(&chat, 3);
        chat.type_in("\r");
        assert_eq!(chat.read_frame(), typed);
    }
}

#[test]
fn tabs_and_wide_characters_at_the_end_of_a_row_do_not_cost_a_message() {
    for typed in ["日".repeat(100), format!("{}\tx\ty", "x".repeat(66)), "é\t".repeat(40)] {
        let mut chat = Chat::with_env(24, &[("NO_COLOR", "1")]);
        chat.server_says("a: before");
        chat.wait_for("a: before\n>");
        chat.type_in(&format!("\x1b[200~{typed}\x1b[201~"));
        let mut above = "a: before\n".to_owned();
        for msg in ["a: one", "a: two", "a: three"] {
            chat.server_says(msg);
            above = format!("{above}{msg}\n");
            chat.wait_for(&format!("{above}> "));
        }
        chat.type_in("\r");
        assert_eq!(chat.read_frame(), typed);
    }
}

#[test]
fn senders_have_colours_unless_the_user_has_none() {
    for (env, has_colour) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let chat = Chat::with_env(24, env);
        chat.server_says("127.0.0.1:50312: hello");
        chat.server_says("server: be nice");
        chat.wait_for("127.0.0.1:50312: hello\nserver: be nice\n>");
        let terminal = chat.terminal.0.lock().unwrap();
        let cell = |row, col| terminal.parser.screen().cell(row, col).unwrap();
        assert_eq!(cell(1, 0).fgcolor() != vt100::Color::Default, has_colour);
        assert_eq!(cell(1, 17).fgcolor(), vt100::Color::Default);
        assert_eq!(cell(2, 0).bold(), has_colour);
        assert!(!cell(3, 0).bold());
    }
}

#[test]
fn control_characters_are_escaped() {
    let chat = Chat::start();
    chat.server_says("a: \x1b[2J\x07gone");
    chat.wait_for("a: \\u{1b}[2J\\u{7}gone\n>");
}

/// The real client on a pseudo-terminal, and the connection that it has made to the test.
struct Chat {
    child: Child,
    sock: TcpStream,
    keyboard: File,
    terminal: Arc<(Mutex<Terminal>, Condvar)>,
    stderr: Receiver<String>,
    /// The client's end, and the mode that it had at first.
    tty: File,
    mode: Termios,
}

impl Chat {
    fn start() -> Chat {
        Chat::with_env(24, &[])
    }

    fn with_env(rows: u16, env: &[(&str, &str)]) -> Chat {
        let chat = Chat::open(rows, env);
        // Before that, the terminal would echo what is typed.
        chat.wait_for_last_line(">");
        chat
    }

    /// The same, before there is a prompt.
    fn open(rows: u16, env: &[(&str, &str)]) -> Chat {
        Chat::run(rows, env, Command::new(PROGRAM).arg("--port"))
    }

    /// The same with a command that still wants the port.
    fn run(rows: u16, env: &[(&str, &str)], command: &mut Command) -> Chat {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let path = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let tty = File::options().read(true).write(true).open(path).unwrap();
        let size = Winsize { ws_row: rows, ws_col: COLS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&tty, size).unwrap();
        let mode = tcgetattr(&tty).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut child = command
            .arg(&port)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(env.iter().copied())
            .stdin(tty.try_clone().unwrap())
            .stdout(tty.try_clone().unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, socks) = mpsc::channel();
        thread::spawn(move || sender.send(listener.accept().unwrap().0));
        let sock = socks.recv_timeout(DEADLINE).expect("no client came");
        sock.set_read_timeout(Some(DEADLINE)).unwrap();
        let keyboard = File::from(pty);
        let terminal = watch(keyboard.try_clone().unwrap(), rows);
        let stderr = lines(child.stderr.take().unwrap());
        Chat { child, sock, keyboard, terminal, stderr, tty, mode }
    }

    /// As a terminal does that has another width.
    fn tell_cols(&self, cols: u16) {
        let size = tcgetwinsize(&self.tty).unwrap();
        tcsetwinsize(&self.tty, Winsize { ws_col: cols, ..size }).unwrap();
        self.signal(Signal::WINCH);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn server_says(&self, msg: &str) {
        (&self.sock).write_all(format!("{msg}\0").as_bytes()).unwrap();
    }

    fn read_frame(&self) -> String {
        let mut frame = Vec::new();
        let mut byte = [0];
        loop {
            (&self.sock).read_exact(&mut byte).expect("no message came");
            match byte {
                [0] => return String::from_utf8(frame).unwrap(),
                [byte] => frame.push(byte),
            }
        }
    }

    fn count(&self, bytes: &str) -> usize {
        self.terminal.0.lock().unwrap().count(bytes)
    }

    fn screen(&self) -> String {
        self.terminal.0.lock().unwrap().contents()
    }

    fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    fn wait_for_last_line(&self, line: &str) {
        self.wait_until(line, |screen| screen.lines().last() == Some(line));
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        drop(self.wait_until_terminal(what, |terminal| is_so(&terminal.contents())));
    }

    /// Waits for these bytes after so many others, and gives the place after them.
    fn wait_for_output_after(&self, at: usize, bytes: &str) -> usize {
        let find = |terminal: &Terminal| {
            let mut windows = terminal.bytes[at..].windows(bytes.len());
            windows.position(|window| window == bytes.as_bytes())
        };
        let terminal = self.wait_until_terminal(bytes, |terminal| find(terminal).is_some());
        at + find(&terminal).unwrap() + bytes.len()
    }

    fn wait_until_terminal(
        &self,
        what: &str,
        is_so: impl Fn(&Terminal) -> bool,
    ) -> MutexGuard<'_, Terminal> {
        let (terminal, changed) = &*self.terminal;
        let terminal = terminal.lock().unwrap();
        let not_yet = |terminal: &mut Terminal| !is_so(terminal);
        let (terminal, waited) = changed.wait_timeout_while(terminal, DEADLINE, not_yet).unwrap();
        assert!(!waited.timed_out(), "no {what:?} on the screen:\n{}", terminal.contents());
        terminal
    }

    fn expect_closed(&mut self) {
        let (code, stderr) = self.end();
        assert_eq!(code, Some(1));
        let is_said = |line: &str| line.starts_with("Error: Connection to server closed");
        assert!(matches!(&stderr[..], [line] if is_said(line)), "{stderr:?}");
    }

    /// Waits for the client to end, checks that it leaves the terminal as it was, and gives its exit
    /// code and what it has written to stderr.
    fn end(&mut self) -> (Option<i32>, Vec<String>) {
        let mut stderr = Vec::new();
        loop {
            match self.stderr.recv_timeout(DEADLINE) {
                Ok(line) => stderr.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(err) => panic!("the client does not end: {err}; {}", self.screen()),
            }
        }
        let code = self.child.wait().unwrap().code();
        let mode = tcgetattr(&self.tty).unwrap();
        assert_eq!(mode.local_modes, self.mode.local_modes);
        assert_eq!(mode.input_modes, self.mode.input_modes);
        assert_eq!(mode.output_modes, self.mode.output_modes);
        // What it wrote last is at the end of what the terminal has got.
        self.tty.write_all(b"$ ").unwrap();
        self.wait_for_last_line("$");
        assert!(!self.terminal.0.lock().unwrap().parser.screen().bracketed_paste());
        (code, stderr)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal has got, and the screen that this has made.
struct Terminal {
    bytes: Vec<u8>,
    parser: vt100::Parser,
}

impl Terminal {
    fn new(rows: u16) -> Terminal {
        let parser = vt100::Parser::new(rows.try_into().unwrap(), COLS.try_into().unwrap(), 0);
        Terminal { bytes: Vec::new(), parser }
    }

    fn process(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.parser.process(bytes);
    }

    /// How often these bytes have come.
    fn count(&self, bytes: &str) -> usize {
        self.bytes.windows(bytes.len()).filter(|window| window == &bytes.as_bytes()).count()
    }

    /// Makes the screen wider or narrower, as terminals do that `join` the rows of a line which they
    /// have broken, and break it anew, and as others do, which leave or cut the rows.
    fn set_cols(&mut self, cols: u16, joins: bool) {
        let screen = self.parser.screen();
        let (row_count, old_cols) = screen.size();
        if !joins {
            self.parser.screen_mut().set_size(row_count, cols.try_into().unwrap());
            return;
        }
        let (cursor_row, cursor_col) = screen.cursor_position();
        let mut parser = vt100::Parser::new(row_count, cols.try_into().unwrap(), 0);
        let mut line = String::new();
        let mut cursor = (0, 0);
        for (row, text) in (0..=cursor_row).zip(screen.rows(0, old_cols.get())) {
            let col = u16::try_from(line.len()).unwrap();
            line += text.trim_end();
            if row == cursor_row {
                let (top, _) = parser.screen().cursor_position();
                let col = col + cursor_col;
                cursor = (top + col / cols, col % cols);
            }
            if row == cursor_row || !screen.row_wrapped(row) {
                parser.process(line.as_bytes());
                parser.process(b"\r\n");
                line.clear();
            }
        }
        let (row, col) = cursor;
        parser.process(format!("\x1b[{};{}H", row + 1, col + 1).as_bytes());
        self.parser = parser;
    }

    /// The screen's lines, without the blanks at their ends.
    fn contents(&self) -> String {
        let rows = self.parser.screen().rows(0, u16::MAX);
        rows.map(|row| row.trim_end().to_owned() + "\n").collect::<String>().trim_end().to_owned()
    }
}

/// Feeds what is written to a pseudo-terminal to a screen.
fn watch(mut output: File, rows: u16) -> Arc<(Mutex<Terminal>, Condvar)> {
    let watched = Arc::new((Mutex::new(Terminal::new(rows)), Condvar::new()));
    let feeder = Arc::clone(&watched);
    thread::spawn(move || {
        let mut buf = [0; 4096];
        // Ends with an error when the test has closed its end.
        while let Ok(n @ 1..) = output.read(&mut buf) {
            feeder.0.lock().unwrap().process(&buf[..n]);
            feeder.1.notify_all();
        }
    });
    watched
}

/// The text as a screen shows it: in lines of its width.
fn on_screen(text: &str) -> String {
    let mut terminal = Terminal::new(24);
    terminal.process(text.replace('\n', "\r\n").as_bytes());
    terminal.contents()
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    lines
}
