//! A row of the table of checks, and what comes of it.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use probe::Failure;
use probe::server::StartError;
use probe::tls::TlsSettings;

use crate::profile::{CHATS, TIN_CANS};
use crate::{Bench, Needs, OwnServer, Profile, ServerUnderTest, Serves};

/// What a check is about; the table is in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Theme {
    /// How bytes become messages.
    Framing,
    /// Clients that break their connections.
    Survival,
    /// Many clients at once.
    Concurrency,
    /// Who hears what, in which order.
    Chat,
    /// Clients that do not read.
    SlowReaders,
    /// The server's end.
    Leaving,
    /// The limits that can be set, and what a machine may lack.
    Limits,
    /// The command line, and what a server prints.
    CommandLine,
    /// The log.
    Log,
    /// The trace.
    Trace,
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Framing => "framing",
            Self::Survival => "survival",
            Self::Concurrency => "concurrency",
            Self::Chat => "chat",
            Self::SlowReaders => "slow readers",
            Self::Leaving => "leaving",
            Self::Limits => "limits",
            Self::CommandLine => "command line",
            Self::Log => "log",
            Self::Trace => "trace",
        })
    }
}

/// What a profile asks of a server in one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To pass it.
    Pass,
    /// To fail it: the limit that this kind of server has, and is there to show.
    Limit,
    /// Nothing.
    Nothing,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Limit => "limit",
            Self::Nothing => "-",
        })
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, as a test and on the command line.
    pub id: &'static str,
    /// The part of the ladder that it belongs to.
    pub theme: Theme,
    /// What it tries, in a few words.
    pub title: &'static str,
    /// The rule that it checks.
    pub rule: &'static str,
    /// Which servers must pass it, whoever has written them.
    pub who: &'static [Profile],
    /// Which servers of this project must pass it besides.
    pub ours: Ours,
    /// Which servers must be seen to fail it.
    pub limit: &'static [Profile],
    /// What the machine must offer.
    pub needs: Needs,
    /// The checks without which this one says nothing new.
    pub after: &'static [&'static str],
    /// What is likely wrong if it fails; where to look; how to mend it.
    pub hints: [&'static str; 3],
    /// Where to read on: a file of the book, and a heading in it.
    pub read: &'static str,
    pub(crate) run: fn(&Bench) -> Result<()>,
}

/// Which servers of this project must pass a check that not every server must pass.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    /// The stages.
    pub stages: &'static [Profile],
    /// Of the other servers, those that serve at least so many clients; `None`: no other server.
    pub others: Option<Serves>,
    /// Of the other servers, only those that know unfinished messages.
    pub with_unfinished: bool,
}

impl Ours {
    /// No server of this project must pass the check besides.
    pub(crate) const NONE: Self = Self { stages: &[], others: None, with_unfinished: false };

    /// Returns the servers of this project that are not stages and serve at least so many clients.
    pub(crate) const fn others(least: Serves) -> Self {
        Self { others: Some(least), ..Self::NONE }
    }

    /// Reports whether a stage of this profile must pass the check.
    fn includes_stage(&self, profile: Profile) -> bool {
        self.stages.contains(&profile)
    }

    /// Reports whether a server of this project that is not a stage must pass the check.
    fn includes(&self, server: &OwnServer) -> bool {
        self.others.is_some_and(|least| server.serves >= least)
            && (server.unfinished.is_some() || !self.with_unfinished)
    }
}

/// Returns a check that these stages must pass, and no server of anybody else.
pub(crate) const fn ours(
    id: &'static str,
    theme: Theme,
    stages: &'static [Profile],
    run: fn(&Bench) -> Result<()>,
    rule: &'static str,
) -> Check {
    let ours = Ours { stages, ..Ours::NONE };
    Check {
        id,
        theme,
        title: "",
        rule,
        who: &[],
        ours,
        hints: [""; 3],
        read: "",
        run,
        ..TIN_CAN_ROW_ALONE
    }
}

/// What the checks have in common that need nothing but a server that answers tin-can messages, again and
/// again.
pub(crate) const TIN_CAN_ROW: Check = Check { after: &["frame-three"], ..TIN_CAN_ROW_ALONE };

/// What the checks have in common that need nothing.
const TIN_CAN_ROW_ALONE: Check = Check {
    id: "",
    theme: Theme::Framing,
    title: "",
    rule: "",
    who: TIN_CANS,
    ours: Ours::NONE,
    limit: &[],
    needs: Needs::Nothing,
    after: &[],
    hints: [""; 3],
    read: "protocol.md#Why messages need frames",
    run: |_| Ok(()),
};

/// What the checks of chats have in common.
pub(crate) const CHAT_ROW: Check =
    Check { theme: Theme::Chat, who: CHATS, read: "chat-threads.md#The picture", ..TIN_CAN_ROW };

/// What came of one check.
#[derive(Debug)]
pub enum Verdict {
    /// All is as asked.
    Passed,
    /// It is not.
    Failed(Finding),
    /// The check could not find out, and why.
    Undecided(String),
    /// The server did not start.
    NotStarted(StartError),
}

/// A failure, with what happened around it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was done, expected, got.
    pub failure: Failure,
    /// Who sent what when.
    pub picture: String,
    /// What each thread of the server did, where that was looked at.
    pub threads: String,
    /// What the server printed itself.
    pub output: String,
}

impl Check {
    pub(crate) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The same; of this project's other servers, those must pass it that serve at least so many clients.
    pub(crate) const fn others(mut self, least: Serves) -> Self {
        self.ours.others = Some(least);
        self
    }

    /// The same, only for other servers that know unfinished messages.
    pub(crate) const fn with_unfinished(mut self) -> Self {
        self.ours.with_unfinished = true;
        self
    }

    /// Reports whether a stage of this profile must pass it, or be seen to fail it.
    pub(crate) fn is_for_stage(&self, profile: Profile) -> bool {
        self.asked(profile) != Asked::Nothing || self.ours.includes_stage(profile)
    }

    /// Reports whether a server of this project that is not a stage must pass it, whatever its profile.
    pub(crate) fn is_for_own(&self, server: &OwnServer) -> bool {
        self.ours.includes(server)
    }

    /// Reports whether some servers of this project must pass it besides those of [`who`](Self::who).
    #[must_use]
    pub fn is_for_our_servers(&self) -> bool {
        !self.ours.stages.is_empty() || self.ours.others.is_some()
    }

    /// Reports whether servers of anybody must pass it.
    #[must_use]
    pub fn is_for_anybody(&self) -> bool {
        !self.who.is_empty() || !self.limit.is_empty()
    }

    /// What a profile asks of its servers here.
    #[must_use]
    pub fn asked(&self, profile: Profile) -> Asked {
        if self.limit.contains(&profile) {
            Asked::Limit
        } else if self.who.contains(&profile) {
            Asked::Pass
        } else {
            Asked::Nothing
        }
    }

    /// Why it makes no sense with what is between such a server and its clients.
    #[must_use]
    pub fn is_senseless(&self, server: &ServerUnderTest) -> Option<&'static str> {
        let ends_both = server.tls.as_ref().is_some_and(TlsSettings::ends_both_directions);
        (self.needs == Needs::HalfClose && ends_both).then_some(
            "in TLS 1.2, who reads close_notify ends both directions at once, what is queued \
             included (RFC 5246 section 7.2.1)",
        )
    }

    /// Checks a server once; `notes` gets what else was noticed.
    pub fn judge(&self, server: &ServerUnderTest, notes: &mut Vec<String>) -> Verdict {
        self.judge_on(notes, server, |bench| bench)
    }

    /// The same, with a look at what the threads of the server do.
    pub fn judge_watching(&self, server: &ServerUnderTest, notes: &mut Vec<String>) -> Verdict {
        self.judge_on(notes, server, Bench::watching)
    }

    fn judge_on(
        &self,
        notes: &mut Vec<String>,
        server: &ServerUnderTest,
        prepared: impl FnOnce(Bench) -> Bench,
    ) -> Verdict {
        /// How long to watch a server fail that is meant to.
        const WATCHED: Duration = Duration::from_secs(2);
        let mut server = server.clone();
        let asked = self.asked(server.profile);
        if asked == Asked::Limit {
            server.patience = server.patience.min(WATCHED);
        }
        let bench = prepared(Bench::new(server, self.id));
        let done = (self.run)(&bench);
        notes.extend(bench.survivors());
        match (done, asked) {
            (Ok(()), Asked::Limit) => {
                let did = bench.story().unwrap_or_else(|| self.title.to_owned());
                let expected = format!("that it fails, as its kind of server must: {}", self.rule);
                Verdict::Failed(bench.finding(Failure::new(did, expected, "it passes")))
            }
            (Ok(()), _) => Verdict::Passed,
            (Err(err), _) => match err.downcast::<Failure>() {
                Ok(_) if asked == Asked::Limit => Verdict::Passed,
                Ok(failure) => Verdict::Failed(bench.finding(failure)),
                Err(err) => match err.downcast::<StartError>() {
                    Ok(not_started) => Verdict::NotStarted(not_started),
                    Err(err) => Verdict::Undecided(format!("{err:#}")),
                },
            },
        }
    }
}
