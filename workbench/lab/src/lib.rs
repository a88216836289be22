//! The laboratory: measures servers and compares them.
//!
//! | file | subject |
//! |---|---|
//! | `experiments/` | the experiments, one in each file, and their table |
//! | `experiment.rs` | the parts of an experiment; the settings that the command line changes |
//! | `load/` | the load generator |
//! | `servers/`, `origin.rs` | the servers that can be measured, where they come from, and how they are started |
//! | `protocol.rs`, `measured_server.rs` | the protocols; a server that runs, as an experiment sees it |
//! | `run.rs` | runs the experiments: a new server for each run, the servers in turns |
//! | `report/` | the table, the page and `data.json` |
//! | `answers/` | the table that answers an engineer's questions first |
//! | `results.rs`, `measurement.rs`, `figures.rs`, `case.rs` | what was measured |
//! | `notes.rs` | notes on the figures: what a reader has to know before comparing them |
//! | `cores.rs`, `machine.rs`, `process.rs` | cores, machine, and the server's process |
//! | `units.rs`, `date.rs` | how numbers and dates are written |
//! | `sample.rs` | made-up results, for tests |
//!
//! An experiment measures one server in one [`Case`] at a time and returns [`Figures`]. The order of the
//! runs, the medians, the table and the page are the same for all experiments.

mod answers;
mod case;
mod cores;
mod date;
mod experiment;
mod experiments;
mod figures;
mod load;
mod machine;
mod measured_server;
mod measurement;
mod notes;
mod origin;
mod process;
mod protocol;
mod report;
mod results;
mod run;
#[cfg(test)]
mod sample;
mod servers;
mod text;
mod units;

pub use case::Case;
pub use cores::Cores;
pub use date::utc;
pub use experiment::{Chart, Column, Experiment, LoadOption, Mark, Settings};
pub use experiments::EXPERIMENTS;
pub use figures::{Figures, Series, Spread};
pub use machine::{Machine, OtherPrograms, system_load};
pub use measured_server::MeasuredServer;
pub use measurement::Measurement;
pub use origin::Origin;
pub use process::Process;
pub use protocol::Protocol;
pub use report::{answers_table, data, page, table};
pub use results::{ExperimentResult, ListedServer, Results};
pub use run::{LabRun, Step};
pub use servers::{
    ClientLimit, NatsServer, PEERS, PROJECT_SERVERS, Peer, ProjectServer, ServerSpec, recognize,
    user_server,
};
pub use units::Unit;
