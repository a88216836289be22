//! Names of people and of rooms, and when two are the same.

use std::fmt;
use std::sync::LazyLock;

use caseless::default_case_fold_str;
use regex::Regex;
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
        if !SHOWN.is_match(text) || chars > MAX_NAME_CHARS || WRONG.is_match(text) {
            return Err(BadName);
        }
        let decomposed: String = INVISIBLE.replace_all(text, "").nfd().collect();
        let key = default_case_fold_str(&decomposed).nfc().collect();
        Ok(Name { shown: text.to_owned(), key })
    }
}

/// The characters that no name has: white space, control characters, those that set the direction of what
/// follows (the text of others on the same line included), the one that stands for bytes that were not
/// UTF-8 (with it, Zoé and Zoë would be the same to a terminal that writes Latin-1), and four blanks.
///
/// The blanks take the room of one character and show nothing, and no property of Unicode tells them
/// from others: by their general categories they are symbols and letters. Their names say it: BRAILLE
/// PATTERN BLANK, MUSICAL SYMBOL NULL NOTEHEAD, EGYPTIAN HIEROGLYPH FULL BLANK and HALF BLANK.
static WRONG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"[\p{White_Space}\p{Cc}\p{Bidi_Control}\u{fffd}\u{2800}\u{1d159}\u{13441}\u{13442}]")
});

/// The characters that show nothing of their own: those with the property
/// `Default_Ignorable_Code_Point`, which Unicode made for this (section 5.21 of its core specification),
/// and those of the category `Cf`, format. Some scripts and emoji need such joiners and selectors between
/// others, so a name may have them.
static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\p{Default_Ignorable_Code_Point}\p{Cf}]"));

/// The characters that show something where they stand alone, as an accent (category `M`) does not.
static SHOWN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[^\p{Default_Ignorable_Code_Point}\p{Cf}\p{M}]"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the tests use every pattern")
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
