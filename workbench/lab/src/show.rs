//! What of an experiment's figures is shown, and how: for the table and for the charts.

/// How a number is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number: threads, descriptors, messages.
    Count,
    /// Bytes: with a suffix such as KiB from 10,000 on.
    Bytes,
    /// Microseconds: from 10,000 on in milliseconds, and so on; below a tenth in nanoseconds.
    Micros,
    /// Seconds.
    Seconds,
    /// So many a second: thousands as k, millions as M.
    PerSecond,
    /// Percent of one core.
    Percent,
}

/// A column of the terminal's table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What stands above it.
    pub head: &'static str,
    /// The figure whose median and spread it shows.
    pub figure: &'static str,
    /// How it is written.
    pub unit: Unit,
}

/// A chart of the page.
#[derive(Clone, Copy, Debug)]
pub struct Chart {
    /// What it shows, as a heading: `Memory for a client`.
    pub title: &'static str,
    /// What the numbers are, beside the axis.
    pub axis: &'static str,
    /// How they are written.
    pub unit: Unit,
    /// Whether the axis of the numbers is logarithmic.
    pub is_log: bool,
    /// Its form.
    pub form: Form,
}

/// How a chart draws the figures.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A line for each server: a figure's median over the places of the cases, both logarithmic if
    /// asked for, with the spread around each point.
    Lines(&'static str),
    /// Bars for each case, one for each server: a figure's median, with the spread at its end.
    Bars(&'static str),
    /// For each case and server a strip from the lowest to the highest of several figures, such as
    /// percentiles, with a mark at each: the figure and the mark's name.
    Strips(&'static [(&'static str, &'static str)]),
    /// A line for each server over the seconds of one run, the middle one of its runs by the name
    /// of the series; and a vertical mark at the second that a figure tells, if there is one.
    Course {
        /// The series.
        series: &'static str,
        /// The figure, and what happened then.
        mark: Option<(&'static str, &'static str)>,
    },
}

/// From the middle to the one in a thousand: figures and their names.
pub const PERCENTILES: &[(&str, &str)] =
    &[("p50_us", "p50"), ("p90_us", "p90"), ("p99_us", "p99"), ("p999_us", "p99.9")];
