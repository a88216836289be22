//! The experiments, one in each file.
//!
//! To add one: write its file, with a constant of the type [`Experiment`] and the functions that it
//! names, and add a row to [`EXPERIMENTS`].

mod churn;
mod connections;
mod fanout;
mod idle;
mod rate;
mod roundtrip;
mod slow_consumer;

use super::experiment::Experiment;
pub use connections::BESIDE_SILENT;

/// All experiments, in the order in which they run.
pub const EXPERIMENTS: &[&Experiment] = &[
    &idle::IDLE,
    &roundtrip::ROUNDTRIP,
    &fanout::FANOUT,
    &rate::RATE,
    &slow_consumer::SLOW_CONSUMER,
    &connections::CONNECTIONS,
    &churn::CHURN,
];
