//! Climbs the ladder: each check once, those that others stand on first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::bench::Bench;
use crate::{Asked, Check, Finding, Naming, ServerUnderTest, Source, TABLE, Theme, Verdict};
use probe::Failure;
use probe::server::{NotStarted, end_escaped};
use probe::tls::Tls;
use watch::is_possible;

/// What came of one row of the ladder.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// As asked: passed, or where that is asked, seen to fail.
    Passed,
    /// It failed, and if it was by lateness, each time.
    Failed(Box<Finding>),
    /// Some tries failed and others did not, or the check could not find out.
    Undecided(String),
    /// It says nothing as long as another check fails, or with a server that runs elsewhere.
    NotTried(String),
    /// It makes no sense with what is between this server and its clients.
    NotAsked(&'static str),
}

/// The results of one climb.
#[derive(Clone, Debug)]
pub struct Report {
    /// The rows that the profile asks for, in order, with what came of them and how long it took.
    pub rows: Vec<(Check, Outcome, Duration)>,
    /// The round trip that was measured first.
    pub round_trip: Option<Duration>,
    /// What else was noticed: processes left behind.
    pub notes: Vec<String>,
    /// How long all of it took.
    pub took: Duration,
}

impl Report {
    /// How many outcomes are of a kind.
    pub fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|(_, outcome, _)| is(outcome)).count()
    }

    /// The exit code: 0 all passed, 1 some failed, 2 nothing failed but not all could be decided.
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

/// A failure by lateness counts if it comes again as often.
const TRIES: usize = 3;

/// What happens on a climb.
#[derive(Debug)]
pub enum Event<'a> {
    /// A check begins.
    Begins {
        /// Which one.
        check: &'a Check,
        /// How many have begun, with this one.
        nth: usize,
        /// How many there are.
        of: usize,
    },
    /// A check has failed.
    Failed {
        /// Which one.
        check: &'a Check,
        /// How.
        finding: &'a Finding,
    },
}

/// Runs the rows that the profile asks for and `wanted` picks; `tell` hears of each at once.
///
/// # Errors
///
/// [`NotStarted`], when the server did not start, the first time or any other.
pub fn climb(
    mut server: ServerUnderTest,
    wanted: impl Fn(&Check) -> bool,
    mut tell: impl FnMut(Event<'_>),
) -> Result<Report, NotStarted> {
    let begin = Instant::now();
    let mut notes = Vec::new();
    let mut measured = round_trip(&server)?;
    if matches!(&measured, Err(answer) if answer.starts_with(b"('")) {
        let paired = ServerUnderTest { naming: Naming::Pair, ..server.clone() };
        if let Ok(time) = round_trip(&paired)? {
            (server, measured) = (paired, Ok(time));
            notes.push(PAIRED.to_owned());
        }
    }
    let round_trip = measured.ok();
    server.patience = patience(round_trip, server.patience);
    let mut climb = Climb { server, done: HashMap::new(), notes, tell: &mut tell };
    let asked = |check: &&Check| check.asked(climb.server.profile) != Asked::Nothing;
    let rows: Vec<_> = TABLE.iter().filter(asked).filter(|check| wanted(check)).collect();
    for check in &rows {
        climb.reach(check, &rows)?;
    }
    let Climb { mut done, mut notes, server, .. } = climb;
    notes.extend(server.tls.iter().flat_map(Tls::notes));
    let rows = rows
        .into_iter()
        .filter_map(|check| done.remove(check.id).map(|(it, took)| (*check, it, took)))
        .collect();
    Ok(Report { rows, round_trip, notes, took: begin.elapsed() })
}

/// What is noted of a server that writes addresses as a pair.
const PAIRED: &str = "it writes a client's address as Python prints a pair, ('127.0.0.1', 50312); \
                      the protocol has 127.0.0.1:50312. Apart from this note, that is let pass.";

/// The median of a few exchanges; or the bytes that came instead of the right answer, if any.
fn round_trip(server: &ServerUnderTest) -> Result<Result<Duration, Vec<u8>>, NotStarted> {
    const EXCHANGES: usize = 5;
    let bench = Bench::new(server.clone(), "round-trip");
    let measured = (|| {
        let server = bench.serve()?;
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
    match measured.map_err(anyhow::Error::downcast::<NotStarted>) {
        Ok(time) => Ok(Ok(time)),
        Err(Ok(not_started)) => Err(not_started),
        // That it does not answer well is what the checks will tell.
        Err(Err(err)) => {
            let failure = err.downcast::<Failure>().ok();
            Ok(Err(failure.and_then(|it| it.got.bytes).unwrap_or_default()))
        }
    }
}

/// How long to wait at least, on a machine that has nothing else to do.
pub const LEAST_PATIENCE: Duration = Duration::from_secs(3);

/// Much longer than an exchange takes.
fn patience(round_trip: Option<Duration>, at_least: Duration) -> Duration {
    let scaled = round_trip.unwrap_or_default() * 1000;
    scaled.clamp(at_least, at_least.max(probe::PATIENCE))
}

struct Climb<'a> {
    server: ServerUnderTest,
    done: HashMap<&'static str, (Outcome, Duration)>,
    notes: Vec<String>,
    tell: &'a mut dyn FnMut(Event<'_>),
}

impl Climb<'_> {
    /// Runs a check after those that it stands on.
    fn reach(&mut self, check: &Check, rows: &[&'static Check]) -> Result<(), NotStarted> {
        if self.done.contains_key(check.id) {
            return Ok(());
        }
        let mut missing = None;
        for below in rows.iter().filter(|row| check.after.contains(&row.id)) {
            self.reach(below, rows)?;
            let is_there = |it: &Outcome| matches!(it, Outcome::Passed | Outcome::NotAsked(_));
            if self.done.get(below.id).is_none_or(|(it, _)| !is_there(it)) {
                missing.get_or_insert(below.id);
            }
        }
        let begin = Instant::now();
        let outcome = match (check.is_senseless(&self.server), missing) {
            (Some(why), _) => Outcome::NotAsked(why),
            _ if !check.needs.met_by(&self.server.source) => {
                Outcome::NotTried("needs a server that tincan starts, on Linux".to_owned())
            }
            (None, Some(id)) => Outcome::NotTried(format!("says nothing new while {id} fails")),
            (None, None) => {
                let (nth, of) = (self.done.len() + 1, rows.len());
                (self.tell)(Event::Begins { check, nth, of });
                self.tried(check)?
            }
        };
        if let Outcome::Failed(finding) = &outcome {
            (self.tell)(Event::Failed { check, finding });
        }
        self.done.insert(check.id, (outcome, begin.elapsed()));
        Ok(())
    }

    fn tried(&mut self, check: &Check) -> Result<Outcome, NotStarted> {
        let mut late = Vec::new();
        for tried in 1..=TRIES {
            let mut left = Vec::new();
            let verdict = check.judge(&self.server, &mut left);
            left.extend(end_escaped());
            for process in left {
                self.notes
                    .push(format!("{}: the server left a process behind: {process}", check.id));
            }
            match verdict {
                Verdict::NotStarted(err) => return Err(err),
                Verdict::Undecided(why) => return Ok(Outcome::Undecided(why)),
                Verdict::Passed if late.is_empty() => return Ok(Outcome::Passed),
                Verdict::Passed => {
                    return Ok(Outcome::Undecided(disagreement(&late, tried)));
                }
                Verdict::Failed(finding) if finding.failure.is_late => late.push(finding),
                Verdict::Failed(finding) => return Ok(self.failed(check, finding)),
            }
        }
        let last = late.pop().map(|finding| self.failed(check, finding));
        Ok(last.unwrap_or_else(|| Outcome::Undecided("not tried".to_owned())))
    }

    /// A failure; where threads tell something about it, with what they do when it fails once more.
    fn failed(&self, check: &Check, mut finding: Finding) -> Outcome {
        let tells = matches!(check.theme, Theme::Concurrency | Theme::SlowReaders);
        if tells && is_possible() && !matches!(self.server.source, Source::Running(_)) {
            let mut server = self.server.clone();
            // That it fails is known; this is to see how.
            server.patience = server.patience.min(LEAST_PATIENCE);
            if let Verdict::Failed(again) = check.judge_watching(&server, &mut Vec::new()) {
                finding.threads = again.threads;
            }
            // Of what this server has left behind, the first has told.
            let _ = end_escaped();
        }
        Outcome::Failed(Box::new(finding))
    }
}

/// Tells of a check that failed by lateness and passed then.
fn disagreement(late: &[Finding], tried: usize) -> String {
    let last = late.last().map(|finding| {
        let Failure { did, expected, got, .. } = &finding.failure;
        format!(" ({did}: expected {expected}, got {got})")
    });
    let (times, last) = (late.len(), last.unwrap_or_default());
    format!("it failed {times} of {tried} tries{last}; on a busy machine, try --patience 10")
}
