//! Who runs when, in both demonstrations.
#![allow(clippy::unwrap_used)]

use workbench::server::Launch;

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
A function that gives: a generator
main: has called it, and nothing has happened
main: asks for a number
  doubles: gives 0, and is left; i is 0
main: takes 0
main: asks for a number
  doubles: goes on; i is still 0
  doubles: gives 2, and is left; i is 1
main: takes 2
main: asks for a number
  doubles: goes on; i is still 1
  doubles: gives 4, and is left; i is 2
main: takes 4
main: asks for a number
  doubles: goes on; i is still 2
  doubles: ends
main: there is none: it has ended

A function that takes: a coroutine, and one that it calls
main: goes on with it, and gives 0
    read_number: finds 0, and returns it
  process: has got 0
    read_number: finds nothing, and is left
main: is back, as both have been left
main: goes on with it, and gives 1
    read_number: goes on
    read_number: finds 1, and returns it
  process: has got 1
    read_number: finds nothing, and is left
main: is back, as both have been left
main: goes on with it, and gives 2
    read_number: goes on
    read_number: finds 2, and returns it
  process: has got 2
    read_number: finds nothing, and is left
main: is back, as both have been left
main: drops it, in the middle
  process: its variables are dropped
main: ends
";
