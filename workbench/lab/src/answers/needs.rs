//! The table of needs: what an engineer asks before choosing a design, and the figures that answer it.
//!
//! A new row is an entry here: its experiment, its case, its figure. Each cell is a measured
//! figure, or is calculated from measured figures.

use super::super::case::{Case, grouped};
use super::super::experiments::BESIDE_SILENT;
use super::super::figures::Figures;
use super::super::units::Unit;

/// The number of idle clients of which the memory is shown.
pub const MANY_CLIENTS: u32 = 5000;

/// With fewer clients, the memory of [`MANY_CLIENTS`] is not extrapolated.
const FEWEST_TO_EXTRAPOLATE: u32 = 500;

/// The connections a minute for which the processor time is shown.
const MANY_CONNECTIONS: u32 = 10_000;

/// Something that a server has to be good at.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The name: `Many idle clients`.
    pub name: &'static str,
    /// The experiment that measures it.
    pub experiment: &'static str,
    /// The case in which all its figures are measured.
    pub case: WantedCase,
    /// The figures that answer it, one row each.
    pub figures: &'static [NeedFigure],
}

/// A figure that answers a need.
#[derive(Clone, Copy, Debug)]
pub struct NeedFigure {
    /// The name of the row in a terminal. The first one of a need says which need it is; the others are indented.
    pub label: Label,
    /// The name of the row on the page, below the name of the need.
    pub page_label: Label,
    /// The name of the figure in `data.json`, which ends with its unit.
    pub name: &'static str,
    /// Returns the figure of one run.
    pub value: fn(&Figures) -> Option<f64>,
    /// How it is written.
    pub unit: Unit,
    /// Whether a small or a large number is good.
    pub better: Better,
    /// Whether the figure may be larger with a faster load generator, where the load generator may have been the limit.
    pub needs_fast_generator: bool,
    /// Reports whether the figure says anything in this case, with this number of cores for each server.
    pub applies: fn(&Case, usize) -> bool,
}

/// Returns a text for the measured case, and for the number of cores that each server had.
pub type Label = fn(&Case, usize) -> String;

/// The case that suits a need.
#[derive(Clone, Copy, Debug)]
pub enum WantedCase {
    /// The case with about this number. Of the cases in which the most servers are measured, the nearest is taken.
    Near(f64),
    /// The case with this label.
    Labelled(&'static str),
}

/// Which of two figures is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The smaller one.
    Smaller,
    /// The larger one.
    Larger,
    /// Neither.
    Neither,
}

/// All needs, in the order in which they are shown.
pub const NEEDS: &[Need] = &[
    Need {
        name: "Many idle clients",
        experiment: "idle",
        case: WantedCase::Near(5000.0),
        figures: &[
            NeedFigure {
                label: |case, _| format!("{} idle clients: memory each", clients(case)),
                page_label: |case, _| format!("memory for each of {} clients", clients(case)),
                name: "bytes_per_client",
                value: |run| run.get("bytes_per_client"),
                unit: Unit::Bytes,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: always,
            },
            NeedFigure {
                label: |case, _| memory_of_many("memory of all", case),
                page_label: |case, _| memory_of_many("memory of the server with all clients", case),
                name: "bytes_for_5000_clients",
                value: bytes_for_many_clients,
                unit: Unit::Bytes,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: |case, _| (FEWEST_TO_EXTRAPOLATE..=MANY_CLIENTS).contains(&case.clients),
            },
        ],
    },
    Need {
        name: "A small room that must be fast",
        experiment: "roundtrip",
        case: WantedCase::Near(50.0),
        figures: &[
            NeedFigure {
                label: |case, _| format!("Room of {}, one sender: round trip, p50", clients(case)),
                page_label: |case, _| {
                    format!("round trip in a room of {}, one sender, p50", clients(case))
                },
                name: "p50_us",
                value: |run| run.get("p50_us"),
                unit: Unit::Micros,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: always,
            },
            NeedFigure {
                label: |_, _| "round trip, p99".to_owned(),
                page_label: |_, _| "round trip, p99".to_owned(),
                name: "p99_us",
                value: |run| run.get("p99_us"),
                unit: Unit::Micros,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: always,
            },
        ],
    },
    Need {
        name: "A big room",
        experiment: "fanout",
        case: WantedCase::Near(1000.0),
        figures: &[
            NeedFigure {
                label: |case, _| format!("Room of {}: deliveries/s", clients(case)),
                page_label: |case, _| format!("deliveries/s in a room of {}", clients(case)),
                name: "deliveries_per_s",
                value: |run| run.get("deliveries_per_s"),
                unit: Unit::PerSecond,
                better: Better::Larger,
                needs_fast_generator: true,
                applies: always,
            },
            NeedFigure {
                label: |_, _| "CPU per delivery".to_owned(),
                page_label: |_, _| "CPU per delivery".to_owned(),
                name: "server_cpu_us_per_delivery",
                value: |run| processor_time(run, "server_cpu_us_per_delivery"),
                unit: Unit::Micros,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: always,
            },
        ],
    },
    Need {
        name: "One core or several",
        experiment: "fanout",
        case: WantedCase::Near(1000.0),
        figures: &[NeedFigure {
            label: |case, cores| format!("Room of {}: cores used (of {cores})", clients(case)),
            page_label: |case, cores| {
                format!("cores used (of {cores}) in a room of {}", clients(case))
            },
            name: "server_cores_used",
            value: |run| Some(run.get("server_cpu_percent")? / 100.0),
            unit: Unit::Count,
            better: Better::Neither,
            needs_fast_generator: true,
            applies: |_, cores| cores > 1,
        }],
    },
    Need {
        name: "Slow consumers",
        experiment: "slow-consumer",
        case: WantedCase::Near(20.0),
        figures: &[
            NeedFigure {
                label: |_, _| "Slow consumer: delay of the others, p99".to_owned(),
                page_label: |case, _| format!("delay of the {} other clients, p99", clients(case)),
                name: "with_p99_us",
                value: |run| run.get("with_p99_us"),
                unit: Unit::Micros,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: always,
            },
            // A server that keeps nothing for a slow consumer may make the others wait, so less is not better.
            NeedFigure {
                label: |_, _| "memory for the slow consumer".to_owned(),
                page_label: |_, _| "memory for the slow consumer".to_owned(),
                name: "peak_growth_bytes",
                value: |run| run.get("peak_growth_bytes"),
                unit: Unit::Bytes,
                better: Better::Neither,
                needs_fast_generator: false,
                applies: always,
            },
        ],
    },
    Need {
        name: "Many short connections",
        experiment: "connections",
        case: WantedCase::Near(1.0),
        figures: &[
            NeedFigure {
                label: |case, _| format!("Connections a minute, {}", at_a_time(case)),
                page_label: |case, _| format!("connections a minute, {}", at_a_time(case)),
                name: "sessions_per_minute",
                value: sessions_per_minute,
                unit: Unit::PerSecond,
                better: Better::Larger,
                needs_fast_generator: true,
                applies: always,
            },
            NeedFigure {
                // Next to the five stages, a longer name needs a second line in a terminal with 80 columns.
                label: |_, _| format!("CPU for {}", grouped(MANY_CONNECTIONS)),
                page_label: |_, _| {
                    let many = grouped(MANY_CONNECTIONS);
                    format!("CPU for {many} connections a minute, in % of a core")
                },
                name: "core_percent_at_10000_per_minute",
                value: core_percent_at_many_connections,
                unit: Unit::Percent,
                better: Better::Smaller,
                needs_fast_generator: false,
                applies: always,
            },
        ],
    },
    Need {
        name: "Short connections with a silent client connected",
        experiment: "connections",
        case: WantedCase::Labelled(BESIDE_SILENT),
        figures: &[NeedFigure {
            // The rows above it say what is counted. A longer name needs a second line, as above.
            label: |_, _| "With a silent client".to_owned(),
            page_label: |_, _| {
                "connections a minute, one at a time, with a silent client connected".to_owned()
            },
            name: "sessions_per_minute_beside_silent",
            value: sessions_per_minute,
            unit: Unit::PerSecond,
            better: Better::Larger,
            needs_fast_generator: true,
            applies: always,
        }],
    },
];

fn always(_case: &Case, _cores: usize) -> bool {
    true
}

fn clients(case: &Case) -> String {
    grouped(case.clients)
}

/// Names the memory of [`MANY_CLIENTS`]: `measured`, or the number if it is extrapolated from fewer.
fn memory_of_many(measured: &str, case: &Case) -> String {
    if case.clients == MANY_CLIENTS {
        return measured.to_owned();
    }
    format!("memory of {}, extrapolated", grouped(MANY_CLIENTS))
}

/// Describes how many connections there are at the same time: `one at a time`, or the label of the case.
fn at_a_time(case: &Case) -> String {
    if case.clients == 1 { "one at a time".to_owned() } else { case.label.clone() }
}

/// Returns a processor time. Returns `None` if it is zero: it was then shorter than a tick of the kernel's clock,
/// 10 ms, so nothing was measured.
fn processor_time(run: &Figures, name: &str) -> Option<f64> {
    run.get(name).filter(|us| *us > 0.0)
}

fn bytes_for_many_clients(run: &Figures) -> Option<f64> {
    let before = run.get("resident_bytes_before")?;
    let each = run.get("bytes_per_client")?;
    Some(before + each * f64::from(MANY_CLIENTS))
}

fn sessions_per_minute(run: &Figures) -> Option<f64> {
    Some(run.get("sessions_per_s")? * 60.0)
}

fn core_percent_at_many_connections(run: &Figures) -> Option<f64> {
    let seconds_each = processor_time(run, "server_cpu_us_per_session")? / 1e6;
    Some(seconds_each * f64::from(MANY_CONNECTIONS) / 60.0 * 100.0)
}
