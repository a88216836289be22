//! Tests the output of `tincan diff` in a terminal: a layout that fits, colour, and a pager for long
//! output.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{stage, text, tincan, within_time};

const COLUMNS: u16 = 80;

#[test]
fn a_wide_terminal_gets_both_sides_and_a_narrow_one_gets_lines() {
    let shown = |columns, args: &[&str]| {
        let args = [&["echo-uni", "echo-multi", "--no-pager"], args].concat();
        bare(&on_terminal(columns, 50, &args, &[]))
    };
    for columns in [160, 200] {
        let layout = ["echo-uni", "echo-multi", "-y", "--width", &columns.to_string()];
        assert_eq!(shown(columns, &[]), trimmed(&text(&layout)));
    }
    let unified = trimmed(&text(&["echo-uni", "echo-multi"]));
    assert_eq!(shown(159, &[]), unified);
    assert_eq!(shown(200, &["-u"]), unified);
}

#[test]
fn no_line_is_wider_than_a_narrow_terminal() {
    for columns in [80, 60] {
        for pair in [["echo-multi", "chat-threads"], ["chat-poll", "chat-async"]] {
            let shown =
                bare(&on_terminal(columns, 50, &[&pair[..], &["--no-pager"]].concat(), &[]));
            let widest = shown.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(columns), "{widest} columns in\n{shown}");
            // Every word is shown, and the words are in the right order.
            let words = |text: &str| text.split_whitespace().collect::<String>();
            let unified = text(&[&pair[..], &["-u"]].concat());
            let code = |text: &str| {
                let lines = text.lines().filter(|line| !line.starts_with("@@"));
                words(&lines.collect::<Vec<_>>().join("\n"))
            };
            assert_eq!(code(&shown), code(&unified));
        }
    }
}

#[test]
fn a_terminal_gets_colour_unless_it_is_turned_off() {
    let has_colour = |vars: &[(&str, &str)], args: &[&str]| {
        let args = [&["echo-uni", "echo-multi", "--no-pager"], args].concat();
        on_terminal(COLUMNS, 50, &args, vars).contains('\x1b')
    };
    assert!(has_colour(&[], &[]));
    assert!(!has_colour(&[("NO_COLOR", "1")], &[]));
    assert!(!has_colour(&[], &["--color", "never"]));
}

#[test]
fn control_characters_of_a_file_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "\x1b]0;title\x07\n").unwrap();
    for layout in ["-u", "-y"] {
        let args = ["echo-uni", file.to_str().unwrap(), layout, "--no-pager", "--color", "never"];
        let shown = on_terminal(COLUMNS, 50, &args, &[]);
        assert!(shown.contains(r"\u{1b}]0;title\u{7}"), "{shown}");
    }
}

#[test]
fn output_longer_than_the_screen_goes_through_the_pager() {
    let folder = tempfile::tempdir().unwrap();
    let got = folder.path().join("got");
    let pager = format!("sh -c 'echo \"$LESS\"; cat >\"$1\"; exit 3' pager '{}'", got.display());
    let args = ["chat-threads", "chat-poll", "-u", "--color", "never"];
    let vars = [("PAGER", pager.as_str())];
    assert_eq!(trimmed(&on_terminal(COLUMNS, 24, &args, &vars)), "FRX");
    let fed = fs::read_to_string(&got).unwrap();
    assert_eq!(super::patched(&stage("chat-threads"), &fed), stage("chat-poll"));

    fs::remove_file(&got).unwrap();
    let all = trimmed(&text(&args));
    let no_pager = [&args[..], &["--no-pager"]].concat();
    assert_eq!(trimmed(&on_terminal(COLUMNS, 24, &no_pager, &vars)), all);
    assert_eq!(trimmed(&on_terminal(COLUMNS, 2000, &args, &vars)), all); // it fits
    assert!(!got.exists());
}

#[test]
fn without_a_pager_the_text_is_printed() {
    let args = ["chat-threads", "chat-poll", "-u", "--color", "never"];
    for pager in ["", "/there/is/no/such/pager -x"] {
        let shown = on_terminal(COLUMNS, 24, &args, &[("PAGER", pager)]);
        assert_eq!(trimmed(&shown), trimmed(&text(&args)));
    }
}

#[test]
fn a_pager_that_ends_early_is_not_an_error() {
    on_terminal(COLUMNS, 24, &["chat-threads", "chat-poll"], &[("PAGER", "true")]);
}

/// Returns the output of `tincan diff` in a terminal of this size. The exit code must be 0.
fn on_terminal(columns: u16, rows: u16, args: &[&str], vars: &[(&str, &str)]) -> String {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let screen = openpt(flags).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&screen, size).unwrap();
    let terminal = ioctl_tiocgptpeer(&screen, flags).unwrap();
    let mut command = tincan(args);
    command.envs(vars.iter().copied()).env("TERM", "xterm-256color");
    let mut child = command.stdout(terminal).stderr(Stdio::inherit()).spawn().unwrap();
    drop(command); // and with it the last open end except for the child's
    within_time(move || {
        let mut shown = Vec::new();
        // On Linux, reading fails once all processes have closed the other end of the terminal.
        let _ = File::from(screen).read_to_end(&mut shown);
        assert!(child.wait().unwrap().success());
        String::from_utf8(shown).unwrap()
    })
}

fn bare(shown: &str) -> String {
    trimmed(&anstream::adapter::strip_str(shown).to_string())
}

fn trimmed(shown: &str) -> String {
    shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
