//! Names of people and of rooms, and when two are the same.

use std::fmt;

use caseless::default_case_fold_str;
use icu_properties::CodePointSetData;
use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, EnumeratedProperty as _, GeneralCategory,
    GeneralCategoryGroup,
};
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
        if !text.contains(is_shown) || chars > MAX_NAME_CHARS || text.contains(is_wrong) {
            return Err(BadName);
        }
        let key = default_case_fold_str(&decomposed).nfc().collect();
        Ok(Name { shown: text.to_owned(), key })
    }
}

/// Whether no name has this character: white space and what looks like it, control characters, and
/// those that set the direction of what follows, the text of others on the same line included. One
/// stands for bytes that were not UTF-8: with it, Zoé and Zoë would be the same to a terminal that
/// writes Latin-1.
fn is_wrong(c: char) -> bool {
    c.is_whitespace()
        || BLANKS.contains(&c)
        || c.is_control()
        || CodePointSetData::new::<BidiControl>().contains(c)
        || c == char::REPLACEMENT_CHARACTER
}

/// The characters that take the room of one and show nothing, and that no property of Unicode tells
/// from others: by their general categories they are symbols and letters, none is `White_Space` or
/// `Default_Ignorable_Code_Point`. Their names say it: BRAILLE PATTERN BLANK, MUSICAL SYMBOL NULL
/// NOTEHEAD, EGYPTIAN HIEROGLYPH FULL BLANK and HALF BLANK.
const BLANKS: [char; 4] = ['\u{2800}', '\u{1d159}', '\u{13441}', '\u{13442}'];

/// Whether a character shows nothing of its own: those with the property
/// `Default_Ignorable_Code_Point`, which Unicode made for this (section 5.21 of its core
/// specification), and those of the category `Cf`, format. Some scripts and emoji need such joiners
/// and selectors between others, so a name may have them.
fn is_invisible(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || GeneralCategory::for_char(c) == GeneralCategory::Format
}

/// Whether a character shows something where it stands alone, as an accent does not.
fn is_shown(c: char) -> bool {
    !is_invisible(c) && !GeneralCategoryGroup::Mark.contains(GeneralCategory::for_char(c))
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
