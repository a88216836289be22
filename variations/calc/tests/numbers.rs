//! Compares calculations with simpler code that does the same, and checks that lines may be cut anywhere.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use calc::{LineBuf, Mode, NotIntegers, calculate};
use num_bigint::BigInt;
use proptest::prelude::*;
use serverkit::telnet::Telnet;

/// Polls a future until it ends.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
    }
}

/// Parses an integer in ASCII as Python's `int()` does.
fn simple_int(text: &str) -> Option<BigInt> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let is_int = digits.split('_').all(is_digits);
    is_int.then(|| text.replace('_', "").parse().unwrap())
}

fn simple(mode: Mode, list: &str) -> Result<String, NotIntegers> {
    let numbers: Option<Vec<_>> = list.split(',').map(simple_int).collect();
    let numbers = numbers.ok_or(NotIntegers)?.into_iter();
    let result: BigInt = if mode == Mode::Sum { numbers.sum() } else { numbers.product() };
    Ok(result.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_of_the_characters_of_lists(list in "[0-9_,+ \t-]{0,24}") {
        for mode in [Mode::Sum, Mode::Product] {
            prop_assert_eq!(finish(calculate(mode, &list)), simple(mode, &list));
        }
    }

    #[test]
    fn any_text(list in any::<String>().prop_filter("digits of other scripts", |text| {
        !text.chars().any(|c| c.is_numeric() && !c.is_ascii())
    })) {
        for mode in [Mode::Sum, Mode::Product] {
            prop_assert_eq!(finish(calculate(mode, &list)), simple(mode, &list));
        }
    }

    #[test]
    fn lists_of_integers(list in proptest::collection::vec("[ ]{0,2}[+-]?[0-9]{1,40}(_[0-9]{1,4}){0,2} ?", 1..40)) {
        let list = list.join(",");
        for mode in [Mode::Sum, Mode::Product] {
            let result = simple(mode, &list);
            prop_assert!(result.is_ok());
            prop_assert_eq!(finish(calculate(mode, &list)), result);
        }
    }

    /// Tries numbers with about as many digits as one step converts, and with more.
    #[test]
    fn long_integers(lens in proptest::collection::vec(4_000_usize..9_000, 1..4), digit in 0_u8..=9) {
        let number = |len: &usize| digit.to_string().repeat(*len);
        let list = lens.iter().map(number).collect::<Vec<_>>().join(",-");
        for mode in [Mode::Sum, Mode::Product] {
            prop_assert_eq!(finish(calculate(mode, &list)), simple(mode, &list));
        }
    }

    #[test]
    fn lines_however_they_are_cut(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), 240_u8.., any::<u8>()], 0..60),
        cuts in proptest::collection::vec(1_usize..9, 60),
    ) {
        let mut lines = LineBuf::default();
        let mut taken = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            lines.read_from(&mut &*piece).unwrap();
            while let Some(line) = lines.take_line().unwrap() {
                taken.push(line);
            }
        }
        taken.extend(lines.take_unfinished());
        let mut text = Vec::new();
        Telnet::default().receive(&bytes, &mut text);
        let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let mut expected: Vec<_> = text.split(|byte| *byte == b'\n').map(line).collect();
        if text.last().is_none_or(|byte| *byte == b'\n') {
            expected.pop();
        }
        prop_assert_eq!(taken, expected);
    }
}

/// The values are those of Python's `unicodedata.decimal`.
#[test]
fn digits_of_other_scripts() {
    for (list, sum) in [
        ("\u{660},\u{669}", "9"),
        ("٣४", "34"),
        ("-１_２,\u{1d7ce},\u{1d7ff}", "-3"),
        ("\u{1fbf9}", "9"),
    ] {
        assert_eq!(finish(calculate(Mode::Sum, list)).as_deref(), Ok(sum), "{list}");
    }
    for list in ["\u{65f}", "\u{66a}", "²", "Ⅳ", "一", "\u{1fbfa}", "\u{10ffff}"] {
        assert_eq!(finish(calculate(Mode::Sum, list)), Err(NotIntegers), "{list}");
    }
}
