//! What the two demonstrations print: which function runs, and when.
#![allow(clippy::unwrap_used)]

use probe::server::Launch;

fn run(args: &[&str]) -> String {
    let ended = Launch::new(env!("CARGO_BIN_EXE_generators"), &[]).args(args).run_to_end().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended}");
    ended.stdout.join("\n")
}

#[test]
fn it_prints_who_runs_when() {
    let printed = run(&[]);
    assert_eq!(printed.trim(), EXPECTED.trim(), "{printed}");
}

#[test]
fn it_helps() {
    assert!(run(&["--help"]).contains("Examples"));
    assert!(
        run(&["--version"]).starts_with("calc ") || run(&["--version"]).starts_with("generators")
    );
}

const EXPECTED: &str = "
A function that yields numbers: a generator
main: has called doubles, and nothing in it has run yet
main: polls doubles
  doubles: i is 0; yields 0 and stops
main: receives 0
main: polls doubles
  doubles: continues; i is still 0
  doubles: i is 1; yields 2 and stops
main: receives 2
main: polls doubles
  doubles: continues; i is still 1
  doubles: i is 2; yields 4 and stops
main: receives 4
main: polls doubles
  doubles: continues; i is still 2
  doubles: ends
main: doubles has ended, so there are no more numbers

A function that receives numbers: a coroutine, which calls another one
main: passes 0, and polls process
    read_number: finds 0, and returns it
  process: has received 0
    read_number: finds no number, and stops
main: runs again, since both functions have stopped
main: passes 1, and polls process
    read_number: continues
    read_number: finds 1, and returns it
  process: has received 1
    read_number: finds no number, and stops
main: runs again, since both functions have stopped
main: passes 2, and polls process
    read_number: continues
    read_number: finds 2, and returns it
  process: has received 2
    read_number: finds no number, and stops
main: runs again, since both functions have stopped
main: drops process, which has stopped in the middle
  process: its variables are dropped
main: ends
";
