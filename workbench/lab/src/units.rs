//! How numbers are written for people: the same in the terminal and on the page.

use super::figures::Spread;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number: threads, descriptors, messages.
    Count,
    /// Bytes: with a suffix such as KiB from 10,000 on.
    Bytes,
    /// Microseconds: in milliseconds from 10,000 on, in nanoseconds below a tenth.
    Micros,
    /// Seconds.
    Seconds,
    /// A number a second or a minute: thousands as k, millions as M.
    PerSecond,
    /// Percent of one core.
    Percent,
}

/// The suffixes of a unit, and how many of the first one each is.
type Steps = &'static [(&'static str, f64)];

const BYTES: Steps = &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
const MICROS: Steps = &[("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
const NANOS: Steps = &[("ns", 1e-3), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
const RATE: Steps = &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)];

/// From here on a number is written in the next larger unit.
const TOO_LONG: f64 = 9_999.5;

/// A column takes a smaller unit if its smallest number would be below this, unless the largest would then
/// have more than six digits.
const TOO_SHORT: f64 = 0.1;
const SIX_DIGITS: f64 = 999_999.5;

/// From here on a number is written with an exponent.
const TOO_LARGE: f64 = 1e15;

/// From here on the extremes of a spread say more than its percentage.
const WIDE: f64 = 0.5;

impl Unit {
    /// Writes the number with its suffix: `22.4 KiB`, `410 µs`, `1.23 M`.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        let (value, suffix) = self.scaled(value, TOO_LONG);
        joined(&self.digits(value, suffix), suffix)
    }

    /// Writes the number as short as possible, for an axis: `2 ms`.
    #[must_use]
    pub fn tick(self, value: f64) -> String {
        let (value, suffix) = self.scaled(value, 999.5);
        let digits = self.digits(value, suffix);
        let digits = match digits.contains('.') {
            true => digits.trim_end_matches('0').trim_end_matches('.'),
            false => &digits,
        };
        joined(digits, suffix)
    }

    /// Writes how far the extremes are from the median: `±4 %`; both extremes where they are far away.
    /// Returns `None` if there was one run, or if all runs found the same.
    #[must_use]
    pub fn show_spread(self, spread: Spread, runs: usize) -> Option<String> {
        show_spread(spread, runs, |min, max| self.show_range(min, max))
    }

    /// Returns how all numbers of a column with these medians are written: in one unit, so that they
    /// can be compared at a glance.
    #[must_use]
    pub fn column(self, medians: impl IntoIterator<Item = f64>) -> InOneUnit {
        let steps = match self {
            Self::Micros => NANOS,
            _ => self.steps(),
        };
        let sizes = medians.into_iter().map(f64::abs).filter(|size| size.is_finite());
        let sizes: Vec<f64> = sizes.filter(|size| *size > 0.0).collect();
        let least = sizes.iter().copied().reduce(f64::min).unwrap_or(1.0);
        let most = sizes.iter().copied().reduce(f64::max).unwrap_or(1.0);
        // The suffix that suits the largest number, unless the smallest would have no digits left.
        let suits = self.scaled(most, TOO_LONG).1;
        let mut nth = steps.iter().position(|(suffix, _)| *suffix == suits).unwrap_or(0);
        let fits = |nth: usize| most / steps[nth].1 < SIX_DIGITS;
        while nth > 0 && least / steps[nth].1 < TOO_SHORT && fits(nth - 1) {
            nth -= 1;
        }
        let (suffix, size) = steps[nth];
        InOneUnit { unit: self, suffix, size }
    }

    /// Writes both numbers, with one suffix if it is the same: `12..310 µs`.
    #[must_use]
    pub fn show_range(self, min: f64, max: f64) -> String {
        let (low, low_suffix) = self.scaled(min, TOO_LONG);
        let (high, suffix) = self.scaled(max, TOO_LONG);
        if low_suffix == suffix {
            let (low, high) = (self.digits(low, suffix), self.digits(high, suffix));
            return joined(&format!("{low}..{high}"), suffix);
        }
        format!("{}..{}", self.show(min), self.show(max))
    }

    /// Returns the number in the suffix that suits it: below `first`, the first one.
    fn scaled(self, value: f64, first: f64) -> (f64, &'static str) {
        if self == Self::Micros && value != 0.0 && value.abs() < 0.0995 {
            return (value * 1e3, "ns");
        }
        let steps = self.steps();
        let size = value.abs();
        let fits = |pair: &&[(&str, f64)]| {
            // The next suffix begins half a unit earlier, because rounding would reach it.
            let next = pair[1].1 / pair[0].1;
            size / pair[0].1 < if pair[0].1 > 1.0 { next - 0.5 } else { first }
        };
        let step = steps.windows(2).find(fits).map_or(steps[steps.len() - 1], |pair| pair[0]);
        (value / step.1, step.0)
    }

    fn steps(self) -> Steps {
        match self {
            Self::Count => &[("", 1.0)],
            Self::Seconds => &[("s", 1.0)],
            Self::Percent => &[("%", 1.0)],
            Self::Bytes => BYTES,
            Self::Micros => MICROS,
            Self::PerSecond => RATE,
        }
    }

    /// Writes three significant digits; a whole number where the unit has no parts.
    fn digits(self, value: f64, suffix: &str) -> String {
        let is_whole = match self {
            Self::Count | Self::PerSecond if suffix.is_empty() => value.fract() == 0.0,
            Self::Bytes if suffix == "B" => value.abs() >= 9.95 || value.fract() == 0.0,
            Self::Percent => value.abs() >= 9.95 || value.fract() == 0.0,
            _ => value == 0.0,
        };
        let decimals = match value.abs() {
            _ if is_whole => 0,
            99.95.. => 0,
            9.995.. => 1,
            0.095.. => 2,
            _ => 3,
        };
        if value.abs() >= TOO_LARGE {
            return format!("{value:.0e}");
        }
        grouped(&format!("{value:.decimals$}"))
    }
}

/// How all numbers of one column are written.
#[derive(Clone, Copy, Debug)]
pub struct InOneUnit {
    unit: Unit,
    suffix: &'static str,
    /// How many of the first unit one of these is.
    size: f64,
}

impl InOneUnit {
    /// Writes the number with the suffix of its column.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        joined(&self.digits(value), self.suffix)
    }

    /// Writes how far the extremes are from the median, as [`Unit::show_spread`] does.
    #[must_use]
    pub fn show_spread(self, spread: Spread, runs: usize) -> Option<String> {
        show_spread(spread, runs, |min, max| {
            joined(&format!("{}..{}", self.digits(min), self.digits(max)), self.suffix)
        })
    }

    fn digits(self, value: f64) -> String {
        const LEAST: f64 = 0.0005;
        let value = value / self.size;
        match value {
            _ if self.unit.steps().len() == 1 => self.unit.digits(value, self.suffix),
            // `0.000` would say that it is zero.
            _ if value > 0.0 && value < LEAST => "<0.001".to_owned(),
            _ => self.unit.digits(value, self.suffix),
        }
    }
}

fn show_spread(spread: Spread, runs: usize, range: impl Fn(f64, f64) -> String) -> Option<String> {
    let Spread { median, min, max } = spread;
    let far = (max - median).max(median - min);
    if runs < 2 || far <= 0.0 {
        return None;
    }
    if median == 0.0 || far / median.abs() > WIDE {
        return Some(range(min, max));
    }
    let percent = far / median.abs() * 100.0;
    Some(if percent < 1.0 { "±<1 %".to_owned() } else { format!("±{percent:.0} %") })
}

fn joined(digits: &str, suffix: &str) -> String {
    if suffix.is_empty() { digits.to_owned() } else { format!("{digits} {suffix}") }
}

/// Writes a comma between thousands, and a minus sign that is as wide as a plus.
fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("−", rest));
    let (whole, part) = number.split_once('.').map_or((number, None), |(w, p)| (w, Some(p)));
    let is_zero = number.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let mut text = if is_zero { String::new() } else { sign.to_owned() };
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(part) = part {
        text = text + "." + part;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(unit: Unit, values: &[f64]) -> Vec<String> {
        values.iter().map(|value| unit.show(*value)).collect()
    }

    #[test]
    fn bytes_have_binary_suffixes_from_ten_thousand_on() {
        let values = [0.0, 3.5, 69.4, 9_999.0, 10_000.0, 22_938.0, 1_048_300.0, 1.5e9, -70_000.0];
        let texts =
            ["0 B", "3.50 B", "69 B", "9,999 B", "9.77 KiB", "22.4 KiB", "1.00 MiB", "1.40 GiB"];
        let texts = [texts.as_slice(), &["−68.4 KiB"]].concat();
        assert_eq!(shown(Unit::Bytes, &values), texts);
    }

    #[test]
    fn times_grow_into_milliseconds_and_seconds() {
        let values = [0.042, 0.42, 4.2, 41.23, 410.0, 9_999.4, 9_999.6, 999_600.0, 4.2e7];
        let texts = [
            "42.0 ns",
            "0.42 µs",
            "4.20 µs",
            "41.2 µs",
            "410 µs",
            "9,999 µs",
            "10.0 ms",
            "1.00 s",
            "42.0 s",
        ];
        assert_eq!(shown(Unit::Micros, &values), texts);
        assert_eq!(shown(Unit::Seconds, &[0.41, 12.0]), ["0.41 s", "12.0 s"]);
    }

    #[test]
    fn rates_counts_and_percents() {
        let values = [3.0, 1234.0, 12_345.0, 999_700.0, 1_234_567.0];
        assert_eq!(shown(Unit::PerSecond, &values), ["3", "1,234", "12.3 k", "1.00 M", "1.23 M"]);
        assert_eq!(shown(Unit::Count, &[1.0, 2.5, 2001.0]), ["1", "2.50", "2,001"]);
        assert_eq!(
            shown(Unit::Percent, &[0.0, 4.25, 97.4, 154.0]),
            ["0 %", "4.25 %", "97 %", "154 %"]
        );
    }

    #[test]
    fn ticks_have_no_zeros_at_the_end() {
        assert_eq!(Unit::Bytes.tick(2_097_152.0), "2 MiB");
        assert_eq!(Unit::PerSecond.tick(200_000.0), "200 k");
        assert_eq!(Unit::Micros.tick(0.5), "0.5 µs");
        assert_eq!(Unit::Micros.tick(2_000.0), "2 ms");
        assert_eq!(Unit::Count.tick(1000.0), "1,000");
    }

    #[test]
    fn a_spread_is_written_in_percent_unless_it_is_wide() {
        let spread = |min, median, max| Spread { median, min, max };
        let told = |min, median, max| Unit::Micros.show_spread(spread(min, median, max), 3);
        assert_eq!(told(96.0, 100.0, 103.0).as_deref(), Some("±4 %"));
        assert_eq!(told(99.9, 100.0, 100.2).as_deref(), Some("±<1 %"));
        assert_eq!(told(7.0, 7.0, 7.0), None);
        assert_eq!(told(12.0, 41.0, 310.0).as_deref(), Some("12.0..310 µs"));
        assert_eq!(told(12.0, 41.0, 31_000.0).as_deref(), Some("12.0 µs..31.0 ms"));
        assert_eq!(told(0.0, 0.0, 5.0).as_deref(), Some("0..5.00 µs"));
        assert_eq!(Unit::Micros.show_spread(spread(1.0, 2.0, 3.0), 1), None);
    }

    #[test]
    fn a_column_has_one_unit() {
        let column = |unit: Unit, values: &[f64]| -> Vec<String> {
            let written = unit.column(values.iter().copied());
            values.iter().map(|value| written.show(*value)).collect()
        };
        assert_eq!(column(Unit::Micros, &[9_990.0, 10_010.0]), ["9.99 ms", "10.0 ms"]);
        assert_eq!(column(Unit::Micros, &[0.0, 4.2, 8_000.0]), ["0 µs", "4.20 µs", "8,000 µs"]);
        assert_eq!(
            column(Unit::Micros, &[41.2, 310.0, 120_000.0]),
            ["41.2 µs", "310 µs", "120,000 µs"]
        );
        assert_eq!(column(Unit::Micros, &[0.042, 0.7]), ["42.0 ns", "700 ns"]);
        assert_eq!(
            column(Unit::Bytes, &[440.0, 22_938.0, 2_837_440.0]),
            ["0.43 KiB", "22.4 KiB", "2,771 KiB"]
        );
        assert_eq!(column(Unit::Bytes, &[-70_000.0, 2_837_440.0]), ["−68.4 KiB", "2,771 KiB"]);
        assert_eq!(column(Unit::PerSecond, &[1234.0, 12_345.0]), ["1.23 k", "12.3 k"]);
        assert_eq!(column(Unit::Micros, &[0.4, 4.2e7]), ["<0.001 ms", "42,000 ms"]);
        assert_eq!(column(Unit::Seconds, &[0.0, 0.41]), ["0 s", "0.41 s"]);
        assert_eq!(column(Unit::Count, &[]), Vec::<String>::new());
        let spread = Spread { median: 41.0, min: 12.0, max: 31_000.0 };
        let told = Unit::Micros.column([41.0, 900.0]).show_spread(spread, 3);
        assert_eq!(told.as_deref(), Some("12.0..31,000 µs"));
    }

    #[test]
    fn a_zero_has_no_sign() {
        assert_eq!(Unit::Seconds.show(-0.0001), "0.000 s");
        assert_eq!(Unit::Count.show(-0.0), "0");
        assert_eq!(Unit::Count.show(-1234.0), "−1,234");
        assert_eq!(Unit::Count.show(1e300), "1e300");
    }
}
