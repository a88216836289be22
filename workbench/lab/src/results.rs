//! The results of one run of `tincan lab`, from which the reports are made.

use super::case::Case;
use super::experiment::Experiment;
use super::machine::Machine;
use super::measurement::Measurement;
use super::origin::Origin;
use super::servers::ClientLimit;

/// The measurements of one experiment. Measurements of one server stand together, in the order of the
/// cases.
#[derive(Clone, Debug)]
pub struct ExperimentResult {
    /// The experiment.
    pub experiment: &'static Experiment,
    /// The numbers of clients and senders, the sizes and the rates, in sentences.
    pub setting: String,
    /// One for each server and case.
    pub measurements: Vec<Measurement>,
}

impl ExperimentResult {
    /// Returns the name of each server once, in order.
    #[must_use]
    pub fn servers(&self) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        for measurement in &self.measurements {
            if !servers.contains(&measurement.server.as_str()) {
                servers.push(&measurement.server);
            }
        }
        servers
    }

    /// Returns each case once, in order.
    #[must_use]
    pub fn cases(&self) -> Vec<&Case> {
        let mut cases: Vec<&Case> = Vec::new();
        for measurement in &self.measurements {
            if !cases.contains(&&measurement.case) {
                cases.push(&measurement.case);
            }
        }
        cases
    }

    /// Returns the measurement of a server in a case.
    #[must_use]
    pub fn measurement(&self, server: &str, case: &Case) -> Option<&Measurement> {
        self.measurements.iter().find(|it| it.server == server && it.case == *case)
    }

    /// Reports whether a server has figures in any case.
    #[must_use]
    pub fn has_figures(&self, server: &str) -> bool {
        self.measurements.iter().any(|it| it.server == server && !it.runs.is_empty())
    }

    /// Reports whether anything was wrong with any server.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.measurements.iter().any(Measurement::is_faulty)
    }
}

/// A server as it is listed in the report.
#[derive(Clone, Debug)]
pub struct ListedServer {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The command that started it.
    pub command: String,
    /// How many clients it takes, if that is known.
    pub limit: Option<ClientLimit>,
}

/// Everything that the reports show.
#[derive(Clone, Debug)]
pub struct Results {
    /// The date and time of the beginning: `2026-11-21 09:29 UTC`.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The machine.
    pub machine: Machine,
    /// How many runs of each case were asked for.
    pub runs: usize,
    /// Whether `--quick` was given.
    pub is_quick: bool,
    /// The cores of the servers and of the load generator, in a sentence.
    pub cores: String,
    /// How many cores each server could use.
    pub server_cores: usize,
    /// The command of the laboratory as it was called, without arguments: `cargo tincan lab`.
    pub command: String,
    /// The command that repeats the measurements.
    pub again: String,
    /// The servers, in the order in which they are shown.
    pub servers: Vec<ListedServer>,
    /// A sentence for each server that is left out, such as a peer that is not installed.
    pub left_out: Vec<String>,
    /// A sentence that says after how many runs the measurements were interrupted, if they were.
    pub interruption: Option<String>,
    /// The experiments, in the order in which they ran.
    pub experiments: Vec<ExperimentResult>,
}

impl Results {
    /// Reports whether a copy was lost, came twice or out of order, a run failed, or anything else was
    /// wrong with a server.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.experiments.iter().any(ExperimentResult::has_faults)
    }
}
