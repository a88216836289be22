//! One row of the table of checks.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum as _;
use probe::tls::TlsSettings;

use crate::{Bench, Needs, OwnServer, Profile, ServerUnderTest, Serves};

/// The subject of a check; the table is sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Theme {
    /// How bytes become messages, and the answer to a message.
    Framing,
    /// Clients that misbehave or disconnect.
    Survival,
    /// Many clients at once.
    Concurrency,
    /// Which client receives which message, in which order.
    Chat,
    /// Clients that do not read.
    SlowReaders,
    /// The end of a connection, of one of its directions, and of the server.
    Closing,
    /// Limits that a user sets, and shortages of resources.
    Limits,
    /// The command line, and the output of a server.
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
            Self::Closing => "closing",
            Self::Limits => "limits",
            Self::CommandLine => "command line",
            Self::Log => "log",
            Self::Trace => "trace",
        })
    }
}

/// The result that a profile requires in one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The server must pass the check.
    MustPass,
    /// The server must fail the check, because servers of this kind have this limit.
    MustFail,
    /// The check is not for this profile.
    None,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MustPass => "pass",
            Self::MustFail => "limit",
            Self::None => "-",
        })
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name of the check, in tests and on the command line.
    pub id: &'static str,
    /// The subject of the check.
    pub theme: Theme,
    /// What the check tests, in a few words.
    pub title: &'static str,
    /// The rule that the check tests.
    pub rule: &'static str,
    /// Reports whether the servers of a profile must pass the check, no matter who has written the server.
    pub must_pass: fn(Profile) -> bool,
    /// The servers of this project that must pass the check whatever their profile is.
    pub own_servers: OwnRequirement,
    /// The profiles whose servers must fail the check.
    pub must_fail: &'static [Profile],
    /// The likely cause if a server passes the check although it must fail it, and how to correct that.
    pub must_fail_hint: &'static str,
    /// What the check needs from the machine.
    pub needs: Needs,
    /// The checks that must pass first: after a failure of one of them, this one would fail for the same
    /// reason. The tests of this project's servers ignore this.
    pub after: &'static [&'static str],
    /// What is likely wrong if the check fails; where to look; how to correct it.
    pub hints: [&'static str; 3],
    /// Where to read more: a page of the book, and a heading on it.
    pub page: &'static str,
    /// The function that runs the check. It returns a `Failure` if the server breaks the rule; any other
    /// error means that the check could not decide.
    pub(crate) run: fn(&Bench) -> Result<()>,
}

/// Which servers of this project must pass a check that not every server must pass.
#[derive(Clone, Copy, Debug)]
pub struct OwnRequirement {
    /// The stages.
    pub stages: &'static [Profile],
    /// The servers that are not stages and serve at least this many clients; `None`: no such server.
    pub non_stages: Option<Serves>,
    /// Whether only servers with [unfinished messages](OwnServer::longest_unfinished) are included in `non_stages`.
    pub with_unfinished: bool,
}

impl OwnRequirement {
    /// No other server of this project must pass the check.
    pub(crate) const NONE: Self = Self { stages: &[], non_stages: None, with_unfinished: false };

    /// Returns the servers of this project that are not stages and serve at least this many clients.
    pub(crate) const fn non_stages(least: Serves) -> Self {
        Self { non_stages: Some(least), ..Self::NONE }
    }

    /// Reports whether a stage of this profile must pass the check.
    fn includes_stage(&self, profile: Profile) -> bool {
        self.stages.contains(&profile)
    }

    /// Reports whether a server of this project that is not a stage must pass the check.
    fn includes(&self, server: &OwnServer) -> bool {
        self.non_stages.is_some_and(|least| server.serves >= least)
            && (server.longest_unfinished.is_some() || !self.with_unfinished)
    }
}

/// Returns a check that only these stages must pass.
pub(crate) const fn own_check(
    id: &'static str,
    theme: Theme,
    stages: &'static [Profile],
    run: fn(&Bench) -> Result<()>,
    rule: &'static str,
) -> Check {
    let own_servers = OwnRequirement { stages, ..OwnRequirement::NONE };
    Check { id, theme, rule, must_pass: |_| false, own_servers, page: "", run, ..BASE_ROW }
}

/// The fields of a check that depends on `frame-three`: that the server answers several tin-can messages.
pub(crate) const ROW_AFTER_FRAMING: Check = Check { after: &["frame-three"], ..BASE_ROW };

/// The fields of a check that does not depend on another check. A row sets the fields that differ.
const BASE_ROW: Check = Check {
    id: "",
    theme: Theme::Framing,
    title: "",
    rule: "",
    must_pass: Profile::is_tin_can,
    own_servers: OwnRequirement::NONE,
    must_fail: &[],
    must_fail_hint: "",
    needs: Needs::Nothing,
    after: &[],
    hints: [""; 3],
    page: "protocol.md#Why messages need frames",
    run: |_| Ok(()),
};

/// The fields that are the same in all checks of chats.
pub(crate) const CHAT_ROW: Check = Check {
    theme: Theme::Chat,
    must_pass: Profile::is_chat,
    page: "chat-threads.md#The picture",
    ..ROW_AFTER_FRAMING
};

impl Check {
    /// Sets the needs.
    pub(crate) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Adds servers that must pass the check: the servers of this project that are not stages and serve at
    /// least this many clients.
    pub(crate) const fn non_stages(mut self, least: Serves) -> Self {
        self.own_servers.non_stages = Some(least);
        self
    }

    /// Excludes servers without unfinished messages: of the servers that are not stages, only the others must
    /// pass the check.
    pub(crate) const fn with_unfinished(mut self) -> Self {
        self.own_servers.with_unfinished = true;
        self
    }

    /// Reports whether a stage of this profile must pass the check, or must fail it.
    pub(crate) fn is_for_stage(&self, profile: Profile) -> bool {
        self.requirement(profile) != Requirement::None || self.own_servers.includes_stage(profile)
    }

    /// Reports whether this server must pass the check as a server of this project that is not a stage. The
    /// profile of the server is ignored.
    pub(crate) fn is_for_non_stage(&self, server: &OwnServer) -> bool {
        self.own_servers.includes(server)
    }

    /// Reports whether there are servers of this project that must pass the check without a profile in
    /// [`must_pass`](Self::must_pass).
    #[must_use]
    pub fn has_own_servers(&self) -> bool {
        !self.own_servers.stages.is_empty() || self.own_servers.non_stages.is_some()
    }

    /// Reports whether the check is also for servers that are not of this project.
    #[must_use]
    pub fn has_profile(&self) -> bool {
        Profile::value_variants()
            .iter()
            .any(|profile| self.requirement(*profile) != Requirement::None)
    }

    /// Returns the result that a profile requires in this check.
    #[must_use]
    pub fn requirement(&self, profile: Profile) -> Requirement {
        if self.must_fail.contains(&profile) {
            Requirement::MustFail
        } else if (self.must_pass)(profile) {
            Requirement::MustPass
        } else {
            Requirement::None
        }
    }

    /// Returns the ids of the checks that must pass first for a server of this profile.
    pub(crate) fn dependencies(
        &self,
        profile: Profile,
    ) -> impl Iterator<Item = &'static str> + use<> {
        // A check for several protocols runs after the basic checks of the server's protocol.
        let other = profile.other_protocol().filter(|other| !other.has_check(self.id));
        let basic = other.map_or(&[][..], |other| other.basic_checks);
        self.after.iter().chain(basic).copied()
    }

    /// Returns why the check does not apply to this server; `None` if it applies.
    #[must_use]
    pub fn why_not_applicable(&self, server: &ServerUnderTest) -> Option<&'static str> {
        let ends_both = server.tls.as_ref().is_some_and(TlsSettings::ends_both_directions);
        (self.needs == Needs::HalfClose && ends_both).then_some(
            "in TLS 1.2, a peer that receives close_notify closes both directions at once and discards \
             queued data (RFC 5246 section 7.2.1)",
        )
    }
}
