//! Runs the experiments: a new server for each run, and the servers in turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::case::{Case, grouped};
use super::cores::Cores;
use super::experiment::{Experiment, Settings};
use super::figures::Figures;
use super::measured_server::MeasuredServer;
use super::measurement::Measurement;
use super::notes;
use super::origin::Origin;
use super::process::Process;
use super::results::ExperimentResult;
use super::servers::ServerSpec;
use probe::{server, wait_until};

/// How often to check for an interruption.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Everything that is to be measured.
#[derive(Clone, Debug)]
pub struct LabRun {
    /// The servers, in the order in which they are shown.
    pub servers: Vec<ServerSpec>,
    /// The experiments, in the order in which they run.
    pub experiments: Vec<&'static Experiment>,
    /// How large the experiments are.
    pub settings: Settings,
    /// Runs of each server in each case.
    pub runs: usize,
    /// The cores of the servers and of the generator.
    pub cores: Cores,
}

/// A step of the measurements, for a progress display.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A run begins.
    Begins {
        /// How many runs were done or skipped before.
        done: usize,
        /// The experiment.
        experiment: &'static Experiment,
        /// The case.
        case: &'a Case,
        /// The server.
        server: &'a str,
        /// The number of the run; the first one is 1.
        run: usize,
    },
    /// Something was wrong in the run that began last.
    Fault(&'a str),
    /// An experiment has ended, or was interrupted.
    Ended(&'a ExperimentResult),
}

impl LabRun {
    /// Returns how many runs there are.
    #[must_use]
    pub fn total(&self) -> usize {
        let runs = self.experiments.iter().map(|experiment| {
            let measurements = self.empty_measurements(experiment);
            measurements.iter().filter(|it| it.not_measured.is_none()).count()
        });
        runs.sum::<usize>() * self.runs
    }

    /// Does all runs, or stops when it is interrupted. Returns the results so far, and the number of runs
    /// that were done or skipped.
    pub fn measure(
        &self,
        is_interrupted: impl Fn() -> bool,
        report: impl FnMut(Step<'_>),
    ) -> (Vec<ExperimentResult>, usize) {
        let mut runner = Runner { lab: self, is_interrupted, report, done: 0 };
        let mut results = Vec::new();
        for experiment in &self.experiments {
            let (result, is_complete) = runner.measure_experiment(experiment);
            results.extend(result);
            if !is_complete {
                break;
            }
        }
        (results, runner.done)
    }

    /// Returns a measurement without runs for each server and case. It has a reason where the server is not
    /// measured.
    fn empty_measurements(&self, experiment: &Experiment) -> Vec<Measurement> {
        let cases = (experiment.cases)(&self.settings);
        let measurement = |server: &ServerSpec, case: &Case| Measurement {
            server: server.name.clone(),
            origin: server.origin,
            case: case.clone(),
            runs: Vec::new(),
            failure: None,
            not_measured: not_measured(server, experiment, case),
            note: None,
        };
        let of_server = |server| cases.iter().map(move |case| measurement(server, case));
        self.servers.iter().flat_map(of_server).collect()
    }

    /// Does one run in a thread of its own, so that an interruption does not have to wait for its end.
    fn measure_once(
        &self,
        spec: &ServerSpec,
        experiment: &'static Experiment,
        case: &Case,
        is_interrupted: &impl Fn() -> bool,
    ) -> Result<Figures> {
        let (sender, receiver) = channel();
        let (spec, case) = (spec.clone(), case.clone());
        let (cores, settings) = (self.cores.clone(), self.settings.clone());
        let generator = thread::Builder::new().name("generator".to_owned());
        generator.spawn(move || {
            let measure = || start_and_measure(&spec, experiment, &case, &settings, &cores);
            let measured = catch_unwind(AssertUnwindSafe(measure));
            // The receiver is gone after an interruption.
            let _ = sender.send(measured.unwrap_or_else(|_| {
                Err(anyhow!("the load generator panicked: this is a mistake in tincan"))
            }));
        })?;
        loop {
            match receiver.recv_timeout(CHECK_EVERY) {
                Ok(measured) => return measured,
                Err(RecvTimeoutError::Timeout) if !is_interrupted() => {}
                Err(_) => return Err(anyhow!("interrupted")),
            }
        }
    }
}

/// Does the runs one after the other, counts them and reports them.
struct Runner<'a, I, R> {
    lab: &'a LabRun,
    is_interrupted: I,
    report: R,
    /// How many runs were done or skipped so far.
    done: usize,
}

impl<I: Fn() -> bool, R: FnMut(Step<'_>)> Runner<'_, I, R> {
    /// Measures one experiment in all its cases. Returns the result, and false after an interruption. There is no
    /// result if the interruption came before the first figures.
    fn measure_experiment(
        &mut self,
        experiment: &'static Experiment,
    ) -> (Option<ExperimentResult>, bool) {
        let settings = &self.lab.settings;
        let mut measurements = self.lab.empty_measurements(experiment);
        let cases = (experiment.cases)(settings);
        let is_complete =
            cases.iter().all(|case| self.measure_case(experiment, case, &mut measurements));
        if !is_complete {
            note_interruption(&mut measurements);
            if measurements.iter().all(|it| it.runs.is_empty()) {
                return (None, false);
            }
        }
        (experiment.conclude)(&mut measurements);
        let server_cores = self.lab.cores.server_count();
        notes::add(&mut measurements, experiment, &self.lab.servers, server_cores);
        let result =
            ExperimentResult { experiment, setting: (experiment.setting)(settings), measurements };
        (self.report)(Step::Ended(&result));
        (Some(result), is_complete)
    }

    /// Measures one case. The servers take turns, so that a moment in which the machine is busy does not
    /// affect one server alone. Returns false after an interruption.
    fn measure_case(
        &mut self,
        experiment: &'static Experiment,
        case: &Case,
        measurements: &mut [Measurement],
    ) -> bool {
        for run in 1..=self.lab.runs {
            for spec in &self.lab.servers {
                let server = &spec.name;
                let is_wanted = |it: &&mut Measurement| it.server == *server && it.case == *case;
                let Some(measurement) = measurements.iter_mut().find(is_wanted) else { continue };
                if measurement.not_measured.is_some() {
                    continue;
                }
                if measurement.runs.is_empty() && measurement.failure.is_some() {
                    self.done += 1;
                    continue; // the first run failed, so the others are skipped
                }
                (self.report)(Step::Begins { done: self.done, experiment, case, server, run });
                let figures = self.lab.measure_once(spec, experiment, case, &self.is_interrupted);
                if (self.is_interrupted)() {
                    return false;
                }
                self.done += 1;
                match figures {
                    Ok(figures) => {
                        figures.faults.iter().for_each(|fault| (self.report)(Step::Fault(fault)));
                        measurement.runs.push(figures);
                    }
                    Err(err) => {
                        let failure = format!("run {run} of {} failed: {err:#}", self.lab.runs);
                        (self.report)(Step::Fault(&failure));
                        measurement.failure.get_or_insert(failure);
                    }
                }
            }
        }
        true
    }
}

/// Adds the reason to each measurement that an interruption has prevented.
fn note_interruption(measurements: &mut [Measurement]) {
    let was_not_run = |it: &&mut Measurement| it.runs.is_empty() && it.failure.is_none();
    for measurement in measurements.iter_mut().filter(was_not_run) {
        measurement.not_measured.get_or_insert_with(|| "interrupted before its turn".to_owned());
    }
}

/// Returns the reason why a server is not measured in a case.
fn not_measured(server: &ServerSpec, experiment: &Experiment, case: &Case) -> Option<String> {
    if let Some(why) = (experiment.unsuited)(server.protocol, case) {
        return Some(why.to_owned());
    }
    let limit = server.limit.filter(|limit| case.clients > limit.clients)?;
    Some(format!("it takes {} clients at most: {}", grouped(limit.clients), limit.why))
}

/// Starts a server, measures it, and ends it.
fn start_and_measure(
    spec: &ServerSpec,
    experiment: &Experiment,
    case: &Case,
    settings: &Settings,
    cores: &Cores,
) -> Result<Figures> {
    let (mut server, nats) = cores.start_on_server(|| spec.start())?;
    let pid = server.pid().ok_or_else(|| anyhow!("the server has no process"))?;
    let process = match spec.origin {
        Origin::Project | Origin::Peer => Process::new(pid),
        // A server of the user may start a process for each client.
        Origin::User => Process::group(pid),
    };
    wait_until_idle(process)?;
    let measured =
        MeasuredServer { addr: server.addr(), protocol: spec.protocol, process: Some(process) };
    let figures = (experiment.measure)(&measured, case, settings);
    let ended = server.wait(Duration::ZERO)?;
    let output = ended.map(|_| server.last_output());
    drop(server);
    drop(nats);
    // Ends processes of the server that have left its group, too.
    let _names = server::end_orphans();
    let (Some(status), Some(output)) = (ended, output) else { return figures };
    let last = output.lines().last().map(|line| format!(", {line}")).unwrap_or_default();
    let fault = format!("the server ended during the run ({status}{last})");
    match figures {
        Ok(mut figures) => {
            figures.faults.push(fault);
            Ok(figures)
        }
        Err(err) => Err(err.context(fault)),
    }
}

/// Waits until a server that has just begun to listen has started all its threads: its resources are then
/// the resources that it has without clients.
fn wait_until_idle(process: Process) -> Result<()> {
    const UNCHANGED: u32 = 5;
    const LIMIT: Duration = Duration::from_secs(1);
    let look = || Some((process.threads().ok()?, process.descriptors().ok()?));
    let (mut last, mut unchanged) = (None, 0);
    wait_until(LIMIT, || {
        let now = look();
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        Ok(unchanged >= UNCHANGED)
    })?;
    Ok(())
}
