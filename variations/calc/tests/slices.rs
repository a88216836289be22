//! Checks that a long calculation stops often enough to let other tasks run.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use calc::{Mode, calculate};
use rustix::time::{ClockId, clock_gettime};

/// The result of a calculation, and the processor time that it has taken.
struct Calculation {
    result: String,
    total: Duration,
    /// The time of the longest poll.
    longest: Duration,
}

/// Returns the processor time of this thread. Time in which other programs run does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

fn run(mode: Mode, list: &str) -> Calculation {
    let mut calculation = pin!(calculate(mode, list));
    let mut total = Duration::ZERO;
    let mut longest = Duration::ZERO;
    loop {
        let start = processor_time();
        let state = calculation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let slice = processor_time().saturating_sub(start);
        total += slice;
        longest = longest.max(slice);
        if let Poll::Ready(result) = state {
            return Calculation { result: result.unwrap(), total, longest };
        }
    }
}

/// Checks the longest lines, each of a different kind: no poll takes more than a third of the calculation.
/// If the calculation did not stop, a single poll would take all of it.
#[test]
fn no_poll_takes_most_of_a_long_calculation() {
    let sevens = |n: usize| "7".repeat(n);
    for (mode, list) in [
        (Mode::Sum, sevens(65_536)),
        (Mode::Product, format!("{0},{0}", sevens(32_767))),
        (Mode::Product, vec!["9"; 32_768].join(",")),
        (Mode::Product, vec!["9".repeat(32); 1_985].join(",")),
        (Mode::Product, format!("{},{}", sevens(32_767), vec!["9"; 16_384].join(","))),
    ] {
        let Calculation { total, longest, .. } = run(mode, &list);
        let text = format!("the longest poll took {longest:?} of {total:?}: {mode} of {list:.9}…");
        println!("{text}");
        assert!(longest < total / 3, "{text}");
    }
}

#[test]
fn a_long_number_is_converted_to_binary_and_back_without_a_change() {
    let number = "1234567".repeat(9_000);
    assert_eq!(run(Mode::Sum, &number).result, number);
}
