//! Explains the letters and colours of lanes.

use crate::state::State;
use crate::wrap::{join, wrap};

/// The letters that occur in drawn lanes: only these need an explanation.
#[derive(Clone, Debug, Default)]
pub struct Legend {
    pub(crate) states: Vec<State>,
    /// Whether there are capital letters.
    pub(crate) has_capitals: bool,
}

impl Legend {
    /// Returns the meaning of each letter, in lines of at most `width` columns, with colours.
    #[must_use]
    pub fn letters(&self, width: usize) -> Vec<String> {
        let entry = |state: State| {
            let style = state.style();
            format!("{style}{}{style:#} {state}", state.letter())
        };
        join(self.states_in_order().map(entry), "   ", width)
    }

    /// Returns the notes that a reader of the lanes needs, in lines of at most `width` columns.
    #[must_use]
    pub fn notes(&self, width: usize) -> Vec<String> {
        let capitals = self.has_capitals.then_some(CAPITALS);
        let notes = self.states_in_order().filter_map(State::note);
        capitals.into_iter().chain(notes).flat_map(|note| wrap(note, width)).collect()
    }

    fn states_in_order(&self) -> impl Iterator<Item = State> {
        State::ALL.into_iter().filter(|state| self.states.contains(state))
    }
}

const CAPITALS: &str =
    "A capital letter: it waited, but ran in between, too briefly to be seen running.";
