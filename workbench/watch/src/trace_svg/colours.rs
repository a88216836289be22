//! Chooses a colour for the spans of each name.

use crate::state::State;
use crate::trace::Trace;

/// The names of the spans of the stages, with the colours that the same activities have in sampled lanes.
const KNOWN: &[(&str, &str, &str)] = &[
    ("accept", State::Accept.fill(), State::Accept.letter_colour()),
    ("read", State::Read.fill(), State::Read.letter_colour()),
    ("write", State::Write.fill(), State::Write.letter_colour()),
    ("poll", State::Poll.fill(), State::Poll.letter_colour()),
    ("lock", State::Lock.fill(), State::Lock.letter_colour()),
    ("broadcast", "#009e73", "#fff"),
    ("client", "#d3d7dc", "#111"),
    ("split", "#f0e442", "#111"),
    ("close", "#b07d4f", "#111"),
];

/// The colours of other names, in the order in which the names occur.
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

/// The colours of all further names.
pub(super) const REST: (&str, &str) = ("#6b7178", "#fff");

pub(super) const REST_CLASS: &str = "rest";

/// The colours of a name.
pub(super) struct NameColour {
    pub(super) name: usize,
    pub(super) fill: &'static str,
    pub(super) text: &'static str,
}

/// Returns the colours of names. Names at the end have no colour of their own if there are too many.
pub(super) fn name_colours(trace: &Trace, names: &[usize]) -> Vec<NameColour> {
    let mut others = OTHERS.iter();
    let mut chosen = Vec::new();
    for name in names {
        let known = KNOWN.iter().find(|(known, ..)| *known == trace.names[*name]);
        let colours = known.map(|(_, fill, text)| (*fill, *text));
        if let Some((fill, text)) = colours.or_else(|| others.next().copied()) {
            chosen.push(NameColour { name: *name, fill, text });
        }
    }
    chosen
}
