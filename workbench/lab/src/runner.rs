//! Runs the experiments: a fresh server for each run, and the servers in turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};

use super::broker::NOT_COUNTED;
use super::process::Process;
use super::{Case, Cores, Experiment, Figures, Origin, Outcome, Plan, Row, Subject, Target};
use probe::{server, wait_until};

/// How often to look whether it was interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Session {
    /// The servers, in the order in which they are shown.
    pub subjects: Vec<Subject>,
    /// In the order in which they run.
    pub experiments: Vec<&'static Experiment>,
    /// How much of everything.
    pub plan: Plan,
    /// Runs of each server in each case.
    pub runs: usize,
    /// Who runs where.
    pub cores: Cores,
}

/// What happens in a session.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A run begins.
    Begins {
        /// How many were done or left out before.
        done: usize,
        /// Of which experiment.
        experiment: &'static Experiment,
        /// In which case.
        case: &'a Case,
        /// Of which server.
        server: &'a str,
        /// The first is 1.
        run: usize,
    },
    /// Something went wrong in the run that began last.
    Wrong(&'a str),
    /// An experiment has ended, be it by an interruption.
    Ended(&'a Outcome),
}

impl Session {
    /// How many runs there are.
    #[must_use]
    pub fn total(&self) -> usize {
        let suited = self.experiments.iter().map(|experiment| {
            let rows = self.rows(experiment);
            rows.iter().filter(|row| row.note.is_none()).count()
        });
        suited.sum::<usize>() * self.runs
    }

    /// Runs all, or until it is interrupted: then what there is is given, and the number of runs
    /// that were done.
    pub fn run(
        &self,
        is_interrupted: impl Fn() -> bool,
        mut tell: impl FnMut(Step<'_>),
    ) -> (Vec<Outcome>, usize) {
        let mut done = 0;
        let mut outcomes = Vec::new();
        for experiment in &self.experiments {
            let mut rows = self.rows(experiment);
            let mut goes_on = true;
            for case in &(experiment.cases)(self.plan) {
                goes_on = goes_on
                    && self.case(
                        experiment,
                        case,
                        &mut rows,
                        &mut done,
                        &is_interrupted,
                        &mut tell,
                    );
            }
            if !goes_on {
                note_missing(&mut rows);
            }
            let is_begun = rows.iter().any(|row| !row.runs.is_empty());
            if goes_on || is_begun {
                let setting = (experiment.setting)(self.plan);
                let mut outcome = Outcome { experiment, setting, rows };
                (experiment.conclude)(&mut outcome);
                let in_tls = self.subjects.iter().filter(|subject| subject.is_in_tls());
                in_tls.for_each(|subject| outcome.note_tls(&subject.name));
                outcome.note_limits();
                self.note_brokers(&mut outcome);
                tell(Step::Ended(&outcome));
                outcomes.push(outcome);
            }
            if !goes_on {
                break;
            }
        }
        (outcomes, done)
    }

    fn note_brokers(&self, outcome: &mut Outcome) {
        let of_broker = |row: &&mut Row| {
            let mut subjects = self.subjects.iter();
            !row.runs.is_empty() && subjects.any(|it| it.name == row.server && it.needs_broker())
        };
        for row in outcome.rows.iter_mut().filter(of_broker) {
            row.add_note(NOT_COUNTED.to_owned());
        }
    }

    /// A row for each server and case, nothing in it but why it is left out, if it is.
    fn rows(&self, experiment: &Experiment) -> Vec<Row> {
        let cases = (experiment.cases)(self.plan);
        let row = |subject: &Subject, case: &Case| Row {
            server: subject.name.clone(),
            origin: subject.origin,
            case: case.clone(),
            runs: Vec::new(),
            failure: None,
            note: left_out(subject, experiment, case),
        };
        let of_one = |subject| cases.iter().map(move |case| row(subject, case));
        self.subjects.iter().flat_map(of_one).collect()
    }

    /// All runs of one case, the servers taking turns, so that a moment in which the machine is busy
    /// does not hit one alone. Tells whether to go on.
    fn case(
        &self,
        experiment: &'static Experiment,
        case: &Case,
        rows: &mut [Row],
        done: &mut usize,
        is_interrupted: &impl Fn() -> bool,
        tell: &mut impl FnMut(Step<'_>),
    ) -> bool {
        for run in 1..=self.runs {
            for subject in &self.subjects {
                let is_its = |row: &&mut Row| row.server == subject.name && row.case == *case;
                let Some(row) = rows.iter_mut().find(is_its) else { continue };
                if row.runs.is_empty() && row.note.is_some() {
                    continue;
                }
                if row.runs.is_empty() && row.failure.is_some() {
                    *done += 1;
                    continue;
                }
                let server = &subject.name;
                tell(Step::Begins { done: *done, experiment, case, server, run });
                let measured = self.measure(subject, experiment, case, is_interrupted);
                if is_interrupted() {
                    return false;
                }
                *done += 1;
                match measured {
                    Ok(figures) => {
                        figures.faults.iter().for_each(|fault| tell(Step::Wrong(fault)));
                        row.runs.push(figures);
                    }
                    Err(err) => {
                        let failure = format!("run {run} of {} failed: {err:#}", self.runs);
                        tell(Step::Wrong(&failure));
                        row.failure.get_or_insert(failure);
                    }
                }
            }
        }
        true
    }

    /// One run, in a thread of its own, so that an interruption does not have to wait for its end.
    fn measure(
        &self,
        subject: &Subject,
        experiment: &'static Experiment,
        case: &Case,
        is_interrupted: &impl Fn() -> bool,
    ) -> Result<Figures> {
        let (sender, receiver) = channel();
        let (subject, case) = (subject.clone(), case.clone());
        let (cores, plan) = (self.cores.clone(), self.plan);
        let generator = thread::Builder::new().name("generator".to_owned());
        generator.spawn(move || {
            let measure = || once(&subject, experiment, &case, plan, &cores);
            let measured = catch_unwind(AssertUnwindSafe(measure));
            let _ = sender.send(measured.unwrap_or_else(|_| {
                Err(anyhow!("the load generator panicked: that is a mistake in tincan"))
            }));
        })?;
        loop {
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(measured) => return measured,
                Err(RecvTimeoutError::Timeout) if !is_interrupted() => {}
                Err(_) => return Err(anyhow!("interrupted")),
            }
        }
    }
}

/// After an interruption.
fn note_missing(rows: &mut [Row]) {
    let is_left = |row: &&mut Row| row.runs.is_empty() && !row.is_explained();
    for row in rows.iter_mut().filter(is_left) {
        row.note = Some("interrupted before its turn".to_owned());
    }
}

/// Why a server is not asked this, if it is not.
fn left_out(subject: &Subject, experiment: &Experiment, case: &Case) -> Option<String> {
    if let Some(why) = (experiment.unsuited)(subject.trade, case) {
        return Some(why.to_owned());
    }
    let ceiling = subject.ceiling.filter(|ceiling| {
        case.label.ends_with(" clients") && case.at > f64::from(ceiling.clients)
    })?;
    Some(format!("it takes {} clients at most: {}", ceiling.clients, ceiling.why))
}

/// Starts a server, measures it, and ends it.
fn once(
    subject: &Subject,
    experiment: &Experiment,
    case: &Case,
    plan: Plan,
    cores: &Cores,
) -> Result<Figures> {
    let (mut server, broker) = cores.on_servers(|| subject.start())?;
    let pid = server.pid().ok_or_else(|| anyhow!("the server has no process"))?;
    let process = match subject.origin {
        Origin::Ours | Origin::Peer => Process::new(pid),
        // It may have a process for each client.
        Origin::Mine => Process::group(pid),
    };
    come_to_rest(process)?;
    let target = Target { addr: server.addr(), trade: subject.trade, process };
    let measured = (experiment.measure)(&target, case, plan);
    let ended = server.wait(Duration::ZERO)?;
    let output = ended.map(|_| server.output());
    drop(server);
    drop(broker);
    let _ended_too = server::end_escaped();
    let (Some(status), Some(output)) = (ended, output) else { return measured };
    let last = output.lines().last().map(|line| format!(", {line}")).unwrap_or_default();
    let fault = format!("the server ended meanwhile ({status}{last})");
    match measured {
        Ok(mut figures) => {
            figures.faults.push(fault);
            Ok(figures)
        }
        Err(err) => Err(err.context(fault)),
    }
}

/// Waits until a server that has just begun to listen has done whatever else it does at first: what
/// it has then is what it has without clients.
fn come_to_rest(process: Process) -> Result<()> {
    const LOOKS: u32 = 5;
    const AT_MOST: Duration = Duration::from_secs(1);
    let look = || Some((process.threads().ok()?, process.descriptors().ok()?));
    let (mut seen, mut alike) = (None, 0);
    wait_until(AT_MOST, || {
        let now = look();
        alike = if now == seen { alike + 1 } else { 0 };
        seen = now;
        Ok(alike >= LOOKS)
    })?;
    Ok(())
}

/// A moment as people write it: `2026-11-21 09:29 UTC`.
#[must_use]
pub fn utc(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, minutes) = (seconds / 86_400, seconds / 60 % 1440);
    // Years begin in March, so that the day that may be missing is the last; 400 of them make an era.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_795_253_340), "2026-11-21 09:29 UTC");
    }
}
