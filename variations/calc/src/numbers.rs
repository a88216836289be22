//! A list of integers, added up or multiplied, in slices.
//!
//! A line of 64 KiB can keep a processor busy for a while: that many digits are quadratic work to
//! convert from decimal to binary and back, and 32,768 numbers multiplied one after the other make
//! a long number ever longer. In a thread that all clients share, nobody else would be served
//! meanwhile. So the work is cut into steps, of which none is long, and between two of them
//! [`Pace::keep`] lets others go first.
//!
//! | work | steps |
//! |---|---|
//! | the numbers of the list | one by one, as they are read |
//! | a number with many digits | 4,096 digits at a time, in both directions |
//! | the sum | one addition for each number |
//! | the product | of neighbours, of neighbours of these, …: factors are of a like length |

use std::fmt;
use std::iter;
use std::sync::LazyLock;

use num_bigint::{BigInt, BigUint, Sign};
use tincanchat::span;

use crate::Pace;

/// How many decimal digits are converted in one step.
const PIECE: usize = 4096;

/// `PIECE` digits more: 10 to the power of that.
static SHIFT: LazyLock<BigUint> = LazyLock::new(|| iter::repeat_n(10_u8, PIECE).product());

/// What is done with the numbers of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are added up.
    Sum,
    /// They are multiplied.
    Product,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Mode::Sum { "Sum" } else { "Product" })
    }
}

/// Something in a list is not an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of integers")]
pub struct NotIntegers;

/// Adds up or multiplies the integers of a list, such as `5,-9,10`; gives the result in decimal.
///
/// # Errors
///
/// [`NotIntegers`], if Python's `int()` would not take one of its items.
pub async fn calculate(mode: Mode, list: &str) -> Result<String, NotIntegers> {
    let _span = span("calculate").of_bytes(list.len());
    let mut pace = Pace::start();
    let mut sum = BigInt::ZERO;
    let mut products = Products::default();
    for item in list.split(',') {
        let number = integer(item, &mut pace).await?;
        match mode {
            Mode::Sum => sum += number,
            Mode::Product => products.push(number, &mut pace).await,
        }
        pace.keep().await;
    }
    let result = match mode {
        Mode::Sum => sum,
        Mode::Product => products.into_one(&mut pace).await,
    };
    Ok(decimal(result, &mut pace).await)
}

/// Reads an integer as Python's `int()` does: white space around it, a sign, `_` between two
/// digits, and the digits of all scripts.
async fn integer(text: &str, pace: &mut Pace) -> Result<BigInt, NotIntegers> {
    let text = text.trim();
    let (sign, text) = match text.strip_prefix(['+', '-']) {
        Some(rest) if text.starts_with('-') => (Sign::Minus, rest),
        Some(rest) => (Sign::Plus, rest),
        None => (Sign::Plus, text),
    };
    let mut digits = Vec::with_capacity(text.len());
    let mut after_digit = false;
    for c in text.chars() {
        match digit(c) {
            Some(value) => digits.push(value),
            None if c == '_' && after_digit => {}
            None => return Err(NotIntegers),
        }
        after_digit = c != '_';
    }
    if !after_digit {
        return Err(NotIntegers);
    }
    // From the left, so that the piece that is not whole is the first.
    let mut number = BigUint::ZERO;
    for piece in digits.rchunks(PIECE).rev() {
        let piece = BigUint::from_radix_be(piece, 10).ok_or(NotIntegers)?;
        number = if number == BigUint::ZERO { piece } else { number * &*SHIFT + piece };
        pace.keep().await;
    }
    Ok(BigInt::from_biguint(sign, number))
}

/// Products of neighbours: a stack, in which each entry is made of twice as many numbers as the one
/// on top of it, or more.
///
/// They are the ones of a binary counter: a number is a one at its end, and two ones in the same
/// place are multiplied and carried. So there is never more in memory than the line itself.
#[derive(Default)]
struct Products {
    stack: Vec<BigInt>,
    count: usize,
}

impl Products {
    async fn push(&mut self, number: BigInt, pace: &mut Pace) {
        self.stack.push(number);
        for _ in 0..self.count.trailing_ones() {
            self.multiply_last_two();
            pace.keep().await;
        }
        self.count += 1;
    }

    fn multiply_last_two(&mut self) {
        if let (Some(last), Some(one_before)) = (self.stack.pop(), self.stack.pop()) {
            self.stack.push(one_before * last);
        }
    }

    async fn into_one(mut self, pace: &mut Pace) -> BigInt {
        while self.stack.len() > 1 {
            self.multiply_last_two();
            pace.keep().await;
        }
        self.stack.pop().unwrap_or_default()
    }
}

/// Writes a number in decimal.
async fn decimal(number: BigInt, pace: &mut Pace) -> String {
    let (sign, mut number) = number.into_parts();
    let mut pieces = Vec::new(); // the last digits first
    while number >= *SHIFT {
        let higher = &number / &*SHIFT;
        pieces.push(format!("{:0PIECE$}", number - &higher * &*SHIFT));
        number = higher;
        pace.keep().await;
    }
    pieces.push(number.to_string());
    let sign = if sign == Sign::Minus { "-" } else { "" };
    iter::once(sign).chain(pieces.iter().rev().map(String::as_str)).collect()
}

/// The value of a decimal digit in any script.
fn digit(c: char) -> Option<u8> {
    let code = u32::from(c);
    let zero = match c {
        '0'..='9' => u32::from('0'),
        _ => *ZEROS[..ZEROS.partition_point(|zero| *zero <= code)].last()?,
    };
    u8::try_from(code - zero).ok().filter(|value| *value < 10)
}

/// The zeros of all other scripts, each followed by its one to nine (Unicode 14, category Nd).
#[rustfmt::skip]
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0,
    0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0,
    0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce,
    0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
