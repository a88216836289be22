//! Runs the checks that apply to a server's profile: each once, after the checks that it depends on.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::bench::Bench;
use crate::{
    AddressFormat, Check, Finding, Judgement, Profile, Requirement, ServerUnderTest, Source, TABLE,
    Theme, Verdict,
};
use probe::Failure;
use probe::server::{StartError, end_orphans};
use probe::tls::TlsSettings;
use watch::is_possible;

/// The result of one check.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The server met the requirement: it passed the check, or it failed a check that its profile must fail.
    Passed,
    /// The server failed. If the failure is a timeout, the check failed in every try.
    Failed(Box<Finding>),
    /// Some tries failed and others passed, or the check could not decide.
    Undecided(String),
    /// The check was not run: a check that it depends on failed, or the machine or the server does not meet
    /// its needs.
    NotRun(String),
    /// The check does not apply to the TLS version that the server uses.
    NotApplicable(&'static str),
}

/// The results of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The selected checks, in the order of the table, each with its result and duration.
    pub rows: Vec<(Check, Outcome, Duration)>,
    /// The round trip that was measured before the first check.
    pub round_trip: Option<Duration>,
    /// Other observations, such as processes that the server left behind.
    pub notes: Vec<String>,
    /// The duration of the whole run.
    pub took: Duration,
}

impl Report {
    /// Counts the outcomes of a kind.
    pub fn count(&self, matches: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|(_, outcome, _)| matches(outcome)).count()
    }

    /// Returns the exit code: 0 if some checks passed and none failed or is undecided; 1 if some failed;
    /// otherwise 2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.count(|it| matches!(it, Outcome::Failed(_))) > 0 {
            1
        } else if self.count(|it| matches!(it, Outcome::Undecided(_))) > 0
            || self.count(|it| matches!(it, Outcome::Passed)) == 0
        {
            2
        } else {
            0
        }
    }
}

/// How many times in a row a check must time out before it counts as failed: on a busy machine, the answer of
/// a right server may come too late once.
pub const TRIES: u8 = 3;

/// What happens during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A check begins.
    Begins {
        /// The check.
        check: &'a Check,
        /// How many checks have begun, this one included.
        number: usize,
        /// How many checks there are.
        total: usize,
    },
    /// A check has failed.
    Failed {
        /// The check.
        check: &'a Check,
        /// How it failed.
        finding: &'a Finding,
    },
    /// A check has its result, or it was left out.
    Ended {
        /// The check.
        check: &'a Check,
        /// The result.
        outcome: &'a Outcome,
        /// The duration of the check, without the checks that it depends on.
        took: Duration,
    },
}

/// Runs the checks that apply to the profile and that `wanted` selects; calls `on_event` at each event. If that
/// returns [`ControlFlow::Break`], no other check begins, and the report has only the checks that have ended.
///
/// A check that fails because something comes too late is tried up to `tries` times.
///
/// # Errors
///
/// Returns [`StartError`] if the server did not start, at the first check or at a later one.
pub fn run_checks(
    mut server: ServerUnderTest,
    wanted: impl Fn(&Check) -> bool,
    tries: u8,
    mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Report, StartError> {
    let begin = Instant::now();
    let mut notes = Vec::new();
    let mut measured = measure_round_trip(&server)?;
    if matches!(&measured, RoundTrip::WrongAnswer(answer) if answer.starts_with(b"('")) {
        let with_tuples =
            ServerUnderTest { address_format: AddressFormat::PythonTuple, ..server.clone() };
        let again = measure_round_trip(&with_tuples)?;
        if matches!(again, RoundTrip::Measured(_)) {
            (server, measured) = (with_tuples, again);
            notes.push(PYTHON_TUPLE_NOTE.to_owned());
        }
    }
    let round_trip = match measured {
        RoundTrip::Measured(time) => Some(time),
        RoundTrip::WrongAnswer(_) => None,
    };
    server.patience = patience(round_trip, server.patience);
    let on_event = &mut on_event;
    let mut run = Run { server, tries, done: HashMap::new(), notes, on_event, is_stopped: false };
    let asked = |check: &&Check| check.requirement(run.server.profile) != Requirement::None;
    let rows: Vec<_> = TABLE.iter().filter(asked).filter(|check| wanted(check)).collect();
    for check in &rows {
        run.run_after_dependencies(check, &rows)?;
    }
    let Run { mut done, mut notes, server, .. } = run;
    notes.extend(server.tls.iter().flat_map(TlsSettings::notes));
    let rows = rows
        .into_iter()
        .filter_map(|check| done.remove(check.id).map(|(it, took)| (*check, it, took)))
        .collect();
    Ok(Report { rows, round_trip, notes, took: begin.elapsed() })
}

/// Returns the ids of a check and of all checks that it depends on, as far as they apply to the profile.
#[must_use]
pub fn with_dependencies(profile: Profile, id: &str) -> HashSet<&'static str> {
    let asked: Vec<_> =
        TABLE.iter().filter(|check| check.requirement(profile) != Requirement::None).collect();
    let mut found = HashSet::new();
    let is_it = |check: &&&Check| check.id == id;
    let mut pending: Vec<_> = asked.iter().find(is_it).map(|check| check.id).into_iter().collect();
    while let Some(id) = pending.pop() {
        if let Some(check) = asked.iter().find(|check| check.id == id)
            && found.insert(check.id)
        {
            pending.extend(check.dependencies(profile));
        }
    }
    found
}

/// The note about a server that writes addresses as Python tuples.
const PYTHON_TUPLE_NOTE: &str = "the server writes a client's address as Python prints a tuple, ('127.0.0.1', 50312). The \
                      protocol requires 127.0.0.1:50312. The checks accept both.";

/// The result of a few exchanges before the first check.
enum RoundTrip {
    /// The median time of an exchange.
    Measured(Duration),
    /// The bytes of an answer that is wrong. They are empty if there was no answer.
    WrongAnswer(Vec<u8>),
}

/// Measures the time of a few exchanges with a server.
fn measure_round_trip(server: &ServerUnderTest) -> Result<RoundTrip, StartError> {
    const EXCHANGES: usize = 5;
    let bench = Bench::new(server.clone(), "round-trip");
    let measured = (|| {
        let server = bench.start_server()?;
        let mut times = Vec::new();
        for _ in 0..EXCHANGES {
            let mut client = bench.connect(&server)?;
            let begin = Instant::now();
            bench.exchange(&mut client, "how long does it take?")?;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        anyhow::Ok(times[EXCHANGES / 2])
    })();
    match measured.map_err(anyhow::Error::downcast::<StartError>) {
        Ok(time) => Ok(RoundTrip::Measured(time)),
        Err(Ok(not_started)) => Err(not_started),
        // The checks will report the wrong answer.
        Err(Err(err)) => {
            let failure = err.downcast::<Failure>().ok();
            let answer = failure.and_then(|it| it.got.bytes).unwrap_or_default();
            Ok(RoundTrip::WrongAnswer(answer))
        }
    }
}

/// The shortest time that a check waits for an event.
pub const LEAST_PATIENCE: Duration = Duration::from_secs(3);

/// Returns how long a check waits for an event: 1,000 round trips, but at least `at_least`.
fn patience(round_trip: Option<Duration>, at_least: Duration) -> Duration {
    let scaled = round_trip.unwrap_or_default() * 1000;
    scaled.clamp(at_least, at_least.max(probe::TIMEOUT))
}

/// A run that has not ended.
struct Run<'a> {
    server: ServerUnderTest,
    tries: u8,
    done: HashMap<&'static str, (Outcome, Duration)>,
    notes: Vec<String>,
    on_event: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    /// Whether `on_event` has stopped the run.
    is_stopped: bool,
}

impl Run<'_> {
    /// Runs a check after the checks that it depends on.
    fn run_after_dependencies(
        &mut self,
        check: &Check,
        rows: &[&'static Check],
    ) -> Result<(), StartError> {
        if self.is_stopped || self.done.contains_key(check.id) {
            return Ok(());
        }
        let mut missing = None;
        let first: Vec<_> = check.dependencies(self.server.profile).collect();
        for dependency in rows.iter().filter(|row| first.contains(&row.id)) {
            self.run_after_dependencies(dependency, rows)?;
            let is_met = |it: &Outcome| matches!(it, Outcome::Passed | Outcome::NotApplicable(_));
            if self.done.get(dependency.id).is_none_or(|(it, _)| !is_met(it)) {
                missing.get_or_insert(dependency.id);
            }
        }
        if self.is_stopped {
            return Ok(());
        }
        let begin = Instant::now();
        let outcome = match (check.why_not_applicable(&self.server), missing) {
            (Some(why), _) => Outcome::NotApplicable(why),
            _ if !check.needs.met_by(&self.server.source) => {
                Outcome::NotRun(format!("needs {}", check.needs.description()))
            }
            (None, Some(id)) => Outcome::NotRun(format!("says nothing new while {id} fails")),
            (None, None) => {
                let (number, total) = (self.done.len() + 1, rows.len());
                if self.emit(Event::Begins { check, number, total }).is_break() {
                    return Ok(());
                }
                self.run_until_decided(check)?
            }
        };
        if let Outcome::Failed(finding) = &outcome {
            let _ = self.emit(Event::Failed { check, finding });
        }
        let took = begin.elapsed();
        let _ = self.emit(Event::Ended { check, outcome: &outcome, took });
        self.done.insert(check.id, (outcome, took));
        Ok(())
    }

    /// Passes an event to the caller of [`run_checks`], and remembers whether the caller stops the run.
    fn emit(&mut self, event: Event<'_>) -> ControlFlow<()> {
        let flow = (self.on_event)(event);
        self.is_stopped |= flow.is_break();
        flow
    }

    /// Runs a check, and runs it again while it times out and tries are left.
    fn run_until_decided(&mut self, check: &Check) -> Result<Outcome, StartError> {
        let mut late = Vec::new();
        for tried in 1..=self.tries {
            let Judgement { verdict, leftovers } = check.judge(&self.server)?;
            for process in leftovers.into_iter().chain(end_orphans()) {
                self.notes
                    .push(format!("{}: the server left a process behind: {process}", check.id));
            }
            match verdict {
                Verdict::Undecided(why) => return Ok(Outcome::Undecided(why)),
                Verdict::Passed if late.is_empty() => return Ok(Outcome::Passed),
                Verdict::Passed => {
                    return Ok(Outcome::Undecided(disagreement(&late, tried)));
                }
                Verdict::Failed(finding) if finding.failure.is_timeout => late.push(finding),
                Verdict::Failed(finding) => return Ok(self.failed(check, finding)),
            }
        }
        let last = late.pop().map(|finding| self.failed(check, finding));
        Ok(last.unwrap_or_else(|| Outcome::Undecided("not tried".to_owned())))
    }

    /// Returns the outcome of a failed check. If the server's threads may explain the failure, runs the check
    /// once more and records the threads.
    fn failed(&self, check: &Check, mut finding: Finding) -> Outcome {
        let threads_explain = matches!(check.theme, Theme::Concurrency | Theme::SlowReaders);
        if threads_explain && is_possible() && !matches!(self.server.source, Source::Running(_)) {
            let mut server = self.server.clone();
            // The check has failed already; this run only shows how.
            server.patience = server.patience.min(LEAST_PATIENCE);
            if let Ok(Judgement { verdict: Verdict::Failed(again), .. }) =
                check.judge_recording_threads(&server)
            {
                finding.thread_chart = again.thread_chart;
            }
            // The first run has noted the processes that this server leaves behind.
            let _ = end_orphans();
        }
        Outcome::Failed(Box::new(finding))
    }
}

/// Describes a check that timed out in some tries and passed in a later one.
fn disagreement(late: &[Finding], tried: u8) -> String {
    let last = late.last().map(|finding| {
        let Failure { did, expected, got, .. } = &finding.failure;
        format!(" ({did}: expected {expected}, got {got})")
    });
    let (times, last) = (late.len(), last.unwrap_or_default());
    format!("it failed {times} of {tried} tries{last}; on a busy machine, try --patience 10")
}
