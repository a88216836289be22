//! The measurements of one server in one case.

use super::case::Case;
use super::figures::{Figures, Spread};
use super::origin::Origin;

/// The runs of one server in one case.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The name of the server.
    pub server: String,
    /// Where the server comes from.
    pub origin: Origin,
    /// The case.
    pub case: Case,
    /// The figures of each run.
    pub runs: Vec<Figures>,
    /// The reason why a run failed. There are no runs then, or fewer than were asked for.
    pub failure: Option<String>,
    /// The reason why the server is not measured in this case. There are no runs then.
    pub not_measured: Option<String>,
    /// What a reader has to know about the figures.
    pub note: Option<String>,
}

impl Measurement {
    /// Returns the median of a figure over the runs, with the smallest and the largest value.
    #[must_use]
    pub fn spread(&self, figure: &str) -> Option<Spread> {
        let values = self.runs.iter().filter_map(|run| run.get(figure));
        Spread::of(values.filter(|value| value.is_finite()))
    }

    /// Returns the median of a figure over the runs.
    #[must_use]
    pub fn median(&self, figure: &str) -> Option<f64> {
        self.spread(figure).map(|spread| spread.median)
    }

    /// Returns the faults of all runs, and the reason why a run failed.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        let in_runs = self.runs.iter().flat_map(|run| &run.faults);
        in_runs.chain(&self.failure).map(String::as_str)
    }

    /// Reports whether the figures must not be trusted.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        self.faults().next().is_some()
    }

    /// Adds something that a reader has to know about the figures.
    pub fn add_note(&mut self, note: impl AsRef<str>) {
        let note = note.as_ref();
        match &mut self.note {
            Some(before) => *before = format!("{before}; {note}"),
            None => self.note = Some(note.to_owned()),
        }
    }
}

/// Adds the figure `name` to each run of all servers except the server `baseline`.
///
/// `compare` computes it from the run's own `figure` and from the median of the baseline's in the same case. A
/// run gets no such figure if it lacks `figure`, or if the baseline was not measured in this case.
pub fn add_comparison(
    measurements: &mut [Measurement],
    baseline: &str,
    figure: &str,
    name: &'static str,
    compare: impl Fn(f64, f64) -> f64,
) {
    let of_baseline = measurements.iter().filter(|it| it.server == baseline);
    let medians: Vec<_> = of_baseline.map(|it| (it.case.clone(), it.median(figure))).collect();
    for measurement in measurements.iter_mut().filter(|it| it.server != baseline) {
        let same_case = medians.iter().find(|(case, _)| *case == measurement.case);
        let Some(median) = same_case.and_then(|(_, median)| *median) else { continue };
        for run in &mut measurement.runs {
            if let Some(own) = run.get(figure) {
                run.add(name, compare(own, median));
            }
        }
    }
}
