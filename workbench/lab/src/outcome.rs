//! All that an evening in the laboratory has found, as the reports take it.

use super::{Experiment, Figures, Machine, Spread};

/// Where a server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A stage of this project, or a variation.
    Ours,
    /// The reader's own.
    Mine,
    /// Somebody else's, reached through an adapter.
    Peer,
}

/// One circumstance of an experiment: so many clients, such a rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it is called, with its unit: `100 clients`.
    pub label: String,
    /// Its place on an axis.
    pub at: f64,
}

/// What one server did in one case.
#[derive(Clone, Debug)]
pub struct Row {
    /// The server's name.
    pub server: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The circumstance.
    pub case: Case,
    /// One for each run.
    pub runs: Vec<Figures>,
    /// Why a run failed: there are no runs then, or fewer than there should be.
    pub failure: Option<String>,
    /// Why the server is left out here; or what a reader has to know of the runs.
    pub note: Option<String>,
}

impl Row {
    /// The median of a figure over the runs, with its extremes.
    #[must_use]
    pub fn spread(&self, figure: &str) -> Option<Spread> {
        let values = self.runs.iter().filter_map(|run| run.get(figure));
        Spread::of(values.filter(|value| value.is_finite()))
    }

    /// The median of a figure over the runs.
    #[must_use]
    pub fn median(&self, figure: &str) -> Option<f64> {
        self.spread(figure).map(|spread| spread.median)
    }

    /// What was wrong in any run, a run that failed included.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        let in_runs = self.runs.iter().flat_map(|run| &run.faults);
        in_runs.chain(&self.failure).map(String::as_str)
    }
}

/// What one experiment found. Rows of one server stand together, in the order of the cases.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which experiment.
    pub experiment: &'static Experiment,
    /// How it was set up: numbers of clients and senders, sizes, rates.
    pub setting: String,
    /// A row for each server and case.
    pub rows: Vec<Row>,
}

impl Outcome {
    /// The servers, each once, in order.
    #[must_use]
    pub fn servers(&self) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !servers.contains(&row.server.as_str()) {
                servers.push(&row.server);
            }
        }
        servers
    }

    /// The cases, each once, in order.
    #[must_use]
    pub fn cases(&self) -> Vec<&Case> {
        let mut cases: Vec<&Case> = Vec::new();
        for row in &self.rows {
            if !cases.contains(&&row.case) {
                cases.push(&row.case);
            }
        }
        cases
    }

    /// The row of a server in a case.
    #[must_use]
    pub fn row(&self, server: &str, case: &Case) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server && row.case == *case)
    }
}

impl Row {
    /// Reports whether the row says why it has no runs, or fewer than it should have.
    pub(super) fn is_explained(&self) -> bool {
        self.note.is_some() || self.failure.is_some()
    }

    pub(super) fn add_note(&mut self, note: String) {
        match &mut self.note {
            Some(before) => *before = format!("{before}; {note}"),
            None => self.note = Some(note),
        }
    }
}

const NOTE_TLS: &str =
    "inside TLS: the generator does half of it, handshakes and decryption, which takes time, too";

/// Percent of a core from which on the generator has no time left.
const ALL_OF_A_CORE: f64 = 90.0;

/// How late the generator may be with its own sending, in microseconds.
const LATE: f64 = 1000.0;

impl Outcome {
    /// Notes what is measured of a server inside TLS that is not the server's.
    pub fn note_tls(&mut self, server: &str) {
        let measured = |row: &&mut Row| row.server == server && !row.runs.is_empty();
        for row in self.rows.iter_mut().filter(measured) {
            row.add_note(NOTE_TLS.to_owned());
        }
    }

    /// Notes where the generator was the limit, and not the server.
    pub fn note_limits(&mut self) {
        let mut columns = self.experiment.columns.iter();
        let own = columns.find(|column| column.figure.starts_with("generator_"));
        for row in &mut self.rows {
            let share = own.and_then(|column| row.median(column.figure));
            let server = row.median("server_cpu_percent").unwrap_or_default();
            if let Some(share) = share.filter(|it| *it > ALL_OF_A_CORE && server < ALL_OF_A_CORE) {
                row.add_note(format!(
                    "the generator was the limit: it used {share:.0} % of its core, the server \
                     {server:.0} %"
                ));
            }
            if let Some(late) = row.median("generator_late_max_us").filter(|late| *late > LATE) {
                let millis = late / 1000.0;
                row.add_note(format!("the generator itself was up to {millis:.1} ms late"));
            }
        }
    }
}

/// What the reports are made of.
#[derive(Clone, Debug)]
pub struct Results {
    /// When it began, as people write it: `2026-11-21 09:29 UTC`.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it ran on.
    pub machine: Machine,
    /// Runs of each case that were asked for.
    pub runs: usize,
    /// Whether it was `--quick`.
    pub is_quick: bool,
    /// Where the server and the generator ran, in a sentence.
    pub cores: String,
    /// What has to be typed to do it again.
    pub again: String,
    /// The servers' names, where they come from, and how they were started.
    pub servers: Vec<(String, Origin, String)>,
    /// What was left out and why, a sentence each: a peer that is not installed, an interruption.
    pub left_out: Vec<String>,
    /// In the order they ran.
    pub outcomes: Vec<Outcome>,
}

impl Results {
    /// Whether anything was lost, came twice or out of order, a run failed, or anything else went wrong.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        let mut rows = self.outcomes.iter().flat_map(|outcome| &outcome.rows);
        rows.any(|row| row.faults().next().is_some())
    }
}

impl Case {
    /// So many clients.
    #[must_use]
    pub fn clients(n: u32) -> Self {
        let label = if n == 1 { "1 client".to_owned() } else { format!("{} clients", grouped(n)) };
        Self { label, at: f64::from(n) }
    }

    /// Its place as a number of clients.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made of a count")]
    pub fn count(&self) -> usize {
        self.at as usize
    }
}

/// With a comma before each three digits.
pub(super) fn grouped(n: u32) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}
