//! A list of integers, added up or multiplied, in short steps.
//!
//! A line of 64 KiB can keep a processor busy for some time: converting that many digits between decimal
//! and binary takes quadratic time, and when 32,768 numbers are multiplied from left to right, the product
//! becomes longer with each of them. All clients share one thread, so no other client would be served
//! during that time. Therefore the work is divided into short steps, and between two steps
//! [`TimeSlice::yield_if_used_up`] lets the other tasks run.
//!
//! | work | one step |
//! |---|---|
//! | reading the list | one number |
//! | converting a number with many digits, in either direction | 4,096 digits |
//! | the sum | one addition |
//! | the product | one multiplication of two factors that are about equally long |

use std::fmt;
use std::iter;
use std::sync::LazyLock;

use num_bigint::{BigInt, BigUint, Sign};
use serverkit::asynchronous;

use crate::TimeSlice;

/// How many decimal digits are converted in one step.
const STEP_DIGITS: usize = 4096;

/// 10 to the power of [`STEP_DIGITS`]: multiplying a number by it appends that many zeros.
static STEP_FACTOR: LazyLock<BigUint> =
    LazyLock::new(|| iter::repeat_n(10_u8, STEP_DIGITS).product());

/// What to do with the numbers of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Add them up.
    Sum,
    /// Multiply them.
    Product,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Sum => f.write_str("Sum"),
            Mode::Product => f.write_str("Product"),
        }
    }
}

/// The error for a list that contains something other than integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of integers")]
pub struct NotIntegers;

/// Adds up or multiplies the integers of a list, such as `5,-9,10`, and returns the result in decimal.
///
/// # Errors
///
/// [`NotIntegers`] if Python's `int()` would reject one of the items.
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// use calc::{Mode, calculate};
///
/// let mut calculation = pin!(calculate(Mode::Product, "5,-9,10"));
/// let mut context = Context::from_waker(Waker::noop());
/// let result = calculation.as_mut().poll(&mut context);
/// assert_eq!(result, Poll::Ready(Ok("-450".to_owned())));
/// ```
pub async fn calculate(mode: Mode, list: &str) -> Result<String, NotIntegers> {
    asynchronous::trace("calculate", calculate_in_steps(mode, list)).await
}

async fn calculate_in_steps(mode: Mode, list: &str) -> Result<String, NotIntegers> {
    let mut slice = TimeSlice::start();
    let mut sum = BigInt::ZERO;
    let mut product = Product::default();
    for item in list.split(',') {
        let number = parse(item, &mut slice).await?;
        match mode {
            Mode::Sum => sum += number,
            Mode::Product => product.multiply_by(number, &mut slice).await,
        }
        slice.yield_if_used_up().await;
    }
    let result = match mode {
        Mode::Sum => sum,
        Mode::Product => product.finish(&mut slice).await,
    };
    Ok(in_decimal(result, &mut slice).await)
}

/// Parses an integer as Python's `int()` does. White space around it, a sign, a `_` between two digits, and
/// the digits of all scripts are allowed.
async fn parse(text: &str, slice: &mut TimeSlice) -> Result<BigInt, NotIntegers> {
    let text = text.trim();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (Sign::Minus, unsigned),
        None => (Sign::Plus, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut digits = Vec::with_capacity(unsigned.len());
    let mut follows_digit = false;
    for c in unsigned.chars() {
        match value_of_digit(c) {
            Some(value) => digits.push(value),
            None if c == '_' && follows_digit => {}
            None => return Err(NotIntegers),
        }
        follows_digit = c != '_';
    }
    if !follows_digit {
        return Err(NotIntegers); // no digit at all, or a `_` at the end
    }
    // The leftmost chunk comes first, and only this one may be short: `rchunks` cuts from the right.
    let mut number = BigUint::ZERO;
    for chunk in digits.rchunks(STEP_DIGITS).rev() {
        let chunk = BigUint::from_radix_be(chunk, 10).ok_or(NotIntegers)?;
        number = if number == BigUint::ZERO { chunk } else { number * &*STEP_FACTOR + chunk };
        slice.yield_if_used_up().await;
    }
    Ok(BigInt::from_biguint(sign, number))
}

/// A product of many numbers. It multiplies only factors that stand for equally many numbers: first pairs
/// of neighbours, then pairs of these products, and so on.
///
/// Multiplying two long factors takes less time than multiplying a long factor by many short ones. All
/// factors together are never longer than the list.
#[derive(Default)]
struct Product {
    /// Each factor stands for more numbers than the next one.
    factors: Vec<Factor>,
}

/// The product of `count` consecutive numbers of the list.
struct Factor {
    product: BigInt,
    count: usize,
}

impl Product {
    async fn multiply_by(&mut self, number: BigInt, slice: &mut TimeSlice) {
        let mut factor = Factor { product: number, count: 1 };
        while let Some(last) = self.factors.pop_if(|last| last.count == factor.count) {
            factor.product = last.product * factor.product;
            factor.count += last.count;
            slice.yield_if_used_up().await;
        }
        self.factors.push(factor);
    }

    /// Multiplies the remaining factors, the shortest first.
    async fn finish(mut self, slice: &mut TimeSlice) -> BigInt {
        let mut product = BigInt::from(1);
        while let Some(factor) = self.factors.pop() {
            product = factor.product * product;
            slice.yield_if_used_up().await;
        }
        product
    }
}

/// Returns a number in decimal.
async fn in_decimal(number: BigInt, slice: &mut TimeSlice) -> String {
    let (sign, mut number) = number.into_parts();
    let mut chunks = Vec::new(); // the chunk with the last digits is the first
    while number >= *STEP_FACTOR {
        let higher = &number / &*STEP_FACTOR;
        let lower = number - &higher * &*STEP_FACTOR;
        chunks.push(format!("{lower:0STEP_DIGITS$}"));
        number = higher;
        slice.yield_if_used_up().await;
    }
    chunks.push(number.to_string());
    let mut decimal = String::new();
    if sign == Sign::Minus {
        decimal.push('-');
    }
    decimal.extend(chunks.into_iter().rev());
    decimal
}

/// Returns the value of a decimal digit of any script, or `None` if the character is not a digit.
fn value_of_digit(c: char) -> Option<u8> {
    let code = u32::from(c);
    let zero = if c.is_ascii() {
        u32::from('0')
    } else {
        let after = ZEROS.partition_point(|zero| *zero <= code);
        *ZEROS[..after].last()? // the last zero that is not after the character
    };
    let value = u8::try_from(code.checked_sub(zero)?).ok()?;
    (value < 10).then_some(value)
}

/// The zeros of all scripts except ASCII. Each is followed by the digits 1 to 9 (Unicode 14, category Nd).
#[rustfmt::skip]
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0,
    0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0,
    0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce,
    0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
