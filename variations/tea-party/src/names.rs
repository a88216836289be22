//! Names of people and of rooms, and when two are the same.

use std::fmt;

use caseless::default_case_fold_str;
use unicode_normalization::UnicodeNormalization as _;

/// The longest name, in characters: after composition, so that it makes no difference how an é is
/// written.
pub const MAX_NAME_CHARS: usize = 32;

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "A name has 1 to {MAX_NAME_CHARS} characters, no white space and no control characters among them."
)]
pub struct BadName;

/// A name, shown as it was given. Two are equal when they differ in nothing but case and Unicode
/// form, which is what Unicode calls a canonical caseless match (D145 of its core specification).
///
/// ```
/// use tea_party::Name;
///
/// let name = |text| Name::new(text).unwrap();
/// assert_eq!(name("ANN"), name("ann"));
/// assert_eq!(name("Straße"), name("STRASSE")); // what lower case alone does not find
/// assert_eq!(name("ΣΊΣΥΦΟΣ"), name("σίσυφος")); // a final sigma is a sigma
/// assert_eq!(name("Zo\u{e9}"), name("ZOE\u{301}"));
/// assert_ne!(name("Zoe"), name("Zoé"));
/// assert_eq!(name("Ann").to_string(), "Ann");
/// assert!(Name::new("Ann Lee").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Name {
    shown: String,
    key: String,
}

impl Name {
    /// Takes a text as a name.
    ///
    /// # Errors
    ///
    /// [`BadName`]: it is empty or too long, or there are characters in it that no name has.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let is_wrong = |c: char| c.is_whitespace() || c.is_control() || turns_text(c);
        let chars = text.nfc().take(MAX_NAME_CHARS + 1).count();
        if chars == 0 || chars > MAX_NAME_CHARS || text.contains(is_wrong) {
            return Err(BadName);
        }
        let decomposed: String = text.nfd().collect();
        let key = default_case_fold_str(&decomposed).nfc().collect();
        Ok(Name { shown: text.to_owned(), key })
    }
}

/// Whether a character sets the direction of what follows, the text of others on the same line
/// included: a control character for a terminal, though Unicode files it elsewhere.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
