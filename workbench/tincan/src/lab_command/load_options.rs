//! The options that change the load.

use std::time::Duration;

use lab::{Experiment, LoadOption, Settings};

/// Options that change the load. Without them, each experiment uses its own numbers.
#[derive(clap::Args)]
#[command(next_help_heading = "Load (by default, each experiment has numbers of its own)")]
pub struct LoadOptions {
    /// Numbers of clients, separated by commas (idle, roundtrip, fanout, slow-consumer)
    #[arg(long, value_name = "N", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: Option<Vec<u32>>,
    /// Numbers of echo sessions at the same time, separated by commas (connections)
    #[arg(long, value_name = "K", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    at_once: Option<Vec<u32>>,
    /// How many of the clients send (fanout, rate, slow-consumer)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    senders: Option<u16>,
    /// Bytes of a message with its ending (all but idle, connections and churn)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    size: Option<u32>,
    /// How long one run measures (roundtrip, fanout, rate, connections); with --addr, 3 by default
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// How long messages are sent before measuring begins (fanout); with --addr, 0.5 by default
    #[arg(long, value_name = "S", value_parser = seconds)]
    warm_up: Option<Duration>,
    /// Bytes that each sender may be ahead of the slowest reader (fanout)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    const MOST: f64 = 3600.0;
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.0..=MOST).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("expected 0 to {MOST} seconds"))
    }
}

impl LoadOptions {
    /// Returns the settings of all experiments.
    pub fn settings(&self, is_quick: bool) -> Settings {
        Settings {
            is_quick,
            clients: self.clients.clone(),
            at_once: self.at_once.clone(),
            senders: self.senders.map(usize::from),
            size: self.size.map(|bytes| bytes as usize),
            time: self.seconds,
            warm_up: self.warm_up,
            window: self.window.map(|bytes| bytes as usize),
        }
    }

    /// Returns the settings for a server that runs already. There is one run of each case, so it is longer.
    pub fn settings_by_hand(&self, is_quick: bool) -> Settings {
        let mut settings = self.settings(is_quick);
        if !is_quick {
            settings.time.get_or_insert(Duration::from_secs(3));
            settings.warm_up.get_or_insert(Duration::from_millis(500));
        }
        settings
    }
}

/// Checks that each option changes at least one of the experiments.
pub fn check(settings: &Settings, experiments: &[&Experiment]) -> Result<(), String> {
    let changes_none =
        |option: &LoadOption| experiments.iter().all(|it| !it.options.contains(option));
    match settings.given().into_iter().find(changes_none) {
        Some(option) => {
            let ids: Vec<_> = experiments.iter().map(|experiment| experiment.id).collect();
            Err(format!("{} does not change {}", option.name(), ids.join(", ")))
        }
        None => Ok(()),
    }
}
