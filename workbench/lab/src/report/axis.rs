//! The axis of a chart: the place of a number, and the round numbers beside it.

#![expect(clippy::cast_possible_truncation, reason = "exponents of ten are small")]

use super::super::units::Unit;

/// Larger numbers, and numbers nearer to zero, are not measured; an axis for them would have no ticks.
const HUGE: f64 = 1e18;
const TINY: f64 = 1e-12;

/// An axis from one round number to another.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    unit: Unit,
}

impl Axis {
    /// Creates an axis for these numbers. A linear axis contains zero; a logarithmic axis begins below the
    /// smallest positive number. Returns `None` if no number can be shown on it.
    pub fn new(values: impl IntoIterator<Item = f64>, is_log: bool, unit: Unit) -> Option<Self> {
        let values = values.into_iter().filter(|value| value.abs() < HUGE);
        let values: Vec<f64> = values.filter(|value| !is_log || *value > TINY).collect();
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        Some(match is_log {
            true => Self::log(least, most, unit),
            false => Self::linear(least.min(0.0), most.max(0.0), unit),
        })
    }

    fn linear(least: f64, most: f64, unit: Unit) -> Self {
        let most = if least < most { most } else { least + 1.0 };
        let step = linear_step(most - least, 4.0, unit);
        let (low, high) = ((least / step).floor() * step, (most / step).ceil() * step);
        Self { low, high, is_log: false, unit }
    }

    fn log(least: f64, most: f64, unit: Unit) -> Self {
        // A little space, so that a round number does not lie on the edge.
        let low = round_below(least / 1.05, unit);
        let high = next_round(most * 1.05, unit);
        Self { low, high, is_log: true, unit }
    }

    /// Returns the place of a number, from 0 to 1. Returns `None` for zero and below on a logarithmic axis.
    pub fn at(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.is_log && value <= TINY) {
            return None;
        }
        let part = match self.is_log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        Some(part.clamp(0.0, 1.0))
    }

    /// Returns about `most` round numbers at most, with their places.
    pub fn ticks(&self, most: usize) -> Vec<(f64, f64)> {
        let ticks = match (self.is_log, self.unit) {
            (false, _) => self.linear_ticks(most),
            (true, Unit::Bytes) => self.log_ticks(&[2.0, 4.0, 16.0, 64.0, 1024.0], most),
            (true, _) => self.decimal_ticks(most),
        };
        ticks.into_iter().filter_map(|tick| Some((tick, self.at(tick)?))).collect()
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let count = u32::try_from(most).map_or(4.0, f64::from);
        let step = linear_step(self.high - self.low, count - 1.0, self.unit);
        let first = (self.low / step).ceil();
        let last = (self.high / step + 1e-9).floor();
        let mut ticks = Vec::new();
        let mut at = first;
        while at <= last && ticks.len() < 50 {
            ticks.push(at * step);
            at += 1.0;
        }
        ticks
    }

    fn decimal_ticks(&self, most: usize) -> Vec<f64> {
        let ticks = self.within(self.low, |tick| next_round(tick * 1.01, self.unit));
        if ticks.len() <= most {
            return ticks;
        }
        let few = ticks.iter().filter_map(|tick| match digit(*tick) {
            ..1.5 => Some(*tick),
            1.5..3.5 => Some(tick * 1.5),
            _ => None,
        });
        let few: Vec<f64> = few.filter(|tick| *tick <= self.high).collect();
        if few.len() <= most {
            return few;
        }
        self.log_ticks(&[10.0, 100.0, 1000.0, 1e4, 1e6], most)
    }

    /// Returns the powers of the first of these bases that has few enough powers on the axis.
    fn log_ticks(&self, bases: &[f64], most: usize) -> Vec<f64> {
        let mut ticks = Vec::new();
        for base in bases {
            let power = (self.low.ln() / base.ln() - 1e-9).ceil() as i32;
            ticks = self.within(base.powi(power), |tick| tick * base);
            if ticks.len() <= most {
                break;
            }
        }
        ticks
    }

    fn within(&self, first: f64, next: impl Fn(f64) -> f64) -> Vec<f64> {
        let ticks = std::iter::successors(Some(first), |tick| Some(next(*tick)));
        ticks.take_while(|tick| *tick <= self.high * 1.001).take(200).collect()
    }
}

/// Returns the first digit of a round number.
fn digit(round: f64) -> f64 {
    round / 10_f64.powf((round.log10() + 1e-9).floor())
}

/// Returns the round step that covers the range in at most this number of steps.
fn linear_step(range: f64, steps: f64, unit: Unit) -> f64 {
    next_round(range / steps.max(1.0), unit)
}

/// Returns the smallest round number that is not below the value: 1, 2 or 5 times a power of ten; a power
/// of two for bytes.
fn next_round(value: f64, unit: Unit) -> f64 {
    if unit == Unit::Bytes && value > 1.0 {
        return 2_f64.powi((value.log2() - 1e-9).ceil() as i32);
    }
    let exponent = (value.log10() - 1e-9).floor() as i32;
    let power = 10_f64.powi(exponent);
    let rounds = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    rounds.into_iter().find(|round| *round >= value * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Returns the largest round number that is not above the value.
fn round_below(value: f64, unit: Unit) -> f64 {
    let above = next_round(value, unit);
    if above <= value * (1.0 + 1e-9) {
        return above;
    }
    if unit == Unit::Bytes && above > 1.0 {
        return above / 2.0;
    }
    let smaller = [above / 2.5, above / 2.0].map(|near| next_round(near * 0.99, unit));
    smaller.into_iter().filter(|round| *round <= value).fold(above / 10.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], is_log: bool, unit: Unit, most: usize) -> Vec<String> {
        let axis = Axis::new(values.iter().copied(), is_log, unit).unwrap();
        axis.ticks(most).into_iter().map(|(tick, _)| unit.tick(tick)).collect()
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_has_round_steps() {
        assert_eq!(labels(&[37.0, 91.0], false, Unit::Micros, 5), ["0 µs", "50 µs", "100 µs"]);
        assert_eq!(
            labels(&[1.2e6, 450e3], false, Unit::PerSecond, 5),
            ["0", "500 k", "1 M", "1.5 M"]
        );
        assert_eq!(labels(&[5e6], false, Unit::Bytes, 5), ["0 B", "2 MiB", "4 MiB", "6 MiB"]);
        assert_eq!(labels(&[-300.0, 900.0], false, Unit::Count, 5), ["−500", "0", "500", "1,000"]);
        assert_eq!(labels(&[0.0], false, Unit::Count, 5), ["0", "0.5", "1"]);
    }

    #[test]
    fn a_logarithmic_axis_has_round_ticks_and_no_zero() {
        assert_eq!(
            labels(&[0.0, 41.0, 310.0], true, Unit::Micros, 5),
            ["20 µs", "50 µs", "100 µs", "200 µs", "500 µs"]
        );
        assert_eq!(labels(&[0.7, 14.7], true, Unit::Micros, 4), ["1 µs", "3 µs", "10 µs"]);
        assert_eq!(labels(&[3.0, 41e6], true, Unit::Micros, 5), ["100 µs", "10 ms", "1 s"]);
        assert_eq!(
            labels(&[2e6, 80e6], true, Unit::Bytes, 5),
            ["1 MiB", "4 MiB", "16 MiB", "64 MiB"]
        );
        assert!(Axis::new([0.0], true, Unit::Count).is_none());
        assert!(Axis::new([f64::NAN], false, Unit::Count).is_none());
    }

    #[test]
    fn every_number_has_a_place_on_its_axis() {
        for (least, most) in [(1.0, 1.0), (0.003, 0.004), (9.99, 1e9), (65.0, 71.0)] {
            for is_log in [true, false] {
                for unit in [Unit::Bytes, Unit::Micros, Unit::Count] {
                    let axis = Axis::new([least, most], is_log, unit).unwrap();
                    let (low, high) = (axis.at(least).unwrap(), axis.at(most).unwrap());
                    assert!((0.0..=1.0).contains(&low) && high <= 1.0, "{least} {most} {axis:?}");
                    assert!(low > 0.0 && high < 1.0 || !is_log, "{least} {most} {axis:?}");
                    assert!(low <= high && !axis.ticks(5).is_empty(), "{axis:?}");
                    assert!(axis.ticks(5).len() <= 7, "{axis:?} {:?}", axis.ticks(5));
                }
            }
        }
        let axis = Axis::new([1.0, 100.0], true, Unit::Count).unwrap();
        assert_eq!((axis.at(0.0), axis.at(f64::NAN)), (None, None));
    }
}
