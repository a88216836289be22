//! What the letters and colours of lanes mean.

use unicode_width::UnicodeWidthStr as _;

use crate::state::State;
use crate::wrap::wrap;

/// What was drawn, so that the legend need not explain more.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub(crate) states: Vec<State>,
    pub(crate) ran: bool,
}

impl Seen {
    /// What the letters mean, in lines with colours.
    #[must_use]
    pub fn legend(&self, width: usize) -> Vec<String> {
        let mut lines: Vec<(String, usize)> = Vec::new();
        for state in State::ALL.into_iter().filter(|state| self.states.contains(state)) {
            let style = state.style();
            let text = format!("{style}{}{style:#} {state}", state.letter());
            let taken = 2 + state.name().width();
            match lines.last_mut() {
                Some((line, used)) if *used + 3 + taken <= width => {
                    *line += "   ";
                    *line += &text;
                    *used += 3 + taken;
                }
                _ => lines.push((text, taken)),
            }
        }
        lines.into_iter().map(|(line, _)| line).collect()
    }

    /// What else is to be known to read the lanes.
    #[must_use]
    pub fn notes(&self, width: usize) -> Vec<String> {
        let ran = self.ran.then_some(RAN);
        let notes = State::ALL.into_iter().filter(|state| self.states.contains(state));
        ran.into_iter()
            .chain(notes.filter_map(State::note))
            .flat_map(|it| wrap(it, width))
            .collect()
    }
}

/// What a capital letter means.
const RAN: &str =
    "A capital letter: it waited, but ran in between, too briefly to be seen running.";
