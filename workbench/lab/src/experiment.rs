//! The parts of an experiment, which each file in `experiments` fills in.

use std::time::Duration;

use anyhow::Result;

use super::case::Case;
use super::figures::Figures;
use super::measured_server::MeasuredServer;
use super::measurement::Measurement;
use super::protocol::Protocol;
use super::units::Unit;

/// A question, how it is answered, and how the answer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// The name on the command line.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
    /// The question that it answers, in one sentence.
    pub question: &'static str,
    /// One sentence: what to look at in the table and the charts.
    pub look_at: &'static str,
    /// One sentence: the result that the designs of the servers suggest.
    pub prediction: &'static str,
    /// The columns of the table.
    pub columns: &'static [Column],
    /// The charts of the page.
    pub charts: &'static [Chart],
    /// The options of the command line that change this experiment.
    pub options: &'static [LoadOption],
    /// Whether it reads the server's memory, threads or descriptors, and so needs its process.
    pub needs_process: bool,
    /// Returns the cases, from the smallest to the largest.
    pub cases: fn(&Settings) -> Vec<Case>,
    /// Describes what is the same in all cases: numbers, sizes, rates.
    pub setting: fn(&Settings) -> String,
    /// Returns the reason why a server that speaks this protocol is not measured in this case.
    pub unsuited: fn(Protocol, &Case) -> Option<&'static str>,
    /// Measures one server, which has just been started, in one case.
    pub measure: fn(&MeasuredServer, &Case, &Settings) -> Result<Figures>,
    /// Adds the figures and notes that need the measurements of several servers or runs.
    pub conclude: fn(&mut [Measurement]),
}

/// A column of the table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub head: &'static str,
    /// The figure of which the median and the spread are shown.
    pub figure: &'static str,
    /// How the figure is written.
    pub unit: Unit,
}

/// A chart of the page: for each case a panel, and in it for each server a row.
///
/// A chart with one mark on a linear axis draws bars. All other charts draw signs, and a line from the
/// lowest to the highest.
#[derive(Clone, Copy, Debug)]
pub struct Chart {
    /// The heading: `Memory for a client`.
    pub title: &'static str,
    /// What the numbers are, below the heading.
    pub axis: &'static str,
    /// How the numbers are written.
    pub unit: Unit,
    /// Whether the axis is logarithmic.
    pub is_log: bool,
    /// The figures that are drawn.
    pub marks: &'static [Mark],
}

/// A figure in a chart, and the name of its sign. The name is empty where the heading says it.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The figure.
    pub figure: &'static str,
    /// Its name in the chart.
    pub name: &'static str,
}

/// The usual percentiles of a latency, as marks of a chart.
pub const PERCENTILES: &[Mark] = &[
    Mark { figure: "p50_us", name: "p50" },
    Mark { figure: "p90_us", name: "p90" },
    Mark { figure: "p99_us", name: "p99" },
    Mark { figure: "p999_us", name: "p99.9" },
];

/// An option of the command line that changes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOption {
    /// `--clients`
    Clients,
    /// `--at-once`
    AtOnce,
    /// `--senders`
    Senders,
    /// `--size`
    Size,
    /// `--seconds`
    Seconds,
    /// `--warm-up`
    WarmUp,
    /// `--window`
    Window,
}

impl LoadOption {
    /// Returns the option as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "--clients",
            Self::AtOnce => "--at-once",
            Self::Senders => "--senders",
            Self::Size => "--size",
            Self::Seconds => "--seconds",
            Self::WarmUp => "--warm-up",
            Self::Window => "--window",
        }
    }
}

/// How large the experiments are. Where an option is not given, each experiment has a default of its
/// own.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether fewer clients and shorter runs are wanted.
    pub is_quick: bool,
    /// Numbers of clients, one case each.
    pub clients: Option<Vec<u32>>,
    /// Numbers of echo sessions at the same time, one case each.
    pub at_once: Option<Vec<u32>>,
    /// How many clients send.
    pub senders: Option<usize>,
    /// Bytes of a message with its ending.
    pub size: Option<usize>,
    /// How long one run measures.
    pub time: Option<Duration>,
    /// How long messages are sent before measuring begins.
    pub warm_up: Option<Duration>,
    /// Bytes that each sender may be ahead of the slowest reader.
    pub window: Option<usize>,
}

impl Settings {
    /// Returns how long one run measures: as asked for, or half of the default with `--quick`.
    #[must_use]
    pub fn time(&self, default: Duration) -> Duration {
        self.time.unwrap_or_else(|| self.shortened(default))
    }

    /// Returns half of a time with `--quick`.
    #[must_use]
    pub fn shortened(&self, time: Duration) -> Duration {
        if self.is_quick { time / 2 } else { time }
    }

    /// Returns a case for each number of clients: the numbers that were asked for, or the defaults.
    #[must_use]
    pub fn client_cases(&self, usual: &[u32], quick: &[u32]) -> Vec<Case> {
        let default = if self.is_quick { quick } else { usual };
        let numbers = self.clients.as_deref().unwrap_or(default);
        numbers.iter().map(|n| Case::clients(*n)).collect()
    }

    /// Returns the load options that were given on the command line.
    #[must_use]
    pub fn given(&self) -> Vec<LoadOption> {
        let all = [
            (LoadOption::Clients, self.clients.is_some()),
            (LoadOption::AtOnce, self.at_once.is_some()),
            (LoadOption::Senders, self.senders.is_some()),
            (LoadOption::Size, self.size.is_some()),
            (LoadOption::Seconds, self.time.is_some()),
            (LoadOption::WarmUp, self.warm_up.is_some()),
            (LoadOption::Window, self.window.is_some()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option).collect()
    }
}
