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
pub fn add(measurements: &mut [Measurement], experiment: &Experiment, servers: &[ServerSpec]) {
    for measurement in measurements.iter_mut().filter(|it| !it.runs.is_empty()) {
        let server = servers.iter().find(|it| it.name == measurement.server);
        if server.is_some_and(ServerSpec::is_in_tls) {
            measurement.add_note(NOTE_TLS);
        }
        note_generator_limit(measurement, experiment);
        if let Some(late) = measurement.median("generator_late_max_us").filter(|it| *it > LATE_US) {
            measurement
                .add_note(format!("the generator itself was up to {:.1} ms late", late / 1000.0));
        }
        if server.is_some_and(ServerSpec::needs_nats) {
            measurement.add_note(NatsServer::NOTE);
        }
    }
}

/// Returns how much the generator and the server used of a core, in percent, if the generator was the limit, and not
/// the server.
pub fn limiting_generator(
    measurement: &Measurement,
    experiment: &Experiment,
) -> Option<(f64, f64)> {
    let mut columns = experiment.columns.iter();
    let column = columns.find(|column| column.figure.starts_with("generator_"))?;
    let generator = measurement.median(column.figure)?;
    let server = measurement.median("server_cpu_percent").unwrap_or_default();
    (generator > WHOLE_CORE && server < WHOLE_CORE).then_some((generator, server))
}

/// Notes that the generator was the limit, and not the server.
fn note_generator_limit(measurement: &mut Measurement, experiment: &Experiment) {
    if let Some((generator, server)) = limiting_generator(measurement, experiment) {
        measurement.add_note(format!(
            "the generator was the limit: it used {generator:.0} % of its core, the server {server:.0} %"
        ));
    }
}
