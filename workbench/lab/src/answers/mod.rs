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
    /// Sentences that a reader has to know before any figure.
    pub warnings: Vec<String>,
    /// A sentence that says how each server is built, if it is known of any.
    pub designs: Option<String>,
    /// Other sentences that a reader has to know.
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
    /// Whether it is the first row of its need.
    pub is_first: bool,
    /// A cell for each server; `None` where the server has no figure.
    pub cells: Vec<Option<Cell>>,
}

/// The figure of one server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The median of the runs, with the extremes; `None` if something was wrong and a run lacks the figure.
    pub spread: Option<Spread>,
    /// The sign before the number. A number that must not be trusted, or that may be larger, is not compared with
    /// the others, so there is one sign at most.
    pub sign: Option<Sign>,
}

impl Cell {
    /// Writes the number: `0.43 KiB`. Returns an empty text if there is none.
    pub fn number(&self, unit: InOneUnit) -> String {
        match self.spread {
            None => String::new(),
            // `0 k` would be longer, and no clearer.
            Some(spread) if spread.median == 0.0 => "0".to_owned(),
            Some(spread) => unit.show(spread.median),
        }
    }
}

/// A sign in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The best figure of the row.
    Best,
    /// No difference to the best was measured.
    NoDifference,
    /// The load generator may have been the limit, so the server may reach more.
    AtLeast,
    /// Something was wrong with the server, so the figure must not be trusted.
    Fault,
}

impl Sign {
    /// All signs, in the order in which they are explained.
    pub const ALL: [Self; 4] = [Self::Best, Self::NoDifference, Self::AtLeast, Self::Fault];

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
            Self::AtLeast => "possibly limited by the load generator",
            Self::Fault => "fault",
        }
    }
}

impl<'a> Answers<'a> {
    /// Finds the answers in the results.
    pub fn find(results: &'a Results) -> Self {
        let is_design = |server: &&ListedServer| server.origin != Origin::Peer;
        let mut servers: Vec<&ListedServer> = results.servers.iter().filter(is_design).collect();
        let mut rows = find_rows(results, &servers);
        // A server without figures gets no column.
        for nth in (0..servers.len()).rev() {
            if rows.iter().all(|row| row.cells[nth].is_none()) {
                servers.remove(nth);
                for row in &mut rows {
                    row.cells.remove(nth);
                }
            }
        }
        let mut answers = Self {
            warnings: caveats::warnings(results),
            designs: caveats::designs(&servers),
            caveats: Vec::new(),
            servers,
            rows,
        };
        answers.caveats = caveats::sentences(&answers, results);
        answers
    }

    /// Returns the signs that occur, in the order in which they are explained.
    pub fn signs(&self) -> Vec<Sign> {
        let occurs = |sign: &Sign| {
            let mut cells = self.rows.iter().flat_map(|row| row.cells.iter().flatten());
            cells.any(|cell| cell.sign == Some(*sign))
        };
        Sign::ALL.into_iter().filter(occurs).collect()
    }
}

impl Row<'_> {
    /// Returns the name of the row in a terminal.
    pub fn label(&self) -> String {
        (self.figure.label)(self.case, self.cores)
    }

    /// Returns the name of the row on the page.
    pub fn page_label(&self) -> String {
        (self.figure.page_label)(self.case, self.cores)
    }

    /// Returns how the numbers of the row are written: in one unit, so that they can be compared at a glance.
    pub fn unit(&self) -> InOneUnit {
        let spreads = self.cells.iter().flatten().filter_map(|cell| cell.spread);
        self.figure.unit.column(spreads.map(|spread| spread.median))
    }
}

/// Returns the rows of all needs that were measured.
fn find_rows<'a>(results: &'a Results, servers: &[&ListedServer]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let cores = results.server_cores;
    for need in NEEDS {
        let measured = results.experiments.iter().find(|it| it.experiment.id == need.experiment);
        let Some(result) = measured else { continue };
        let Some(case) = choose_case(result, need.case, servers) else { continue };
        let mut is_first = true;
        for figure in need.figures.iter().filter(|figure| (figure.applies)(case, cores)) {
            let cells = find_cells(result, figure, case, servers, cores);
            if cells.iter().any(Option::is_some) {
                rows.push(Row { need, figure, case, cores, is_first, cells });
                is_first = false;
            }
        }
    }
    rows
}

/// Returns the case that suits a need. Returns `None` if no server is measured in such a case.
///
/// A server that was measured and failed counts too, so that its fault does not change the row of the others. A case in
/// which all servers failed is chosen only if there is no other.
fn choose_case<'a>(
    result: &'a ExperimentResult,
    wanted: WantedCase,
    servers: &[&ListedServer],
) -> Option<&'a Case> {
    let mut best: Option<(bool, usize, f64, &Case)> = None;
    for case in result.cases() {
        let distance = match wanted {
            WantedCase::Near(value) if case.value > 0.0 => (case.value / value).ln().abs(),
            WantedCase::Labelled(label) if case.label == label => 0.0,
            _ => continue,
        };
        let all = servers.iter().filter_map(|server| result.measurement(&server.name, case));
        let measured: Vec<&Measurement> = all.filter(|it| it.not_measured.is_none()).collect();
        let has_runs = measured.iter().any(|it| !it.runs.is_empty());
        let is_better = best.is_none_or(|(had_runs, most, nearest, _)| {
            let before = (had_runs, most);
            let now = (has_runs, measured.len());
            now > before || now == before && distance < nearest
        });
        if !measured.is_empty() && is_better {
            best = Some((has_runs, measured.len(), distance, case));
        }
    }
    best.map(|(.., case)| case)
}

/// Returns a cell for each server.
fn find_cells(
    result: &ExperimentResult,
    figure: &NeedFigure,
    case: &Case,
    servers: &[&ListedServer],
    cores: usize,
) -> Vec<Option<Cell>> {
    let mut cells: Vec<Option<Cell>> = Vec::new();
    for server in servers {
        let measurement = result.measurement(&server.name, case);
        cells.push(measurement.and_then(|it| find_cell(it, figure, result.experiment, cores)));
    }
    compare(&mut cells, figure.better);
    cells
}

/// Returns the cell of one server. Returns `None` if a run of the server lacks the figure, and nothing was wrong: the
/// median of the other runs would say something else.
fn find_cell(
    measurement: &Measurement,
    figure: &NeedFigure,
    experiment: &Experiment,
    cores: usize,
) -> Option<Cell> {
    let values = measurement.runs.iter().map(|run| (figure.value)(run).filter(|it| it.is_finite()));
    let values: Option<Vec<f64>> = values.collect();
    let spread = values.and_then(Spread::of);
    if measurement.is_faulty() {
        return Some(Cell { spread, sign: Some(Sign::Fault) });
    }
    let is_limited = figure.needs_fast_generator
        && notes::generator_limit(measurement, experiment, cores).is_some();
    let sign = is_limited.then_some(Sign::AtLeast);
    spread.is_some().then_some(Cell { spread, sign })
}

/// Marks the best cell, and the cells that are not measurably worse: their runs overlap with the runs of the best.
/// Marks none if the load generator limited a figure, because that server may reach more than the best.
fn compare(cells: &mut [Option<Cell>], better: Better) {
    let mut compared: Vec<(Spread, &mut Option<Sign>)> = Vec::new();
    for cell in cells.iter_mut().flatten() {
        match (cell.spread, cell.sign) {
            (_, Some(Sign::AtLeast)) => return,
            (Some(spread), None) => compared.push((spread, &mut cell.sign)),
            _ => {}
        }
    }
    if better == Better::Neither || compared.len() < 2 {
        return;
    }
    let size = |spread: &Spread| match better {
        Better::Larger => -spread.median,
        _ => spread.median,
    };
    compared.sort_by(|(a, _), (b, _)| size(a).total_cmp(&size(b)));
    let mut sorted = compared.into_iter();
    let Some((best, sign)) = sorted.next() else { return };
    // A rate of zero is not good, and a size or a time of zero or less was too small to be measured.
    if best.median <= 0.0 {
        return;
    }
    *sign = Some(Sign::Best);
    for (spread, sign) in sorted {
        if best.min <= spread.max && spread.min <= best.max {
            *sign = Some(Sign::NoDifference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::super::sample;
    use super::*;

    fn cell(min: f64, median: f64, max: f64) -> Cell {
        Cell { spread: Some(Spread { median, min, max }), sign: None }
    }

    fn signs(cells: Vec<Cell>, better: Better) -> Vec<Option<Sign>> {
        let mut cells: Vec<Option<Cell>> = cells.into_iter().map(Some).collect();
        compare(&mut cells, better);
        cells.into_iter().flatten().map(|cell| cell.sign).collect()
    }

    #[test]
    fn the_best_is_marked_and_what_overlaps_with_it() {
        let best = Some(Sign::Best);
        let same = Some(Sign::NoDifference);
        let none: Option<Sign> = None;
        let cells = || vec![cell(5.0, 6.0, 8.0), cell(4.0, 5.0, 5.0), cell(5.1, 5.5, 9.0)];
        assert_eq!(signs(cells(), Better::Smaller), [same, best, none]);
        assert_eq!(signs(cells(), Better::Larger), [best, same, same]);
        assert_eq!(signs(cells(), Better::Neither), [none; 3]);
        assert_eq!(signs(vec![cell(1.0, 2.0, 3.0)], Better::Smaller), [none]);
    }

    #[test]
    fn a_faulty_figure_is_never_the_best() {
        let fault = Some(Sign::Fault);
        let faulty = Cell { sign: fault, ..cell(1.0, 1.0, 1.0) };
        let without_figure = Cell { spread: None, sign: fault };
        let cells = vec![faulty, without_figure, cell(2.0, 2.0, 2.0), cell(3.0, 3.0, 3.0)];
        assert_eq!(signs(cells, Better::Smaller), [fault, fault, Some(Sign::Best), None]);
    }

    #[test]
    fn beside_a_rate_that_the_generator_limited_there_is_no_best() {
        let at_least = Some(Sign::AtLeast);
        for rate in [1.0, 2.0, 3.0] {
            let limited = Cell { sign: at_least, ..cell(rate, rate, rate) };
            let cells = vec![limited, cell(2.0, 2.0, 2.0), cell(1.0, 1.5, 2.5)];
            assert_eq!(signs(cells, Better::Larger), [at_least, None, None], "{rate}");
        }
    }

    #[test]
    fn zero_is_not_the_best() {
        let cells = vec![cell(0.0, 0.0, 0.0), cell(0.0, 0.0, 0.0)];
        assert_eq!(signs(cells, Better::Larger), [None; 2]);
        assert_eq!(
            signs(vec![cell(-9.0, -3.0, 1.0), cell(0.0, 2.0, 3.0)], Better::Smaller),
            [None; 2]
        );
    }

    #[test]
    fn every_rate_may_be_larger_if_the_generator_was_busy_and_the_server_had_several_cores() {
        let mut results = sample::only(&["chat-threads", "chat-poll", "chat-async"]);
        for measurement in results.experiments.iter_mut().flat_map(|it| &mut it.measurements) {
            let mut run = Figures::default();
            run.add("deliveries_per_s", 1e6);
            run.add("server_cpu_percent", 150.0);
            let percent = if measurement.server == "chat-poll" { 60.0 } else { 95.0 };
            run.add("generator_cpu_percent", percent);
            measurement.runs = vec![run];
        }
        let limited = |results: &Results, figure: &str| -> Option<Vec<bool>> {
            let answers = Answers::find(results);
            let row = answers.rows.iter().find(|row| row.figure.name == figure)?;
            let cells = row.cells.iter().flatten();
            Some(cells.map(|cell| cell.sign == Some(Sign::AtLeast)).collect())
        };
        assert_eq!(limited(&results, "deliveries_per_s"), Some(vec![false; 3]));
        assert_eq!(limited(&results, "server_cores_used"), None);
        results.server_cores = 2;
        for figure in ["deliveries_per_s", "server_cores_used"] {
            assert_eq!(limited(&results, figure), Some(vec![true, false, true]), "{figure}");
        }
    }

    fn figures_and_cases(results: &Results) -> Vec<(&'static str, String)> {
        let answers = Answers::find(results);
        answers.rows.iter().map(|row| (row.figure.name, row.case.label.clone())).collect()
    }

    #[test]
    fn each_need_that_was_measured_has_its_rows() {
        let mut results = sample::results();
        results.server_cores = 3;
        let found = figures_and_cases(&results);
        let figures = NEEDS.iter().flat_map(|need| need.figures);
        assert_eq!(
            found.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            figures.map(|it| it.name).collect::<Vec<_>>()
        );
        results.experiments.retain(|it| it.experiment.id == "connections");
        let cases: Vec<String> =
            figures_and_cases(&results).into_iter().map(|(_, case)| case).collect();
        assert_eq!(cases, ["1 at once", "1 at once", "beside a silent client"]);
        let caveats = Answers::find(&results).caveats.join(" ");
        assert!(caveats.contains("slow consumers (cargo tincan lab slow-consumer)"), "{caveats}");
        assert!(!caveats.contains("short connections ("), "{caveats}");
    }

    #[test]
    fn a_need_that_no_server_answered_counts_as_not_measured() {
        let results = sample::only(&["echo-uni"]);
        let caveats = Answers::find(&results).caveats.join(" ");
        assert!(caveats.contains("many idle clients (cargo tincan lab idle)"), "{caveats}");
    }

    #[test]
    fn an_indented_row_has_the_case_of_its_need() {
        let results = sample::results();
        let answers = Answers::find(&results);
        for rows in answers.rows.chunk_by(|a, b| a.need.name == b.need.name) {
            assert!(rows[0].is_first && !rows[1..].iter().any(|row| row.is_first), "{rows:?}");
            assert!(rows.iter().all(|row| row.case == rows[0].case), "{rows:?}");
        }
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
        let idle = |results: &Results| figures_and_cases(results)[0].1.clone();
        assert_eq!(idle(&results), "1,000 clients");
        for measurement in &mut results.experiments[0].measurements {
            if measurement.server == "chat-async" && measurement.case.value > 100.0 {
                measurement.runs.clear();
                measurement.not_measured = Some("it takes 100 clients at most".to_owned());
            }
        }
        assert_eq!(idle(&results), "100 clients");
        // The memory of so few clients does not show the memory of many.
        let names: Vec<_> = figures_and_cases(&results).into_iter().map(|(name, _)| name).collect();
        assert!(!names.contains(&"bytes_for_5000_clients"), "{names:?}");
    }

    #[test]
    fn a_case_in_which_all_servers_failed_is_not_chosen() {
        let mut results = sample::only(&["chat-poll", "chat-async"]);
        for measurement in &mut results.experiments[0].measurements {
            if measurement.case.clients == 1000 {
                measurement.runs.clear();
                measurement.failure = Some("too many open files".to_owned());
            }
        }
        assert_eq!(figures_and_cases(&results)[0].1, "100 clients");
    }

    #[test]
    fn a_server_that_failed_has_a_sign_and_does_not_change_the_row() {
        let mut results = sample::only(&["echo-uni", "chat-poll", "chat-async"]);
        for measurement in results.experiments.iter_mut().flat_map(|it| &mut it.measurements) {
            if measurement.server == "chat-async" && measurement.not_measured.is_none() {
                measurement.runs.clear();
                measurement.failure = Some("run 1 of 3 failed".to_owned());
            }
        }
        let answers = Answers::find(&results);
        let row = &answers.rows[0];
        assert_eq!(row.case.label, "1,000 clients");
        let failed = Some(Cell { spread: None, sign: Some(Sign::Fault) });
        // An echo server has no idle clients: the row does not apply to it.
        assert!(row.cells[0].is_none() && row.cells[2] == failed, "{row:?}");
        assert!(row.cells[1].is_some_and(|cell| cell.spread.is_some()), "{row:?}");
        assert!(answers.warnings.join(" ").contains("Faults: see the tables “Idle clients”, "));
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
        assert!(caveats(&results).contains("Only chat-threads used more than one core."));
        for row in results.experiments.iter_mut().flat_map(|it| &mut it.measurements) {
            if row.server == "chat-threads" {
                row.failure = Some("run 2 of 3 failed".to_owned());
            }
        }
        assert!(caveats(&results).contains("No server used more than one core."));
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
    fn figures_are_calculated_from_the_measured_ones() {
        let results = sample::results();
        let answers = Answers::find(&results);
        let median = |figure: &str, server: &str| {
            let column = answers.servers.iter().position(|it| it.name == server).unwrap();
            let row = answers.rows.iter().find(|row| row.figure.name == figure).unwrap();
            row.cells[column].unwrap().spread.unwrap().median
        };
        let each = median("bytes_per_client", "chat-poll");
        let all = median("bytes_for_5000_clients", "chat-poll");
        assert!((all - (2.4e6 + 5000.0 * each)).abs() < 1.0, "{all} {each}");
        assert!((median("sessions_per_minute", "chat-poll") - 60.0 * 24_000.0).abs() < 1.0);
        // 31 µs each, 10,000 in 60 s: 0.31 s of 60.
        let share = median("core_percent_at_10000_per_minute", "chat-poll");
        assert!((share - 31.0 / 60.0).abs() < 1e-9, "{share}");
        assert_eq!(answers.rows[1].label(), "memory of 5,000, extrapolated");
    }

    #[test]
    fn a_need_is_not_extrapolated_where_it_was_measured() {
        let mut results = sample::results();
        for measurement in &mut results.experiments[0].measurements {
            if measurement.case.clients == 1000 {
                measurement.case = Case::clients(MANY_CLIENTS);
            }
        }
        let answers = Answers::find(&results);
        assert_eq!(answers.rows[0].label(), "5,000 idle clients: memory each");
        assert_eq!(answers.rows[1].label(), "memory of all");
    }
}
