//! The table of needs: what an engineer asks before choosing a design, and the figures that answer it.
//!
//! A new row is an entry here: its experiment, its case, its figure. All cells are measured figures of the run.

use super::super::case::{Case, grouped};
use super::super::experiments::BESIDE_SILENT;
use super::super::figures::Figures;
use super::super::units::Unit;

/// The number of clients to which the memory is scaled up.
pub const MANY_CLIENTS: u32 = 5000;

/// The connections a minute to which the processor time is scaled.
const MANY_CONNECTIONS: u32 = 10_000;

/// Something that a server has to be good at.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// What it is, in words: `Many idle clients`.
    pub name: &'static str,
    /// The experiment that measures it.
    pub experiment: &'static str,
    /// The figures that answer it, one row each.
    pub figures: &'static [NeedFigure],
}

/// A figure that answers a need.
#[derive(Clone, Copy, Debug)]
pub struct NeedFigure {
    /// The name of the row in a terminal. The first one of a need says which need it is; the others are indented.
    pub label: Words,
    /// The name of the row on the page, below the name of the need.
    pub words: Words,
    /// The name of the figure in `data.json`, which ends with its unit.
    pub name: &'static str,
    /// The case in which it is measured.
    pub case: WantedCase,
    /// Returns the figure of one run.
    pub value: fn(&Figures) -> Option<f64>,
    /// How it is written.
    pub unit: Unit,
    /// Whether a small or a large number is good.
    pub better: Better,
    /// Whether the server may be able to do more where the load generator was the limit.
    pub is_rate: bool,
}

/// Returns a text for the measured case, and for the number of cores that the server had.
pub type Words = fn(&Case, usize) -> String;

/// The case that suits a need.
#[derive(Clone, Copy, Debug)]
pub enum WantedCase {
    /// The case with about this number. Of the cases with figures of the most servers, the nearest is taken.
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
        figures: &[
            NeedFigure {
                label: |case, _| format!("{} idle clients: memory each", clients(case)),
                words: |case, _| format!("memory for each of {} clients", clients(case)),
                name: "bytes_per_client",
                case: WantedCase::Near(1000.0),
                value: |run| run.get("bytes_per_client"),
                unit: Unit::Bytes,
                better: Better::Smaller,
                is_rate: false,
            },
            NeedFigure {
                label: |_, _| format!("{} would need", grouped(MANY_CLIENTS)),
                words: |_, _| format!("memory for {} clients, scaled up", grouped(MANY_CLIENTS)),
                name: "bytes_for_5000_clients",
                case: WantedCase::Near(1000.0),
                value: bytes_for_many_clients,
                unit: Unit::Bytes,
                better: Better::Smaller,
                is_rate: false,
            },
        ],
    },
    Need {
        name: "A small room that must be fast",
        experiment: "roundtrip",
        figures: &[
            NeedFigure {
                label: |case, _| format!("Room of {}: round trip, median", clients(case)),
                words: |case, _| format!("round trip in a room of {}, median", clients(case)),
                name: "p50_us",
                case: WantedCase::Near(50.0),
                value: |run| run.get("p50_us"),
                unit: Unit::Micros,
                better: Better::Smaller,
                is_rate: false,
            },
            NeedFigure {
                label: |_, _| "99th percentile".to_owned(),
                words: |_, _| "round trip, 99th percentile".to_owned(),
                name: "p99_us",
                case: WantedCase::Near(50.0),
                value: |run| run.get("p99_us"),
                unit: Unit::Micros,
                better: Better::Smaller,
                is_rate: false,
            },
        ],
    },
    Need {
        name: "A big room",
        experiment: "fanout",
        figures: &[
            NeedFigure {
                label: |case, _| format!("Room of {}: copies a second", clients(case)),
                words: |case, _| format!("copies a second in a room of {}", clients(case)),
                name: "deliveries_per_s",
                case: WantedCase::Near(1000.0),
                value: |run| run.get("deliveries_per_s"),
                unit: Unit::PerSecond,
                better: Better::Larger,
                is_rate: true,
            },
            NeedFigure {
                label: |_, _| "processor time for a copy".to_owned(),
                words: |_, _| "processor time for a copy".to_owned(),
                name: "server_cpu_us_per_delivery",
                case: WantedCase::Near(1000.0),
                value: |run| processor_time(run, "server_cpu_us_per_delivery"),
                unit: Unit::Micros,
                better: Better::Smaller,
                is_rate: false,
            },
        ],
    },
    Need {
        name: "One core or several",
        experiment: "fanout",
        figures: &[NeedFigure {
            label: |case, cores| format!("Room of {}: cores used, of {cores}", clients(case)),
            words: |case, cores| format!("cores used, of {cores}, in a room of {}", clients(case)),
            name: "server_cores_used",
            case: WantedCase::Near(1000.0),
            value: |run| Some(run.get("server_cpu_percent")? / 100.0),
            unit: Unit::Count,
            better: Better::Neither,
            is_rate: false,
        }],
    },
    Need {
        name: "Slow readers",
        experiment: "slow-consumer",
        figures: &[
            NeedFigure {
                label: |_, _| "Slow reader: others' delay, p99".to_owned(),
                words: |case, _| format!("delay of {} others, 99th percentile", clients(case)),
                name: "with_p99_us",
                case: WantedCase::Near(20.0),
                value: |run| run.get("with_p99_us"),
                unit: Unit::Micros,
                better: Better::Smaller,
                is_rate: false,
            },
            NeedFigure {
                label: |_, _| "memory that it takes".to_owned(),
                words: |_, _| "memory that the slow reader takes".to_owned(),
                name: "peak_growth_bytes",
                case: WantedCase::Near(20.0),
                value: |run| run.get("peak_growth_bytes"),
                unit: Unit::Bytes,
                better: Better::Smaller,
                is_rate: false,
            },
        ],
    },
    Need {
        name: "Many short connections",
        experiment: "connections",
        figures: &[
            NeedFigure {
                label: |case, _| format!("Connections a minute, {}", case.label),
                words: |case, _| format!("connections a minute, {}", case.label),
                name: "sessions_per_minute",
                case: WantedCase::Near(1.0),
                value: sessions_per_minute,
                unit: Unit::PerSecond,
                better: Better::Larger,
                is_rate: true,
            },
            NeedFigure {
                label: |_, _| format!("core use at {}", grouped(MANY_CONNECTIONS)),
                words: |_, _| format!("share of a core for {} a minute", grouped(MANY_CONNECTIONS)),
                name: "core_percent_at_10000_per_minute",
                case: WantedCase::Near(1.0),
                value: core_percent_at_many_connections,
                unit: Unit::Percent,
                better: Better::Smaller,
                is_rate: false,
            },
            NeedFigure {
                label: |_, _| "beside a silent one".to_owned(),
                words: |_, _| "connections a minute beside a silent client".to_owned(),
                name: "sessions_per_minute_beside_silent",
                case: WantedCase::Labelled(BESIDE_SILENT),
                value: sessions_per_minute,
                unit: Unit::PerSecond,
                better: Better::Larger,
                is_rate: true,
            },
        ],
    },
];

fn clients(case: &Case) -> String {
    grouped(case.clients)
}

/// Returns a processor time, unless it is zero: it was then shorter than a tick of the kernel's clock, 10 ms, so nothing
/// was measured.
fn processor_time(run: &Figures, name: &str) -> Option<f64> {
    run.get(name).filter(|us| *us > 0.0)
}

fn bytes_for_many_clients(run: &Figures) -> Option<f64> {
    let (before, each) = (run.get("resident_bytes_before")?, run.get("bytes_per_client")?);
    Some(before + each * f64::from(MANY_CLIENTS))
}

fn sessions_per_minute(run: &Figures) -> Option<f64> {
    Some(run.get("sessions_per_s")? * 60.0)
}

fn core_percent_at_many_connections(run: &Figures) -> Option<f64> {
    let seconds_each = processor_time(run, "server_cpu_us_per_session")? / 1e6;
    Some(seconds_each * f64::from(MANY_CONNECTIONS) / 60.0 * 100.0)
}
