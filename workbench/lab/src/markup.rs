//! What the page and its charts write alike: numbers with their units, places in percent, a look for a
//! server.

use super::{Origin, Results};
use probe::markup::escape;

/// Units that stay on one line with their number.
const UNITS: [&str; 14] =
    ["B", "KiB", "MiB", "GiB", "ns", "µs", "ms", "s", "k", "M", "G", "%", "times", "a"];

/// Escaped text whose numbers are not parted from their units.
pub fn prose(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for word in text.split(' ') {
        let is_unit = UNITS.contains(&word.trim_end_matches([',', ';', '.', ')', ':']));
        if is_unit && safe.ends_with(|last: char| last.is_ascii_digit()) {
            safe.push('\u{a0}');
        } else if !safe.is_empty() {
            safe.push(' ');
        }
        safe += &escape(word);
    }
    safe
}

/// At most so many letters, the last an ellipsis if there were more.
pub fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept.trim_end().to_owned() + "…"
}

/// A part of the whole width.
pub fn percent(part: f64) -> String {
    let text = format!("{:.2}", part * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// A length in pixels.
pub fn px(length: f64) -> String {
    let text = format!("{length:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// Looks of the variations, of the peers, and of the reader's own server: `page.css` has a colour
/// for each, `page.rs` a shape.
const STAGES: [&str; 5] = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"];
const VARIATIONS: usize = 6;
const PEERS: usize = 3;
const MINE: usize = STAGES.len() + VARIATIONS + PEERS;

/// How many looks there are.
#[cfg(test)]
pub const LOOKS: usize = MINE + 1;

/// Which server looks how: the same in all charts, and for a stage in all reports.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    servers: Vec<(String, Origin, usize)>,
}

impl Looks {
    /// For all servers that occur.
    pub fn new(results: &Results) -> Self {
        let mut looks = Self::default();
        for (name, origin, _) in &results.servers {
            looks.add(name, *origin);
        }
        for row in results.outcomes.iter().flat_map(|outcome| &outcome.rows) {
            looks.add(&row.server, row.origin);
        }
        looks
    }

    fn add(&mut self, name: &str, origin: Origin) {
        if self.servers.iter().any(|(known, ..)| known == name) {
            return;
        }
        let stage = STAGES.iter().position(|stage| *stage == name);
        let before = |(_, of, look): &&(String, Origin, usize)| {
            *of == origin && (origin != Origin::Ours || *look >= STAGES.len())
        };
        let nth = self.servers.iter().filter(before).count();
        let look = match (origin, stage) {
            (Origin::Ours, Some(stage)) => stage,
            (Origin::Ours, None) => STAGES.len() + nth % VARIATIONS,
            (Origin::Peer, _) => STAGES.len() + VARIATIONS + nth % PEERS,
            (Origin::Mine, _) if nth == 0 => MINE,
            // A second one of the reader's takes what variations take last.
            (Origin::Mine, _) => STAGES.len() + VARIATIONS - 1 - (nth - 1) % VARIATIONS,
        };
        self.servers.push((name.to_owned(), origin, look));
    }

    /// The number of its look.
    pub fn of(&self, server: &str) -> usize {
        self.servers.iter().find(|(name, ..)| name == server).map_or(0, |(.., look)| *look)
    }

    /// Whether it is the reader's own.
    pub fn is_mine(&self, server: &str) -> bool {
        self.servers.iter().any(|(name, origin, _)| name == server && *origin == Origin::Mine)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn numbers_stay_with_their_units() {
        assert_eq!(prose("<a> 22.4 KiB (3 ms; so)"), "&lt;a&gt; 22.4\u{a0}KiB (3\u{a0}ms; so)");
    }

    #[test]
    fn long_names_end_in_an_ellipsis() {
        assert_eq!(clipped("chat-threads", 12), "chat-threads");
        assert_eq!(clipped("chat-threads-of-mine", 12), "chat-thread…");
    }

    #[test]
    fn numbers_of_places_are_short() {
        assert_eq!(
            (percent(0.5), percent(1.0 / 3.0), px(3.0), px(2.25)),
            ("50%".into(), "33.33%".into(), "3".into(), "2.2".into())
        );
    }

    #[test]
    fn a_stage_looks_the_same_in_all_reports() {
        let (all, some) = (sample::results(), sample::only(&["mine", "chat-async", "nats"]));
        let (all, some) = (Looks::new(&all), Looks::new(&some));
        assert_eq!(all.of("chat-async"), some.of("chat-async"));
        assert!(some.is_mine("mine") && !some.is_mine("nats"));
        let mut each: Vec<usize> = all.servers.iter().map(|(.., look)| *look).collect();
        each.sort_unstable();
        each.dedup();
        assert_eq!(each.len(), all.servers.len());
    }
}
