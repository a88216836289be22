//! The laboratory: measured comparisons of servers.
//!
//! An experiment is one file here and one row of [`EXPERIMENTS`]. It measures one server in one
//! [`Case`] at a time and gives [`Figures`]; everything else, the order of the runs, the medians,
//! the table, the page, is the same for all.

mod accounts;
mod broker;
mod chart;
mod churn;
pub mod connections;
mod cores;
mod data;
pub mod fanout;
mod figures;
mod frozen;
mod idle;
pub mod load;
mod machine;
mod markup;
mod outcome;
mod page;
pub mod process;
mod rate;
mod remarks;
mod roundtrip;
mod runner;
#[cfg(test)]
mod sample;
mod scale;
mod show;
mod subject;
mod table;
mod target;
mod units;
mod words;

use anyhow::Result;

pub use broker::{Broker, PROGRAM as BROKER};
pub use cores::Cores;
pub use data::data;
pub use figures::{Figures, Series, Spread};
pub use machine::{Machine, Others, load as system_load};
pub use outcome::{Case, Origin, Outcome, Results, Row};
pub use page::page;
pub use runner::{Session, Step, utc};
pub use show::{Chart, Column, Form, Unit};
pub use subject::{PEERS, Peer, STAGES, Stage, Subject};
pub use table::table;
pub use target::{Plan, Target, Tongue, Trade};

/// A question, how it is answered, and how the answer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Its name on the command line.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The question it answers, in one sentence.
    pub question: &'static str,
    /// What the table shows.
    pub columns: &'static [Column],
    /// What the page shows.
    pub charts: &'static [Chart],
    /// What to see in it: two sentences, with the figures that were found.
    pub see: fn(&Outcome) -> String,
    /// Its circumstances, from the smallest to the largest.
    pub cases: fn(Plan) -> Vec<Case>,
    /// What is the same in all cases: numbers, sizes, rates, in a sentence.
    pub setting: fn(Plan) -> String,
    /// Why it does not ask this of such a server in that case, if it does not.
    pub unsuited: fn(Trade, &Case) -> Option<&'static str>,
    /// Measures one server, which has just been started, in one case.
    pub measure: fn(&Target, &Case, Plan) -> Result<Figures>,
    /// Adds to the figures what follows only from all of them together.
    pub conclude: fn(&mut Outcome),
}

/// All experiments, in the order they run.
pub const EXPERIMENTS: &[&Experiment] = &[
    &idle::IDLE,
    &roundtrip::ROUNDTRIP,
    &fanout::FANOUT,
    &rate::RATE,
    &frozen::FROZEN,
    &connections::CONNECTIONS,
    &churn::CHURN,
];
