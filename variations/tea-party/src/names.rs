//! Names of users and of rooms, and when two names are the same.

use std::fmt;
use std::sync::LazyLock;

use caseless::default_case_fold_str;
use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

/// The longest name, in characters. The characters are counted after composition (Unicode form NFC), so an
/// é counts as one, whether it was sent as one character or as two.
pub const MAX_NAME_CHARS: usize = 32;

/// The error for a text that cannot be a name. The error's text is the reply to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "A name has 1 to {MAX_NAME_CHARS} characters in UTF-8, without white space and control characters."
)]
pub struct BadName;

/// A name. It is shown as it was given.
///
/// Two names are equal if they differ only in case and in Unicode form: Unicode calls this a canonical
/// caseless match (D145 of its core specification). Invisible characters do not make names different
/// either.
///
/// ```
/// use tea_party::Name;
///
/// let name = |text| Name::new(text).unwrap();
/// assert_eq!(name("ANN"), name("ann"));
/// assert_eq!(name("Straße"), name("STRASSE")); // converting to lower case would not be enough
/// assert_eq!(name("ΣΊΣΥΦΟΣ"), name("σίσυφος")); // a final sigma is a sigma
/// assert_eq!(name("Zo\u{e9}"), name("ZOE\u{301}"));
/// assert_ne!(name("Zoe"), name("Zoé"));
/// assert_eq!(name("Ann"), name("A\u{200b}nn")); // a zero width space
/// assert_eq!(name("Ann").to_string(), "Ann");
/// assert!(Name::new("Ann Lee").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Name {
    shown: String,
    /// The key is the same for all names that are equal.
    key: String,
}

impl Name {
    /// Makes a name from a text.
    ///
    /// # Errors
    ///
    /// [`BadName`] if the text is empty or too long, contains a character that is not allowed, or contains
    /// no visible character.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let is_too_long = text.nfc().nth(MAX_NAME_CHARS).is_some();
        if is_too_long || FORBIDDEN.is_match(text) || !VISIBLE.is_match(text) {
            return Err(BadName);
        }
        let visible = INVISIBLE.replace_all(text, "");
        // Unicode case folding needs the decomposed form (NFD).
        let decomposed: String = visible.nfd().collect();
        let key = default_case_fold_str(&decomposed).nfc().collect();
        Ok(Name { shown: text.to_owned(), key })
    }
}

/// The characters that a name must not contain:
///
/// * white space and control characters;
/// * the characters that set the direction of the text after them, which may be other users' text in the
///   same line;
/// * U+FFFD, which replaces bytes that are not UTF-8. If it were allowed, the names Zoé and Zoë of two
///   users whose terminals send Latin-1 would be the same;
/// * four characters that look like a space. No property of Unicode says so (their categories are those of
///   symbols and letters), but their names say so: BRAILLE PATTERN BLANK, MUSICAL SYMBOL NULL NOTEHEAD,
///   EGYPTIAN HIEROGLYPH FULL BLANK and HALF BLANK.
static FORBIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"[\p{White_Space}\p{Cc}\p{Bidi_Control}\u{fffd}\u{2800}\u{1d159}\u{13441}\u{13442}]")
});

/// The characters that are invisible: those with the property `Default_Ignorable_Code_Point`, which exists
/// for this purpose (section 5.21 of Unicode's core specification), and those of the category `Cf`, format.
/// A name may contain them, because some scripts and emoji need joiners and selectors between other
/// characters.
static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\p{Default_Ignorable_Code_Point}\p{Cf}]"));

/// The characters that are visible even when they are alone. An accent (category `M`) is not.
static VISIBLE: LazyLock<Regex> =
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
