//! Tests of `chat-client` on a terminal. The client gets a pseudo-terminal; a terminal emulator, `vt100`,
//! makes a screen from its output, and the tests look at that screen.
#![cfg(unix)]
// In a test, a panic reports what went wrong.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use probe::client_process::{STEP_TIMEOUT, expect_eof, read_lines, recv_msg, reset};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-client");

/// The initial size of the screen.
const ROWS: u16 = 40;
const COLS: u16 = 70;

/// Tells the terminal to mark pasted text. rustyline sends it when it starts to edit a line.
const BRACKETED_PASTE_ON: &str = "\x1b[?2004h";

/// How a terminal marks pasted text.
const PASTE_START: &str = "\x1b[200~";
const PASTE_END: &str = "\x1b[201~";

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

/// Between two lines, rustyline would print messages in any order and across the prompt, if the client
/// let it.
#[test]
fn messages_are_printed_in_order_and_above_the_prompt_while_many_lines_are_entered() {
    let mut chat = Chat::with_env(&[("NO_COLOR", "1")]);
    let mut sock = chat.sock.try_clone().unwrap();
    let (stop_talking, stop) = mpsc::channel::<()>();
    let talker = thread::spawn(move || {
        let mut count = 0;
        while stop.try_recv().is_err() {
            sock.write_all(format!("a: message {count}!\0").as_bytes()).unwrap();
            count += 1;
            thread::sleep(Duration::from_micros(20));
        }
        count
    });
    let mut at = 0;
    for n in 0..200 {
        // Without a prompt, the terminal itself would echo the keys.
        at = chat.wait_for_output_after(at, BRACKETED_PASTE_ON);
        at = chat.wait_for_output_after(at, "> ");
        chat.type_in(&format!("line {n}\r"));
        assert_eq!(chat.read_frame(), format!("line {n}"));
    }
    stop_talking.send(()).unwrap();
    let count = talker.join().unwrap();
    chat.wait_for_output_after(0, &format!("a: message {}!", count - 1));

    let bytes = chat.screen.lock().bytes.clone();
    let output = String::from_utf8(bytes).unwrap();
    let places: Vec<_> = output.match_indices("a: message ").map(|(at, _)| at).collect();
    assert_eq!(places.len(), count);
    for (n, &at) in places.iter().enumerate() {
        let (before, message) = output.split_at(at);
        assert!(
            message.starts_with(&format!("a: message {n}!")),
            "message {n} is missing: {message:.30}"
        );
        // The message begins a new row, or a row from which the prompt has just been erased.
        let begins_row = before.ends_with('\n') || before.ends_with("\r\x1b[K");
        assert!(begins_row, "message {n} is in the middle of a row");
    }
}

#[test]
fn keys_typed_ahead_are_not_lost() {
    let mut chat = Chat::start();
    chat.type_in("one\rtwo\rthree\rfo");
    for msg in ["one", "two", "three"] {
        assert_eq!(chat.read_frame(), msg);
    }
    chat.wait_for_last_line("> fo");
}

#[test]
fn pasted_text_is_sent_at_enter_one_message_for_each_line() {
    let mut chat = Chat::start();
    chat.type_in(&format!("{PASTE_START}one\r\rtwo{PASTE_END}"));
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
fn q_and_ctrl_d_and_ctrl_c_quit_after_the_typed_lines_are_sent() {
    for quit in ["q\r", CTRL_D, CTRL_C] {
        let mut chat = Chat::start();
        chat.type_in("hello\r");
        chat.wait_for("> hello\n>");
        chat.type_in(quit);
        assert_eq!(chat.read_frame(), "hello");
        expect_eof(&mut chat.sock, "the client must have shut down its sending side");
        let (code, stderr) = chat.end();
        assert_eq!((code, &stderr[..]), (Some(0), &[][..]), "{quit:?}");
    }
}

#[test]
fn messages_that_arrive_after_the_last_line_are_printed() {
    for quit in ["q\r", CTRL_D] {
        let mut chat = Chat::start();
        chat.type_in(quit);
        expect_eof(&mut chat.sock, "the client must have shut down its sending side");
        chat.server_says("server: bye");
        chat.wait_for("server: bye");
    }
}

#[test]
fn it_does_not_wait_long_for_a_server_that_never_closes() {
    let mut chat = Chat::start();
    let start = Instant::now();
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
    assert!(start.elapsed() < STEP_TIMEOUT / 2, "{:?}", start.elapsed());
}

#[test]
fn a_line_with_a_zero_byte_is_not_sent() {
    let mut chat = Chat::start();
    // Ctrl-V takes the next key literally; Ctrl-@ is the zero byte.
    chat.type_in("a\x16\0b\r");
    let report = chat.stderr.recv_timeout(STEP_TIMEOUT);
    assert_eq!(report.as_deref(), Ok("Not sent: the text contains a zero byte, at byte 1"));
    chat.type_in("fine\r");
    assert_eq!(chat.read_frame(), "fine");
}

#[test]
fn the_terminal_is_restored_when_the_server_goes_away() {
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

/// During a search, rustyline waits only for keys, not for messages to print.
#[test]
fn the_terminal_is_restored_during_a_search_in_the_history_too() {
    let mut chat = Chat::start();
    chat.type_in("hello\r");
    chat.wait_for("> hello\n>");
    chat.type_in(CTRL_R);
    chat.wait_for("(reverse-i-search)");
    chat.sock.shutdown(Shutdown::Both).unwrap();
    chat.expect_closed();
}

#[test]
fn a_signal_that_ends_it_restores_the_terminal() {
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT, Signal::INT] {
        for (keys, shown) in [("", ">"), ("in the middle", "> in the middle"), (CTRL_R, "search")] {
            if signal == Signal::INT && keys == CTRL_R {
                continue; // during a search, rustyline may handle SIGINT only at the next key
            }
            let mut chat = Chat::start();
            chat.type_in("hello\r");
            chat.wait_for("> hello\n>");
            chat.type_in(keys);
            chat.wait_for(shown);
            chat.signal(signal);
            let (code, stderr) = chat.end();
            // At SIGINT it quits, as at Ctrl-C; the other signals end it, so it has no exit code.
            let expected = (signal == Signal::INT).then_some(0);
            assert_eq!((code, &stderr[..]), (expected, &[][..]), "{signal:?} after {keys:?}");
        }
    }
}

/// In the background the client may not change the terminal: the system would stop it again.
#[test]
#[cfg(target_os = "linux")] // Other systems have no setsid(1), or one without --ctty.
fn a_signal_ends_it_in_the_background_too() {
    // With -m, a shell has job control even when it runs a script. It goes on with the script when the
    // client has stopped. The last command keeps the shell from exiting, which would end the client anyway.
    let script = r#""$0" --port "$1"; kill %1; kill -CONT %1; read -r enter"#;
    let mut shell = Command::new("setsid");
    shell.args(["--ctty", "--wait", "sh", "-m", "-c", script, PROGRAM]);
    let mut chat = Chat::run(&[], &mut shell);
    chat.wait_for_last_line(">");
    chat.type_in("half a li");
    chat.wait_for_last_line("> half a li");
    chat.type_in(CTRL_Z);
    expect_eof(&mut chat.sock, "the client must have shut down its sending side");
    chat.type_in("\r");
    assert_eq!(chat.end().0, Some(0));
}

/// While the client is stopped, a shell restores the terminal's mode for itself. The test does the same.
#[test]
fn it_goes_on_after_a_stop_that_it_has_not_noticed() {
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
    assert!(chat.screen.lock().parser.screen().bracketed_paste());
    chat.type_in("ne\r");
    assert_eq!(chat.read_frame(), "half a line");
}

#[test]
fn bytes_that_are_not_utf_8_are_not_sent_and_the_client_goes_on() {
    let mut chat = Chat::start();
    for (bytes, text) in [(&b"caf\xe9\r"[..], "café"), (b"\xff", "thé")] {
        let prompts = chat.count(BRACKETED_PASTE_ON);
        chat.keyboard.write_all(bytes).unwrap();
        let report = chat.stderr.recv_timeout(STEP_TIMEOUT);
        assert_eq!(report.as_deref(), Ok("Not sent: not valid UTF-8"), "{bytes:?}");
        // Without a prompt, the terminal itself would echo the keys.
        drop(chat.wait_until_terminal("a prompt", |terminal| {
            terminal.count(BRACKETED_PASTE_ON) > prompts && terminal.contents().ends_with("\n>")
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
fn a_reset_at_once_is_explained() {
    let mut chat = Chat::without_prompt(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    reset(std::mem::replace(&mut chat.sock, other));
    let (code, stderr) = chat.end();
    let message = "Error: Connection to server closed: the server has reset the connection";
    assert_eq!((code, &stderr[..]), (Some(1), &[message.to_owned()][..]));
}

/// A terminal that has broken a line into rows may or may not join the rows when it becomes wider. And the
/// client learns of the new size a moment later.
#[test]
fn no_message_is_lost_when_the_terminal_is_made_wider() {
    for joins in [true, false] {
        let mut chat = Chat::with_env(&[("NO_COLOR", "1")]);
        let typed = "0123456789".repeat(17);
        chat.type_in(&typed);
        let long = format!("a: {}", "x".repeat(180));
        let msgs = ["a: one", "a: two", &long, "a: four", "a: five", "a: six"];
        let expect = |chat: &Chat, count: usize| {
            let expected = format!("{}> {typed}", msgs[..count].concat());
            let is_there = |screen: &str| screen.replace('\n', "").ends_with(&expected);
            chat.wait_until(&format!("{count} messages, rows joined: {joins}"), is_there);
        };
        for msg in &msgs[..4] {
            chat.server_says(msg);
        }
        expect(&chat, 4);
        chat.screen.lock().set_cols(150, joins);
        chat.server_says(msgs[4]);
        expect(&chat, 5);
        chat.tell_cols(150);
        chat.server_says(msgs[5]);
        expect(&chat, 6);
        chat.type_in("\r");
        assert_eq!(chat.read_frame(), typed);
    }
}

/// More rows of the line being typed may stay on the screen than the line now has.
#[test]
fn no_message_is_lost_when_the_terminal_is_made_narrower() {
    for joins in [true, false] {
        let mut chat = Chat::with_env(&[("NO_COLOR", "1")]);
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
        chat.screen.lock().set_cols(50, joins);
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
fn no_message_is_lost_when_tabs_or_wide_characters_end_a_row() {
    for typed in ["日".repeat(100), format!("{}\tx\ty", "x".repeat(66)), "é\t".repeat(40)] {
        let mut chat = Chat::with_env(&[("NO_COLOR", "1")]);
        chat.server_says("a: before");
        chat.wait_for("a: before\n>");
        chat.type_in(&format!("{PASTE_START}{typed}{PASTE_END}"));
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
fn senders_have_colours_unless_no_color_is_set() {
    for (env, has_colour) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let chat = Chat::with_env(env);
        chat.server_says("127.0.0.1:50312: hello");
        chat.server_says("server: be nice");
        chat.wait_for("127.0.0.1:50312: hello\nserver: be nice\n>");
        let terminal = chat.screen.lock();
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

/// The client on a pseudo-terminal, and the test's end of its connection.
struct Chat {
    child: Child,
    sock: TcpStream,
    /// The terminal's end of the pseudo-terminal: bytes written to it are keys.
    keyboard: File,
    screen: Arc<Screen>,
    stderr: Receiver<String>,
    /// The client's end of the pseudo-terminal.
    tty: File,
    /// The mode before the client started.
    mode: Termios,
}

impl Chat {
    /// Starts the client, and waits for its prompt.
    fn start() -> Chat {
        Chat::with_env(&[])
    }

    /// Starts the client with these environment variables, and waits for its prompt.
    fn with_env(env: &[(&str, &str)]) -> Chat {
        let chat = Chat::without_prompt(env);
        // Without a prompt, the terminal itself would echo the keys.
        chat.wait_for_last_line(">");
        chat
    }

    /// Starts the client with these environment variables, and does not wait for its prompt.
    fn without_prompt(env: &[(&str, &str)]) -> Chat {
        Chat::run(env, Command::new(PROGRAM).arg("--port"))
    }

    /// Does the same with `command`, which starts the client when the port is appended to it.
    fn run(env: &[(&str, &str)], command: &mut Command) -> Chat {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let path = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let tty = File::options().read(true).write(true).open(path).unwrap();
        let size = Winsize { ws_row: ROWS, ws_col: COLS, ws_xpixel: 0, ws_ypixel: 0 };
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
        let sock = socks.recv_timeout(STEP_TIMEOUT).expect("no client came");
        sock.set_read_timeout(Some(STEP_TIMEOUT)).unwrap();
        let keyboard = File::from(pty);
        let screen = Screen::of(keyboard.try_clone().unwrap());
        let stderr = read_lines(child.stderr.take().unwrap());
        Chat { child, sock, keyboard, screen, stderr, tty, mode }
    }

    /// Tells the client that the terminal has a new width, as a terminal does.
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
        recv_msg(&self.sock)
    }

    fn count(&self, bytes: &str) -> usize {
        self.screen.lock().count(bytes)
    }

    fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    fn wait_for_last_line(&self, line: &str) {
        self.wait_until(line, |screen| screen.lines().last() == Some(line));
    }

    /// Waits until the screen meets a condition. `expected` describes it in the message of a failure.
    fn wait_until(&self, expected: &str, condition: impl Fn(&str) -> bool) {
        drop(self.wait_until_terminal(expected, |terminal| condition(&terminal.contents())));
    }

    /// Waits until the output has these bytes after its first `at` bytes, and returns the offset after
    /// them.
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
        expected: &str,
        condition: impl Fn(&Terminal) -> bool,
    ) -> MutexGuard<'_, Terminal> {
        let not_yet = |terminal: &mut Terminal| !condition(terminal);
        let waited =
            self.screen.changed.wait_timeout_while(self.screen.lock(), STEP_TIMEOUT, not_yet);
        let (terminal, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "no {expected:?} on the screen:\n{}", terminal.contents());
        terminal
    }

    fn expect_closed(&mut self) {
        let (code, stderr) = self.end();
        assert_eq!(code, Some(1));
        let is_expected = |line: &str| line.starts_with("Error: Connection to server closed");
        assert!(matches!(&stderr[..], [line] if is_expected(line)), "{stderr:?}");
    }

    /// Waits for the client to end, checks that the terminal is as it was, and returns the exit code and
    /// the lines on stderr.
    fn end(&mut self) -> (Option<i32>, Vec<String>) {
        let mut stderr = Vec::new();
        loop {
            match self.stderr.recv_timeout(STEP_TIMEOUT) {
                Ok(line) => stderr.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(err) => {
                    panic!("the client does not end: {err}; {}", self.screen.lock().contents())
                }
            }
        }
        let code = self.child.wait().unwrap().code();
        let mode = tcgetattr(&self.tty).unwrap();
        assert_eq!(mode.local_modes, self.mode.local_modes);
        assert_eq!(mode.input_modes, self.mode.input_modes);
        assert_eq!(mode.output_modes, self.mode.output_modes);
        // When the screen shows this, the terminal has processed all output of the client.
        self.tty.write_all(b"$ ").unwrap();
        self.wait_for_last_line("$");
        assert!(!self.screen.lock().parser.screen().bracketed_paste());
        (code, stderr)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A terminal emulator.
struct Terminal {
    /// All output so far.
    bytes: Vec<u8>,
    /// The screen that this output has made.
    parser: vt100::Parser,
}

impl Terminal {
    fn new() -> Terminal {
        let parser = vt100::Parser::new(ROWS.try_into().unwrap(), COLS.try_into().unwrap(), 0);
        Terminal { bytes: Vec::new(), parser }
    }

    fn process(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.parser.process(bytes);
    }

    /// Returns how many times these bytes occur in the output so far.
    fn count(&self, bytes: &str) -> usize {
        self.bytes.windows(bytes.len()).filter(|window| window == &bytes.as_bytes()).count()
    }

    /// Makes the screen wider or narrower. Some terminals then join the rows of a line that they have
    /// broken, and break the line again; others (`joins` is false) leave the rows as they are, or cut them.
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

    /// Returns the lines of the screen, without trailing blanks.
    fn contents(&self) -> String {
        let rows = self.parser.screen().rows(0, u16::MAX);
        rows.map(|row| row.trim_end().to_owned() + "\n").collect::<String>().trim_end().to_owned()
    }
}

/// A terminal emulator to which a thread passes the client's output.
struct Screen {
    terminal: Mutex<Terminal>,
    /// Signalled when the terminal has processed more output.
    changed: Condvar,
}

impl Screen {
    /// Starts a thread that passes the output to the emulator.
    fn of(mut output: File) -> Arc<Screen> {
        let terminal = Mutex::new(Terminal::new());
        let screen = Arc::new(Screen { terminal, changed: Condvar::new() });
        let fed_screen = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buf = [0; 4096];
            // The read fails when the test has closed the client's end.
            while let Ok(n @ 1..) = output.read(&mut buf) {
                fed_screen.lock().process(&buf[..n]);
                fed_screen.changed.notify_all();
            }
        });
        screen
    }

    fn lock(&self) -> MutexGuard<'_, Terminal> {
        self.terminal.lock().unwrap()
    }
}

/// Returns the text as a screen shows it, broken into rows.
fn on_screen(text: &str) -> String {
    let mut terminal = Terminal::new();
    terminal.process(text.replace('\n', "\r\n").as_bytes());
    terminal.contents()
}
