//! A long calculation is left in the middle, often enough.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use calc::{Mode, calculate};
use rustix::time::{ClockId, clock_gettime};

/// What a calculation gave, and the processor time that it took: in all, and for the longest part
/// without being left.
struct Took {
    result: String,
    all: Duration,
    longest: Duration,
}

/// Processor time of this thread: what others run meanwhile does not count.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

fn took(mode: Mode, list: &str) -> Took {
    let mut calculation = pin!(calculate(mode, list));
    let (mut all, mut longest) = (Duration::ZERO, Duration::ZERO);
    loop {
        let began = now();
        let state = calculation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let slice = now().saturating_sub(began);
        all += slice;
        longest = longest.max(slice);
        if let Poll::Ready(result) = state {
            return Took { result: result.unwrap(), all, longest };
        }
    }
}

/// The longest lines, each of another kind: none of them has a part that is most of it. In one go, each
/// would be a single part.
#[test]
fn no_part_of_the_longest_lines_is_most_of_it() {
    let sevens = |n: usize| "7".repeat(n);
    for (mode, list) in [
        (Mode::Sum, sevens(65_536)),
        (Mode::Product, format!("{0},{0}", sevens(32_767))),
        (Mode::Product, vec!["9"; 32_768].join(",")),
        (Mode::Product, vec!["9".repeat(32); 1_985].join(",")),
        (Mode::Product, format!("{},{}", sevens(32_767), vec!["9"; 16_384].join(","))),
    ] {
        let Took { all, longest, .. } = took(mode, &list);
        println!("{longest:?} of {all:?}: {mode} of {list:.9}…");
        assert!(
            longest < all / 3,
            "{longest:?} of {all:?} without being left, {mode} of {list:.9}…"
        );
    }
}

#[test]
fn the_longest_number_comes_out_as_it_went_in() {
    let number = "1234567".repeat(9_000);
    assert_eq!(took(Mode::Sum, &number).result, number);
}
