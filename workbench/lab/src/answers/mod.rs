//! The answers to an engineer's questions: for each need a figure of each design, and which of them is the best.
//!
//! | file | subject |
//! |---|---|
//! | `needs.rs` | the table of needs |
//! | `caveats.rs` | what a reader has to know about the answers |

mod caveats;
mod needs;

use super::case::Case;
use super::experiment::Experiment;
use super::figures::Spread;
use super::measurement::Measurement;
use super::notes;
use super::origin::Origin;
use super::results::{ExperimentResult, ListedServer, Results};
use super::units::InOneUnit;
pub use needs::{Better, Need, NeedFigure};
use needs::{MANY_CLIENTS, NEEDS, WantedCase};

/// The answers from one run of `tincan lab`.
#[derive(Clone, Debug)]
pub struct Answers<'a> {
    /// The servers, one column each: all except those that are measured for comparison.
    pub servers: Vec<&'a ListedServer>,
    /// A row for each figure of each need that was measured.
    pub rows: Vec<Row<'a>>,
    /// Sentences that a reader has to know.
    pub caveats: Vec<String>,
}

/// A figure of each server.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The need.
    pub need: &'static Need,
    /// The figure.
    pub figure: &'static NeedFigure,
    /// The case in which it was measured.
    pub case: &'a Case,
    /// How many cores each server had.
    pub cores: usize,
    /// A cell for each server; nothing where it has no such figure.
    pub cells: Vec<Option<Cell>>,
}

/// The figure of one server.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The median of the runs, with the extremes.
    pub spread: Spread,
    /// How it compares with the other cells of the row.
    pub mark: Mark,
    /// Whether it is a rate that the load generator limited, and not the server.
    pub is_limited: bool,
    /// Whether something was wrong with the server, so that the figure must not be trusted.
    pub is_faulty: bool,
}

impl Cell {
    /// Returns the sign before the number, which says the same as the mark.
    pub fn sign(&self) -> Option<Sign> {
        match self.mark {
            _ if self.is_faulty => Some(Sign::Fault),
            Mark::Best => Some(Sign::Best),
            Mark::NoDifference => Some(Sign::NoDifference),
            Mark::Unmarked => None,
        }
    }

    /// Writes the number: `0.43 KiB`, or `≥1.2 M` where the server may be able to do more.
    pub fn number(&self, unit: InOneUnit) -> String {
        // `0 k` would be longer, and no clearer.
        if self.spread.median == 0.0 {
            return "0".to_owned();
        }
        let least = if self.is_limited { Sign::AtLeast.symbol() } else { "" };
        format!("{least}{}", unit.show(self.spread.median))
    }
}

/// A sign in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The best figure of the row.
    Best,
    /// No difference to the best was measured.
    NoDifference,
    /// The server may be able to do more.
    AtLeast,
    /// The figure must not be trusted.
    Fault,
}

impl Sign {
    /// Returns the sign as it is printed.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Best => "*",
            Self::NoDifference => "=",
            Self::AtLeast => "≥",
            Self::Fault => "!",
        }
    }

    /// Returns what the sign means.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::NoDifference => "no difference measured",
            Self::AtLeast => "the load generator was the limit",
            Self::Fault => "something was wrong",
        }
    }
}

/// How a cell compares with the other cells of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The best median.
    Best,
    /// No difference to the best was measured.
    NoDifference,
    /// The best is better, or nothing is compared.
    Unmarked,
}

impl<'a> Answers<'a> {
    /// Finds the answers in the results.
    pub fn find(results: &'a Results) -> Self {
        let is_design = |server: &&ListedServer| server.origin != Origin::Peer;
        let listed: Vec<_> = results.servers.iter().filter(is_design).collect();
        let mut rows: Vec<Row<'a>> = Vec::new();
        for need in NEEDS {
            let found = results.experiments.iter().find(|it| it.experiment.id == need.experiment);
            let figures =
                found.into_iter().flat_map(|it| need.figures.iter().map(move |f| (it, f)));
            rows.extend(
                figures.filter_map(|(it, figure)| {
                    row(it, need, figure, &listed, results.server_cores)
                }),
            );
        }
        // A server without figures gets no column.
        let has_cell = |nth: usize| rows.iter().any(|row| row.cells[nth].is_some());
        let shown: Vec<bool> = (0..listed.len()).map(has_cell).collect();
        let servers =
            listed.iter().zip(&shown).filter(|(_, shown)| **shown).map(|(it, _)| *it).collect();
        for row in &mut rows {
            let mut nth = shown.iter();
            row.cells.retain(|_| nth.next().copied().unwrap_or_default());
        }
        let mut answers = Self { servers, rows, caveats: Vec::new() };
        answers.caveats = caveats::caveats(&answers, results);
        answers
    }

    /// Returns the signs that occur, in the order in which they are explained.
    pub fn signs(&self) -> Vec<Sign> {
        let cells: Vec<&Cell> =
            self.rows.iter().flat_map(|row| row.cells.iter().flatten()).collect();
        let occurs = |sign: &Sign| match sign {
            Sign::AtLeast => cells.iter().any(|cell| cell.is_limited),
            _ => cells.iter().any(|cell| cell.sign() == Some(*sign)),
        };
        let all = [Sign::Best, Sign::NoDifference, Sign::AtLeast, Sign::Fault];
        all.into_iter().filter(occurs).collect()
    }
}

impl Row<'_> {
    /// Returns the name of the row in a terminal.
    pub fn label(&self) -> String {
        (self.figure.label)(self.case, self.cores)
    }

    /// Returns the name of the row on the page.
    pub fn words(&self) -> String {
        (self.figure.words)(self.case, self.cores)
    }

    /// Returns how the numbers of the row are written: in one unit, so that they can be compared at a glance.
    pub fn unit(&self) -> InOneUnit {
        self.figure.unit.column(self.cells.iter().flatten().map(|cell| cell.spread.median))
    }

    /// Reports whether it is the first row of its need.
    pub fn is_first(&self) -> bool {
        self.need.figures.first().is_some_and(|first| first.name == self.figure.name)
    }
}

/// Returns the row of a figure; nothing if no server has it.
fn row<'a>(
    result: &'a ExperimentResult,
    need: &'static Need,
    figure: &'static NeedFigure,
    servers: &[&ListedServer],
    cores: usize,
) -> Option<Row<'a>> {
    let case = choose_case(result, figure, servers)?;
    let cell = |server: &&ListedServer| {
        let measurement = result.measurement(&server.name, case)?;
        cell(measurement, figure, result.experiment)
    };
    let mut cells: Vec<_> = servers.iter().map(cell).collect();
    mark(cells.iter_mut().flatten().collect(), figure.better);
    Some(Row { need, figure, case, cores, cells })
}

/// Returns the case that suits a figure, if any server has the figure.
fn choose_case<'a>(
    result: &'a ExperimentResult,
    figure: &NeedFigure,
    servers: &[&ListedServer],
) -> Option<&'a Case> {
    let measured = |case: &Case| {
        let in_case = |it: &&&ListedServer| {
            let found = result.measurement(&it.name, case);
            found.is_some_and(|it| spread(it, figure).is_some())
        };
        servers.iter().filter(in_case).count()
    };
    let mut cases = result.cases();
    match figure.case {
        WantedCase::Labelled(label) => cases.retain(|case| case.label == label),
        WantedCase::Near(_) => cases.retain(|case| case.value > 0.0),
    }
    cases.retain(|case| measured(case) > 0);
    let far = |case: &Case| match figure.case {
        WantedCase::Near(wanted) => (case.value / wanted).ln().abs(),
        WantedCase::Labelled(_) => 0.0,
    };
    let worse = |a: &&Case, b: &&Case| {
        measured(b).cmp(&measured(a)).then_with(|| far(a).total_cmp(&far(b)))
    };
    cases.into_iter().min_by(worse)
}

fn cell(measurement: &Measurement, figure: &NeedFigure, experiment: &Experiment) -> Option<Cell> {
    Some(Cell {
        spread: spread(measurement, figure)?,
        mark: Mark::Unmarked,
        is_limited: figure.is_rate && notes::limiting_generator(measurement, experiment).is_some(),
        is_faulty: measurement.is_faulty(),
    })
}

fn spread(measurement: &Measurement, figure: &NeedFigure) -> Option<Spread> {
    let values = measurement.runs.iter().filter_map(figure.value);
    Spread::of(values.filter(|value| value.is_finite()))
}

/// Marks the best cell, and the cells that are not measurably worse: their runs overlap with the runs of the best,
/// or the load generator was the limit, so that the server may be as good.
fn mark(cells: Vec<&mut Cell>, better: Better) {
    let mut cells: Vec<_> = cells.into_iter().filter(|cell| !cell.is_faulty).collect();
    if better == Better::Neither || cells.len() < 2 {
        return;
    }
    let size = |cell: &Cell| match better {
        Better::Larger => -cell.spread.median,
        _ => cell.spread.median,
    };
    cells.sort_by(|a, b| size(a).total_cmp(&size(b)));
    let [best, others @ ..] = &mut cells[..] else { return };
    best.mark = Mark::Best;
    for cell in others {
        let (a, b) = (best.spread, cell.spread);
        let overlap = a.min <= b.max && b.min <= a.max;
        if overlap || cell.is_limited {
            cell.mark = Mark::NoDifference;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::super::sample;
    use super::*;

    fn cell(min: f64, median: f64, max: f64) -> Cell {
        let spread = Spread { median, min, max };
        Cell { spread, mark: Mark::Unmarked, is_limited: false, is_faulty: false }
    }

    fn marks(mut cells: Vec<Cell>, better: Better) -> Vec<Mark> {
        mark(cells.iter_mut().collect(), better);
        cells.iter().map(|cell| cell.mark).collect()
    }

    #[test]
    fn the_best_is_marked_and_what_overlaps_with_it() {
        use Mark::{Best, NoDifference, Unmarked};
        let cells = || vec![cell(5.0, 6.0, 8.0), cell(4.0, 5.0, 5.0), cell(5.1, 5.5, 9.0)];
        assert_eq!(marks(cells(), Better::Smaller), [NoDifference, Best, Unmarked]);
        assert_eq!(marks(cells(), Better::Larger), [Best, NoDifference, NoDifference]);
        assert_eq!(marks(cells(), Better::Neither), [Unmarked; 3]);
        assert_eq!(marks(vec![cell(1.0, 2.0, 3.0)], Better::Smaller), [Unmarked]);
    }

    #[test]
    fn a_faulty_figure_is_never_the_best() {
        let faulty = Cell { is_faulty: true, ..cell(1.0, 1.0, 1.0) };
        let found = marks(vec![faulty, cell(2.0, 2.0, 2.0), cell(3.0, 3.0, 3.0)], Better::Smaller);
        assert_eq!(found, [Mark::Unmarked, Mark::Best, Mark::Unmarked]);
    }

    #[test]
    fn a_rate_that_the_generator_limited_is_not_worse() {
        let limited = Cell { is_limited: true, ..cell(1.0, 1.0, 1.0) };
        let found = marks(vec![limited, cell(2.0, 2.0, 2.0)], Better::Larger);
        assert_eq!(found, [Mark::NoDifference, Mark::Best]);
    }

    fn names(results: &Results) -> Vec<(&'static str, String)> {
        let answers = Answers::find(results);
        answers.rows.iter().map(|row| (row.figure.name, row.case.label.clone())).collect()
    }

    #[test]
    fn each_need_that_was_measured_has_its_rows() {
        let mut results = sample::results();
        let all = names(&results);
        let figures = NEEDS.iter().flat_map(|need| need.figures);
        assert_eq!(
            all.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            figures.map(|it| it.name).collect::<Vec<_>>()
        );
        results.experiments.retain(|it| it.experiment.id == "connections");
        let sessions = ["1 at once", "1 at once", "beside a silent client"];
        assert_eq!(names(&results).into_iter().map(|(_, case)| case).collect::<Vec<_>>(), sessions);
        let caveats = Answers::find(&results).caveats.join(" ");
        assert!(caveats.contains("slow readers (cargo tincan lab slow-consumer)"), "{caveats}");
        assert!(!caveats.contains("many short connections ("), "{caveats}");
    }

    #[test]
    fn peers_and_servers_without_figures_have_no_column() {
        let mut results = sample::results();
        let columns = |results: &Results| -> Vec<String> {
            Answers::find(results).servers.iter().map(|it| it.name.clone()).collect()
        };
        let designs = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async", "mine"];
        assert_eq!(columns(&results), designs);
        results.experiments.retain(|it| it.experiment.id == "idle");
        assert_eq!(columns(&results), designs[2..]);
    }

    #[test]
    fn the_case_with_the_most_servers_is_chosen_and_then_the_nearest() {
        let mut results = sample::only(&["chat-poll", "chat-async"]);
        let idle = |results: &Results| names(results)[0].1.clone();
        assert_eq!(idle(&results), "1,000 clients");
        for row in &mut results.experiments[0].measurements {
            if row.server == "chat-async" && row.case.value > 100.0 {
                row.runs.clear();
            }
        }
        assert_eq!(idle(&results), "100 clients");
    }

    #[test]
    fn servers_that_used_several_cores_are_named() {
        let mut results = sample::results();
        let caveats = |results: &Results| Answers::find(results).caveats.join(" ");
        assert!(caveats(&results).contains("Each server had one core"), "{}", caveats(&results));
        results.server_cores = 3;
        assert!(caveats(&results).contains("No server used more than one core."));
        for row in results.experiments.iter_mut().flat_map(|it| &mut it.measurements) {
            if row.server == "chat-threads" && !row.runs.is_empty() {
                let mut several = Figures::default();
                several.add("server_cpu_percent", 212.0);
                row.runs = vec![several];
            }
        }
        assert!(caveats(&results).contains("More than one core was used only by chat-threads."));
    }

    #[test]
    fn a_processor_time_of_zero_was_not_measured() {
        for name in ["server_cpu_us_per_session", "server_cpu_us_per_delivery"] {
            let value = |time| {
                let mut run = Figures::default();
                run.add(name, time);
                NEEDS.iter().flat_map(|need| need.figures).find_map(|it| (it.value)(&run))
            };
            assert!(value(3.0).is_some() && value(0.0).is_none(), "{name}");
        }
    }

    #[test]
    fn figures_are_scaled_up_from_the_measured_ones() {
        let results = sample::results();
        let answers = Answers::find(&results);
        let median = |figure: &str, server: &str| {
            let column = answers.servers.iter().position(|it| it.name == server).unwrap();
            let row = answers.rows.iter().find(|row| row.figure.name == figure).unwrap();
            row.cells[column].unwrap().spread.median
        };
        let each = median("bytes_per_client", "chat-poll");
        let all = median("bytes_for_5000_clients", "chat-poll");
        assert!((all - (2.4e6 + 5000.0 * each)).abs() < 1.0, "{all} {each}");
        assert!((median("sessions_per_minute", "chat-poll") - 60.0 * 24_000.0).abs() < 1.0);
        // 31 µs each, 10,000 in 60 s: 0.31 s of 60.
        let share = median("core_percent_at_10000_per_minute", "chat-poll");
        assert!((share - 31.0 / 60.0).abs() < 1e-9, "{share}");
    }
}
