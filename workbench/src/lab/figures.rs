//! What was measured: numbers whose names carry their units, and what was wrong.

use std::fmt;

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
