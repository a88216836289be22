//! A long calculation is left in the middle, often enough. Alone in its file, so that nothing of this
//! crate runs beside it.
#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use calc::{Mode, SLICE, calculate};

/// Calculates, and gives the result and the longest time that it went on without being left.
fn longest_slice(mode: Mode, list: &str) -> (String, Duration) {
    let mut calculation = pin!(calculate(mode, list));
    let mut longest = Duration::ZERO;
    loop {
        let began = Instant::now();
        let state = calculation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        longest = longest.max(began.elapsed());
        if let Poll::Ready(result) = state {
            return (result.unwrap(), longest);
        }
    }
}

/// The longest lines, each of another kind. Other programs run on this machine, too, so the shortest
/// of several trials counts, and the bound is generous; in one go, each takes longer than that.
#[test]
fn no_step_of_the_longest_lines_is_long() {
    let sevens = |n: usize| "7".repeat(n);
    for (mode, list) in [
        (Mode::Sum, sevens(65_536)),
        (Mode::Product, format!("{0},{0}", sevens(32_767))),
        (Mode::Product, vec!["9"; 32_768].join(",")),
        (Mode::Product, vec!["9".repeat(32); 1_985].join(",")),
        (Mode::Product, format!("{},{}", sevens(32_767), vec!["9"; 16_384].join(","))),
    ] {
        let trial = |_| longest_slice(mode, &list).1;
        let longest = (0..5).map(trial).min().unwrap();
        let kind = format!("{mode} of {list:.9}…");
        println!("{longest:?} {kind}");
        assert!(longest < 10 * SLICE, "{longest:?} without being left, in {kind}");
    }
}

#[test]
fn the_longest_number_comes_out_as_it_went_in() {
    let number = "1234567".repeat(9_000);
    assert_eq!(longest_slice(Mode::Sum, &number).0, number);
}
