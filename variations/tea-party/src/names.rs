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
    "A name has 1 to {MAX_NAME_CHARS} characters in UTF-8, no white space and no control characters among them."
)]
pub struct BadName;

/// A name, shown as it was given. Two are equal when they differ in nothing but case and Unicode
/// form, which is what Unicode calls a canonical caseless match (D145 of its core specification),
/// and in characters that nobody sees.
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
/// assert_eq!(name("Ann"), name("A\u{200b}nn")); // a space of no width
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
        let chars = text.nfc().take(MAX_NAME_CHARS + 1).count();
        let decomposed: String = text.chars().filter(|c| !is_invisible(*c)).nfd().collect();
        if decomposed.is_empty() || chars > MAX_NAME_CHARS || text.contains(is_wrong) {
            return Err(BadName);
        }
        let key = default_case_fold_str(&decomposed).nfc().collect();
        Ok(Name { shown: text.to_owned(), key })
    }
}

/// Whether no name has this character. One stands for bytes that were not UTF-8: with it, Zoé and Zoë
/// would be the same to a terminal that writes Latin-1.
fn is_wrong(c: char) -> bool {
    c.is_whitespace() || c.is_control() || turns_text(c) || c == char::REPLACEMENT_CHARACTER
}

/// Whether a character shows nothing of its own: Unicode's `Default_Ignorable_Code_Point`. Some
/// scripts and emoji need such joiners and selectors between others, so a name may have them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character sets the direction of what follows, the text of others on the same line
/// included (Unicode's `Bidi_Control`): a control character for a terminal, though Unicode files it elsewhere.
fn turns_text(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
