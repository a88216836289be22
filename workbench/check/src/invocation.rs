use crate::Profile;

/// How `tincan check` was called, for the text of a failure.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The profile.
    pub profile: Profile,
    /// The seed.
    pub seed: u64,
    /// How many hints are shown with a failure, 0 to 3.
    pub hints: u8,
    /// The server that is checked: `--addr ADDR`, or `-- CMD ARGS…`, quoted for a shell.
    pub target: String,
    /// The command that runs one check again, with `{id}` for the check; empty if the text does not show it.
    pub rerun_command: String,
    /// The file with a page of the book, with `{page}` for its name.
    pub book_page: &'static str,
}

impl Invocation {
    /// Returns the command that runs one check again.
    #[must_use]
    pub fn rerun_command_for(&self, id: &str) -> String {
        self.rerun_command.replace("{id}", id)
    }

    /// Returns where to read a part of the book, which is given as `PAGE.md#HEADING`; `None` if `page` has no heading.
    #[must_use]
    pub fn where_to_read(&self, page: &str) -> Option<String> {
        let (page, heading) = page.split_once(".md#")?;
        Some(format!("{}, \"{heading}\"", self.book_page.replace("{page}", page)))
    }
}

/// The files of the book in a clone, for [`Invocation::book_page`].
pub const BOOK_IN_CLONE: &str = "docs/src/{page}.md";

/// The files of the book in a release.
pub const BOOK_IN_RELEASE: &str = "book/{page}.html";
