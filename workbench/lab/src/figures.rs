//! What was measured: numbers whose names carry their units, and what was wrong.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// What one run of an experiment found.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    rows: Vec<(&'static str, f64)>,
    /// How something changed while the run went on.
    pub series: Vec<Series>,
    /// What was wrong; the numbers are not to be trusted unless this is empty.
    pub faults: Vec<String>,
}

/// How a number changed in the course of a run.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Seconds since the beginning, and the number then.
    pub points: Vec<(f64, f64)>,
}

impl Figures {
    /// Adds a number, whose name ends with its unit.
    pub fn add(&mut self, name: &'static str, value: f64) {
        self.rows.push((name, value));
    }

    /// The number of that name, if it was measured.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        let row = self.rows.iter().find(|(known, _)| *known == name);
        row.map(|(_, value)| *value)
    }

    /// All names and numbers, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.rows.iter().copied()
    }

    /// One JSON object; what was wrong is the list `faults`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for (name, value) in self.iter() {
            object.insert(name.into(), rounded(value).into());
        }
        for Series { name, points } in &self.series {
            let points = points.iter().map(|(at, value)| [rounded(*at), rounded(*value)]);
            object.insert((*name).into(), points.collect::<Vec<_>>().into());
        }
        object.insert("faults".into(), self.faults.clone().into());
        object.into()
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

/// Large numbers without digits that mean nothing, small ones with three.
pub(super) fn rounded(value: f64) -> f64 {
    if value.abs() >= 1000.0 { value.round() } else { (value * 1000.0).round() / 1000.0 }
}

/// How long something took, many times.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Self> {
        // Up to an hour, in nanoseconds, to three digits.
        Ok(Self(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?))
    }

    /// Adds one.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// In microseconds, what this part of them did not exceed: 0.5 is the middle.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of an hour at most, below 2^52")]
    pub fn quantile_us(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1e3
    }

    /// Adds the usual ones, from the middle to the longest of all.
    pub fn tell(&self, figures: &mut Figures) {
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

/// The middle of several values and their extremes: what is told of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these values, if there are any.
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
    fn a_spread_has_the_middle_and_the_extremes() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(of(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
