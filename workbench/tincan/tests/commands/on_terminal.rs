//! `tincan` in a terminal of its own, whose screen a test reads and at whose keyboard it types.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::harness::{marked, wait_until};

/// How long anything may take before a test fails, including a first build of the stages.
const DEADLINE: Duration = Duration::from_mins(3);

/// A variable in the environment of every process that `tincan` starts.
const MARK: &str = "TINCAN_TERMINAL_TEST";

pub struct OnTerminal {
    child: Child,
    tty: File,
    mark: String,
    keyboard: File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl OnTerminal {
    /// Starts `tincan` with these arguments in a folder, on a terminal with this many rows and columns.
    pub fn start(folder: &Path, (rows, columns): (u16, u16), args: &[&str]) -> Self {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let path = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let tty = File::options().read(true).write(true).open(path).unwrap();
        tcsetwinsize(&tty, size(rows, columns)).unwrap();
        let mark = format!("{:x}", fastrand::u128(..));
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_tincan")])
            .args(args)
            .current_dir(folder)
            .env("TERM", "xterm")
            .env(MARK, &mark)
            .stdin(tty.try_clone().unwrap())
            .stdout(tty.try_clone().unwrap())
            .stderr(tty.try_clone().unwrap())
            .spawn()
            .unwrap();
        let keyboard = File::from(pty);
        let screen = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
        let screen = Arc::new((Mutex::new(screen), Condvar::new()));
        let (mut output, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        // The thread ends with the test, because the test also holds the other end of the terminal.
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buf) {
                shown.0.lock().unwrap().process(&buf[..n]);
                shown.1.notify_all();
            }
        });
        Self { child, tty, mark, keyboard, screen }
    }

    /// Changes the size of the terminal.
    pub fn set_size(&self, rows: u16, columns: u16) {
        let mut screen = self.screen.0.lock().unwrap();
        screen.screen_mut().set_size(rows.try_into().unwrap(), columns.try_into().unwrap());
        tcsetwinsize(&self.tty, size(rows, columns)).unwrap();
    }

    /// Waits until the screen fulfils a condition, and returns its contents.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let shown = |parser: &vt100::Parser| parser.screen().contents();
        let parser = self.screen.0.lock().unwrap();
        let (parser, _) = self
            .screen
            .1
            .wait_timeout_while(parser, DEADLINE, |parser| !wanted(&shown(parser)))
            .unwrap();
        let screen = shown(&parser);
        assert!(wanted(&screen), "no {what} in\n{screen}");
        screen
    }

    /// Waits until the screen contains a text, and returns its contents.
    pub fn wait_for_text(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end of the program, and returns its exit code. No process may be left running, and the mode of
    /// the terminal must be restored.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        wait_until(|| self.child.try_wait().unwrap().is_some());
        wait_until(|| marked(&self.mark).is_empty());
        let mode = tcgetattr(&self.tty).unwrap();
        assert!(mode.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        self.child.wait().unwrap().code()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // With SIGTERM, the server is ended, too.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
