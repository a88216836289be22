//! The figures of one run: numbers whose names end with their units, and the faults of the server.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// The figures of one run of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    numbers: Vec<(&'static str, f64)>,
    /// Numbers that changed during the run.
    pub series: Vec<Series>,
    /// A sentence for each fault of the server. The numbers must not be trusted unless this is empty.
    pub faults: Vec<String>,
}

/// A number that changed during a run.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name, which ends with its unit.
    pub name: &'static str,
    /// Seconds, and the number at that time.
    pub points: Vec<(f64, f64)>,
}

impl Figures {
    /// Adds a number. Its name ends with its unit.
    pub fn add(&mut self, name: &'static str, value: f64) {
        self.numbers.push((name, value));
    }

    /// Returns the number with this name, if it was measured.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.numbers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// Returns all names and numbers, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.numbers.iter().copied()
    }

    /// Returns one JSON object. The faults are its list `faults`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut object = serde_json::Map::new();
        for (name, value) in self.iter() {
            object.insert(name.into(), rounded(value).into());
        }
        for Series { name, points } in &self.series {
            let points = points.iter().map(|(at, value)| [rounded(*at), rounded(*value)]);
            object.insert((*name).into(), points.collect::<Vec<_>>().into());
        }
        object.insert("faults".into(), self.faults.clone().into());
        object
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.iter() {
            writeln!(f, "{name:<28} {:>14}", rounded(value))?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}

/// Rounds a number: from 1,000 on to whole numbers, below to three digits after the point.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    if value.abs() >= 1000.0 { value.round() } else { (value * 1000.0).round() / 1000.0 }
}

/// Many durations of the same thing.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// Creates an empty collection.
    pub fn new() -> Result<Self> {
        // In nanoseconds, up to an hour, with three digits.
        Ok(Self(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?))
    }

    /// Adds one duration.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Returns how many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the duration in microseconds that this part of all durations does not exceed: 0.5 asks
    /// for the median.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of an hour at most, below 2^52")]
    pub fn quantile_us(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1e3
    }

    /// Adds the usual percentiles and the longest duration to the figures.
    pub fn add_to(&self, figures: &mut Figures) {
        let parts = [
            ("p50_us", 0.5),
            ("p90_us", 0.9),
            ("p99_us", 0.99),
            ("p999_us", 0.999),
            ("max_us", 1.0),
        ];
        for (name, part) in parts {
            figures.add(name, self.quantile_us(part));
        }
    }
}

/// The median of several runs and their extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median: the value in the middle, or the mean of the two values in the middle.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of these values, if there are any.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Some(Self { median: f64::midpoint(values[lower], values[upper]), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_and_the_extremes() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(of(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
