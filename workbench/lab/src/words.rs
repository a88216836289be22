//! What the sentences on an outcome are made of: comparisons that hold for whatever was found.
//!
//! Rows with faults are not spoken of; nor is a difference that is not larger than the spread.

use super::remarks::is_faulty;
use super::{Case, Origin, Outcome, Row, Spread, Unit};

/// A smaller difference is not told, even if the runs agree.
const ALIKE: f64 = 1.1;

/// What a difference is worth if the runs of the two overlap.
const MAY_BE_CHANCE: &str = "but the runs of the two overlap, so the difference may be chance";

/// A server's figure in a case.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub server: &'a str,
    pub row: &'a Row,
    pub spread: Spread,
}

impl Found<'_> {
    pub fn median(&self) -> f64 {
        self.spread.median
    }
}

/// How two figures compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ratio {
    /// The medians differ by less than a tenth.
    Alike,
    /// The medians differ by more, but the spreads overlap.
    Unclear,
    /// The first is so many times the second.
    More(f64),
    /// The second is so many times the first.
    Less(f64),
}

impl Ratio {
    /// None if there is no ratio: of nothing, or of less than nothing.
    pub fn of(first: Spread, second: Spread) -> Option<Self> {
        let ratio = first.median / second.median;
        if first.median <= 0.0 || second.median <= 0.0 || !ratio.is_finite() {
            return None;
        }
        let overlap = first.min <= second.max && second.min <= first.max;
        let (low, high) = (1.0 / ALIKE, ALIKE);
        Some(match ratio {
            _ if (low..high).contains(&ratio) => Self::Alike,
            _ if overlap => Self::Unclear,
            1.0.. => Self::More(ratio),
            _ => Self::Less(1.0 / ratio),
        })
    }
}

/// A claim about two servers that a design makes plausible.
pub struct Claim {
    /// The one that should need more, and the one that should need less.
    pub servers: [&'static str; 2],
    pub figure: &'static str,
    pub unit: Unit,
    /// The sentence up to the first server: `An idle client costs`.
    pub what: &'static str,
    /// Between the ratio and the second server: `as much as`.
    pub than: &'static str,
    /// What of the designs gives it, with no full stop.
    pub why: &'static str,
}

impl Claim {
    /// The claim with its numbers, or the surprise that it does not hold, in the last case that
    /// both servers have figures for.
    pub fn tell(&self, outcome: &Outcome) -> Option<String> {
        let case = last_case(outcome, &self.servers, self.figure)?;
        let [first, second] = self.servers.map(|server| find(outcome, server, case, self.figure));
        let (first, second) = (first?, second?);
        let Self { servers: [more, less], unit, what, than, why, .. } = self;
        let figures = |a: &Found<'_>, b: &Found<'_>| {
            format!("({} and {}; {})", unit.say(a.median()), unit.say(b.median()), case.label)
        };
        let (in_order, turned) = (figures(&first, &second), figures(&second, &first));
        Some(match Ratio::of(first.spread, second.spread)? {
            Ratio::More(ratio) => {
                format!("{what} {more} {} {than} {less} {in_order}: {why}.", times(ratio))
            }
            Ratio::Alike => format!(
                "{what} {more} about {than} {less} {in_order}, though the designs suggest more: \
                 {why}."
            ),
            Ratio::Unclear => format!(
                "{what} {more} {} and {less} {} ({}), {MAY_BE_CHANCE}. The designs suggest more for \
                 {more}: {why}.",
                unit.say(first.median()),
                unit.say(second.median()),
                case.label
            ),
            Ratio::Less(ratio) => format!(
                "{what} {less} {} {than} {more} {turned}, the opposite of what the designs \
                 suggest; look at the spread and at the machine’s load before you believe it.",
                times(ratio)
            ),
        })
    }
}

/// A server's figure, if it was measured without a fault.
pub fn find<'a>(
    outcome: &'a Outcome,
    server: &str,
    case: &Case,
    figure: &str,
) -> Option<Found<'a>> {
    let row = outcome.row(server, case).filter(|row| !is_faulty(row))?;
    Some(Found { server: &row.server, row, spread: row.spread(figure)? })
}

/// All servers' figures in a case, from the smallest to the largest.
pub fn ranked<'a>(outcome: &'a Outcome, case: &Case, figure: &str) -> Vec<Found<'a>> {
    let servers = outcome.servers().into_iter();
    let mut found: Vec<_> =
        servers.filter_map(|server| find(outcome, server, case, figure)).collect();
    found.sort_by(|a, b| a.median().total_cmp(&b.median()));
    found
}

/// Of those in the order of their figures, the largest, and those that are not apart from it.
pub fn largest<'a>(ranked: &[Found<'a>]) -> Vec<Found<'a>> {
    let Some(most) = ranked.last() else {
        return Vec::new();
    };
    let is_not_apart = |found: &Found<'_>| {
        let ratio = Ratio::of(most.spread, found.spread);
        found.server == most.server || matches!(ratio, Some(Ratio::Alike | Ratio::Unclear))
    };
    ranked.iter().rev().copied().filter(is_not_apart).collect()
}

/// Their names.
pub fn names<'a>(found: &[Found<'a>]) -> Vec<&'a str> {
    found.iter().map(|found| found.server).collect()
}

/// The last case in which all of these servers have the figure.
pub fn last_case<'a>(outcome: &'a Outcome, servers: &[&str], figure: &str) -> Option<&'a Case> {
    let has = |case: &&Case| servers.iter().all(|it| find(outcome, it, case, figure).is_some());
    outcome.cases().into_iter().rev().find(has)
}

/// The last case in which as many servers have the figure as in any: where most can be compared.
pub fn fullest_case<'a>(outcome: &'a Outcome, figure: &str) -> Option<&'a Case> {
    let cases = outcome.cases().into_iter();
    cases.max_by_key(|case| ranked(outcome, case, figure).len())
}

/// Who needs least and who most: two servers or more. `what` goes up to the first server.
pub fn extremes(
    outcome: &Outcome,
    figure: &str,
    unit: Unit,
    what: &str,
    than: &str,
) -> Option<String> {
    let case = fullest_case(outcome, figure)?;
    let found = ranked(outcome, case, figure);
    let (least, most) = (found.first()?, found.last()?);
    let (low, high) = (unit.say(least.median()), unit.say(most.median()));
    let (least, most, ratio) = (
        least.server,
        most.server,
        Ratio::of(most.spread, least.spread).filter(|_| found.len() > 1)?,
    );
    let label = &case.label;
    Some(match ratio {
        Ratio::More(ratio) => format!(
            "{what} {least} least ({low}; {label}) and {most} most ({high}), {} {than} {least}.",
            times(ratio)
        ),
        Ratio::Unclear => format!(
            "{what} {least} least ({low}; {label}) and {most} most ({high}), {MAY_BE_CHANCE}."
        ),
        _ => format!("{what} all servers about the same ({low} to {high}; {label})."),
    })
}

/// The reader's own servers, beside one of ours if there is one. `does` stands before the figure.
pub fn yours(
    outcome: &Outcome,
    figure: &str,
    unit: Unit,
    does: &str,
    beside: &str,
) -> Option<String> {
    let is_mine = |name: &&str| {
        outcome.rows.iter().any(|row| row.server == *name && row.origin == Origin::Mine)
    };
    let mine = outcome.servers().into_iter().filter(is_mine);
    let told = mine.filter_map(|name| one_of_yours(outcome, name, figure, unit, does, beside));
    let told = told.collect::<Vec<_>>().join(" ");
    (!told.is_empty()).then_some(told)
}

fn one_of_yours(
    outcome: &Outcome,
    name: &str,
    figure: &str,
    unit: Unit,
    does: &str,
    beside: &str,
) -> Option<String> {
    let shared = last_case(outcome, &[name, beside], figure);
    let case = shared.or_else(|| last_case(outcome, &[name], figure))?;
    let found = find(outcome, name, case, figure)?;
    let other = find(outcome, beside, case, figure);
    let value = unit.say(found.median());
    let ratio = other.and_then(|other| Ratio::of(found.spread, other.spread));
    let others = other.map(|other| unit.say(other.median())).unwrap_or_default();
    let compared = match ratio {
        Some(Ratio::More(ratio)) => format!(", {} that of {beside}", times(ratio)),
        Some(Ratio::Less(ratio)) => format!(", and {beside} {} that", times(ratio)),
        Some(Ratio::Alike) => format!(", about the same as {beside}"),
        Some(Ratio::Unclear) => format!(", and {beside} {others}, {MAY_BE_CHANCE}"),
        None => String::new(),
    };
    Some(format!("Your server, {name}, {does} {value}{compared} ({}).", case.label))
}

/// How many times: `52 times`, `1.3 times`.
pub fn times(ratio: f64) -> String {
    if ratio >= 9.95 {
        return format!("{} times", Unit::Count.show(ratio.round()));
    }
    let text = format!("{ratio:.1}");
    format!("{} times", text.strip_suffix(".0").unwrap_or(&text))
}

/// One after the other: `a, b and c`.
pub fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The ending of a verb that goes with these.
pub fn s(names: &[&str]) -> &'static str {
    if names.len() == 1 { "s" } else { "" }
}

/// The sentences that there are, and if the first is missing, what holds in general before them;
/// what is about the reader's own server in a paragraph of its own.
pub fn sentences<const N: usize>(
    first: Option<String>,
    general: &str,
    others: [Option<String>; N],
    yours: Option<String>,
) -> String {
    let first = first.unwrap_or_else(|| general.to_owned());
    let all: Vec<String> = [first].into_iter().chain(others.into_iter().flatten()).collect();
    let text = all.join(" ");
    yours.map_or(text.clone(), |yours| format!("{text}\n{yours}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Figures, sample};
    use super::*;

    fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    const CLAIM: Claim = Claim {
        servers: ["chat-threads", "chat-poll"],
        figure: "bytes_per_client",
        unit: Unit::Bytes,
        what: "A client costs",
        than: "as much as",
        why: "a reason",
    };

    #[test]
    fn what_lies_within_the_spread_is_no_difference() {
        let of = |first, second| Ratio::of(first, second);
        let ten = spread(9.0, 10.0, 11.0);
        assert_eq!(of(spread(19.0, 20.0, 21.0), ten), Some(Ratio::More(2.0)));
        assert_eq!(of(ten, spread(19.0, 20.0, 21.0)), Some(Ratio::Less(2.0)));
        assert_eq!(of(spread(10.5, 20.0, 40.0), ten), Some(Ratio::Unclear));
        assert_eq!(of(spread(9.0, 10.5, 40.0), ten), Some(Ratio::Alike));
        assert_eq!(of(spread(10.5, 10.5, 10.5), spread(10.0, 10.0, 10.0)), Some(Ratio::Alike));
        assert_eq!(of(spread(0.0, 0.0, 0.0), ten), None);
        assert_eq!(of(ten, spread(-2.0, -1.0, 0.0)), None);
    }

    #[test]
    fn a_claim_holds_for_what_was_found() {
        let outcome = sample::outcome("idle");
        assert_eq!(
            CLAIM.tell(&outcome).unwrap(),
            "A client costs chat-threads 52 times as much as chat-poll (22.4 KiB and 440 B; 1,000 \
             clients): a reason."
        );
        let turned =
            Claim { servers: ["chat-poll", "chat-threads"], ..CLAIM }.tell(&outcome).unwrap();
        assert!(
            turned.starts_with(
                "A client costs chat-threads 52 times as much as chat-poll (22.4 KiB and 440 B; "
            ) && turned.contains("the opposite"),
            "{turned}"
        );
        let same = Claim { servers: ["chat-threads", "mine"], ..CLAIM }.tell(&outcome).unwrap();
        assert!(same.starts_with("A client costs chat-threads about as much as mine ("), "{same}");
        // The faults of the largest case take that case out.
        assert!(same.contains("; 100 clients)"), "{same}");
    }

    #[test]
    fn what_is_ten_times_apart_is_not_about_the_same() {
        let mut outcome = sample::outcome("roundtrip");
        // The runs of the one reach from the least to the most, and its median is in the middle.
        for row in outcome.rows.iter_mut().filter(|row| row.server == "mine") {
            for (run, p50) in row.runs.iter_mut().zip([30.0, 400.0, 4000.0]) {
                let mut figures = Figures::default();
                figures.add("p50_us", p50);
                *run = figures;
            }
        }
        let claim = Claim {
            servers: ["mine", "chat-poll"],
            figure: "p50_us",
            unit: Unit::Micros,
            what: "A trip takes",
            ..CLAIM
        };
        outcome.rows.retain(|row| row.server == "mine" || row.server == "chat-poll");
        let told = [
            claim.tell(&outcome).unwrap(),
            extremes(&outcome, "p50_us", Unit::Micros, "It takes", "as long as").unwrap(),
            yours(&outcome, "p50_us", Unit::Micros, "has a p50 of", "chat-poll").unwrap(),
        ];
        for text in told {
            assert!(!text.contains("about"), "{text}");
            assert!(text.contains("400 µs") && text.contains("38.0 µs"), "{text}");
            assert!(text.contains("the difference may be chance"), "{text}");
        }
    }

    #[test]
    fn nothing_is_claimed_of_servers_that_are_not_there() {
        for id in ["idle", "roundtrip", "fanout", "rate", "frozen", "connections", "churn"] {
            let mut outcome = sample::outcome(id);
            outcome.rows.retain(|row| row.server == "redis" || row.server == "nats");
            let said = (outcome.experiment.see)(&outcome);
            assert!(said.ends_with('.') && !said.contains("chat-threads"), "{said}");
            assert!(!said.contains("chat-poll") && !said.contains("Your server"), "{said}");
            outcome.rows.clear();
            assert!((outcome.experiment.see)(&outcome).starts_with("Look "), "{id}");
        }
    }

    #[test]
    fn the_readers_own_server_is_spoken_of() {
        for id in ["idle", "roundtrip", "fanout", "rate", "frozen", "connections", "churn"] {
            let outcome = sample::outcome(id);
            let said = (outcome.experiment.see)(&outcome);
            let has_stopped =
                said.starts_with("With mine and ncat one client that never reads stops");
            assert!(said.contains("Your server, mine, ") != has_stopped, "{said}");
            assert_eq!(has_stopped, id == "frozen", "{said}");
        }
    }

    #[test]
    fn a_server_that_stalls_is_named() {
        let outcome = sample::outcome("connections");
        let said = (outcome.experiment.see)(&outcome);
        assert!(said.contains("says nothing, echo-uni answers nobody."), "{said}");
    }

    #[test]
    fn ratios_and_lists_in_words() {
        assert_eq!(
            [1.26, 2.0, 9.96, 5113.6].map(times),
            ["1.3 times", "2 times", "10 times", "5,114 times"]
        );
        assert_eq!([list(&[]), list(&["a"]), list(&["a", "b", "c"])], ["", "a", "a, b and c"]);
    }
}
