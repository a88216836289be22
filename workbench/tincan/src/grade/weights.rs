//! How many points each check gives.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use check::Check;

use crate::check_command::{id_or_theme, theme_id};

/// The points for each check; without a weight of its own or of its theme, a check gives one point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(HashMap<String, f64>);

impl Weights {
    /// Reads a file of weights.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
        Self::parse(&text).with_context(|| format!("in {shown}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut weights = HashMap::new();
        // Some editors put a mark of the byte order before the text.
        let text = text.trim_start_matches('\u{feff}');
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (name, weight) = parse_line(line).with_context(|| format!("line {number}"))?;
            if weights.insert(name.clone(), weight).is_some() {
                bail!("line {number}: {name} already has a weight");
            }
        }
        Ok(Self(weights))
    }

    /// Returns how many points a check gives.
    pub fn of(&self, check: &Check) -> f64 {
        let own = self.0.get(check.id).or_else(|| self.0.get(&theme_id(check)));
        own.copied().unwrap_or(1.0)
    }
}

fn parse_line(line: &str) -> Result<(String, f64)> {
    let expected = "expected a check or a theme, and its points, such as `frame-one 2`";
    let (name, weight) = line.rsplit_once(char::is_whitespace).context(expected)?;
    let is_weight = |weight: &f64| weight.is_finite() && *weight >= 0.0;
    let weight = weight.parse().ok().filter(is_weight).context(expected)?;
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = id_or_theme(&name).map_err(|err| anyhow!("{name}: {err}"))?;
    Ok((name, weight))
}

/// Returns points with at most two decimals, and without zeros at their end.
pub fn points(points: f64) -> String {
    let text = format!("{points:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use check::TABLE;

    use super::*;

    fn check(id: &str) -> &'static Check {
        TABLE.iter().find(|check| check.id == id).unwrap()
    }

    #[test]
    fn the_weight_of_a_check_wins_over_that_of_its_theme() {
        let text = "# of the course\nframe-one 0.5\n framing   2 # each\n\nslow readers 3\n";
        let weights = Weights::parse(text).unwrap();
        let of = |id| weights.of(check(id));
        assert_eq!(of("frame-one").to_string(), "0.5");
        assert_eq!(of("frame-three").to_string(), "2");
        assert_eq!(of("slow-memory").to_string(), "3");
        assert_eq!(of("crowd-200").to_string(), "1");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, expected) in [
            ("frame-one", "line 1: expected a check"),
            ("\nframe-one many", "line 2: expected a check"),
            ("frame-one -1", "line 1: expected a check"),
            ("frame-one inf", "line 1: expected a check"),
            ("frame-on 2", "line 1: frame-on: no such check; similar ids: frame-one"),
            ("framing 2\nframing 3", "line 2: framing already has a weight"),
        ] {
            let err = Weights::parse(text).unwrap_err();
            assert!(format!("{err:#}").starts_with(expected), "{text}: {err:#}");
        }
    }

    #[test]
    fn points_are_short() {
        let shown = [0.0, 10.0, 1.5, 2.0 / 3.0].map(points);
        assert_eq!(shown, ["0", "10", "1.5", "0.67"]);
    }
}
