//! Notes on measurements: what a reader has to know before comparing the figures.

use super::experiment::Experiment;
use super::measurement::Measurement;
use super::servers::{NatsServer, ServerSpec};

const NOTE_TLS: &str = "inside TLS: the generator does the handshakes and decrypts, and the time that \
                        this takes is part of the figures";

/// From this share of a core on, in percent, the generator has no time left.
const WHOLE_CORE: f64 = 90.0;

/// How late the generator may send, in microseconds.
const LATE_US: f64 = 1000.0;

/// Adds all notes to the measurements of one experiment.
pub fn add(
    measurements: &mut [Measurement],
    experiment: &Experiment,
    servers: &[ServerSpec],
    server_cores: usize,
) {
    for measurement in measurements.iter_mut().filter(|it| !it.runs.is_empty()) {
        let server = servers.iter().find(|it| it.name == measurement.server);
        if server.is_some_and(ServerSpec::is_in_tls) {
            measurement.add_note(NOTE_TLS);
        }
        note_generator_limit(measurement, experiment, server_cores);
        if let Some(late) = measurement.median("generator_late_max_us").filter(|it| *it > LATE_US) {
            measurement
                .add_note(format!("the generator itself was up to {:.1} ms late", late / 1000.0));
        }
        if server.is_some_and(ServerSpec::needs_nats) {
            measurement.add_note(NatsServer::NOTE);
        }
    }
}

/// How busy the load generator was when it may have limited a rate, in percent of one core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeneratorLimit {
    /// How much the generator used of its core.
    pub generator_percent: f64,
    /// How much the server used, if that is known.
    pub server_percent: Option<f64>,
}

/// Returns how busy the generator was, if it may have limited the rate. Returns `None` if it had time left, or if the
/// server used all of its cores and so was the limit.
///
/// If the server had several cores and used only some of them, nothing shows whether it could have used more: a server
/// with one thread could not.
#[expect(clippy::cast_precision_loss, reason = "a number of cores")]
pub fn generator_limit(
    measurement: &Measurement,
    experiment: &Experiment,
    server_cores: usize,
) -> Option<GeneratorLimit> {
    let mut columns = experiment.columns.iter();
    let column = columns.find(|column| column.figure.starts_with("generator_"))?;
    let generator_percent = measurement.median(column.figure)?;
    let server_percent = measurement.median("server_cpu_percent");
    let all_cores = WHOLE_CORE * server_cores as f64;
    let has_server_time = server_percent.is_none_or(|it| it < all_cores);
    let may_be_limit = generator_percent > WHOLE_CORE && has_server_time;
    may_be_limit.then_some(GeneratorLimit { generator_percent, server_percent })
}

/// Notes that the generator was the limit, or may have been.
fn note_generator_limit(
    measurement: &mut Measurement,
    experiment: &Experiment,
    server_cores: usize,
) {
    let Some(limit) = generator_limit(measurement, experiment, server_cores) else { return };
    let server = limit.server_percent.map(|percent| format!(", the server {percent:.0} %"));
    let was = if server_cores == 1 { "was" } else { "may have been" };
    measurement.add_note(format!(
        "the generator {was} the limit: it used {:.0} % of its core{}",
        limit.generator_percent,
        server.unwrap_or_default()
    ));
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::super::sample;
    use super::*;

    /// Returns the note on a server that used this share of its cores, while the generator used 96 %.
    fn note(server_percent: Option<f64>, server_cores: usize) -> Option<String> {
        let result = sample::result("fanout");
        let mut measurement =
            result.measurements.into_iter().find(|it| it.server == "chat-poll")?;
        let mut run = Figures::default();
        run.add("generator_cpu_percent", 96.0);
        if let Some(percent) = server_percent {
            run.add("server_cpu_percent", percent);
        }
        measurement.runs = vec![run];
        note_generator_limit(&mut measurement, result.experiment, server_cores);
        measurement.note
    }

    #[test]
    fn the_limit_is_the_generator_unless_the_server_used_its_cores() {
        let said = |was| format!("the generator {was} the limit: it used 96 % of its core");
        assert_eq!(note(Some(99.0), 1), None);
        assert_eq!(note(Some(40.0), 1), Some(said("was") + ", the server 40 %"));
        assert_eq!(note(Some(198.0), 2), None);
        assert_eq!(note(Some(130.0), 2), Some(said("may have been") + ", the server 130 %"));
        assert_eq!(note(None, 1), Some(said("was")));
    }
}
