//! Which colour the spans of a name have.

use crate::state::State;
use crate::trace::Trace;

/// Spans that the stages have, in the colours that a watch has for the same.
const KNOWN: &[(&str, &str, &str)] = &[
    ("accept", State::Accept.fill(), State::Accept.ink()),
    ("read", State::Read.fill(), State::Read.ink()),
    ("write", State::Write.fill(), State::Write.ink()),
    ("poll", State::Poll.fill(), State::Poll.ink()),
    ("lock", State::Lock.fill(), State::Lock.ink()),
    ("broadcast", "#009e73", "#fff"),
    ("client", "#d3d7dc", "#111"),
    ("split", "#f0e442", "#111"),
    ("close", "#b07d4f", "#111"),
];

/// For spans of other names, in the order in which they come.
const OTHERS: &[(&str, &str)] = &[
    ("#a3c4bc", "#111"),
    ("#c9b8e8", "#111"),
    ("#4d7ea8", "#fff"),
    ("#f4a6a6", "#111"),
    ("#8c6bb1", "#fff"),
    ("#b5bd4c", "#111"),
    ("#7fd1d8", "#111"),
    ("#a33b5c", "#fff"),
];

/// For all further names together.
pub(super) const REST: (&str, &str) = ("#6b7178", "#fff");

pub(super) const REST_CLASS: &str = "rest";

/// The colour of a name.
pub(super) struct Look {
    pub(super) name: usize,
    pub(super) fill: &'static str,
    pub(super) ink: &'static str,
}

/// Returns the colours of names, as far as there are any.
pub(super) fn looks(trace: &Trace, names: &[usize]) -> Vec<Look> {
    let mut others = OTHERS.iter();
    let mut looks = Vec::new();
    for name in names {
        let known = KNOWN.iter().find(|(known, ..)| *known == trace.names[*name]);
        let colours = known.map(|(_, fill, ink)| (*fill, *ink));
        if let Some((fill, ink)) = colours.or_else(|| others.next().copied()) {
            looks.push(Look { name: *name, fill, ink });
        }
    }
    looks
}
