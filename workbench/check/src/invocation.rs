use crate::Profile;

/// The command line of `tincan check`, for the texts that quote it.
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
    /// The command that shows one failure again, with `{id}` for the check; empty if the text does not show it.
    pub rerun_command: String,
    /// The command that prints a page of the book, without the page; if there is no such command, a text names the
    /// file of the page.
    pub read_command: Option<String>,
}

impl Invocation {
    /// Returns the command that runs one check again.
    #[must_use]
    pub fn rerun_command_for(&self, id: &str) -> String {
        self.rerun_command.replace("{id}", id)
    }

    /// Returns where to read a part of a page, given as `PAGE.md#HEADING`; or nothing if this does not name a part.
    #[must_use]
    pub fn where_to_read(&self, page: &str) -> Option<String> {
        let (page, heading) = page.split_once('#')?;
        Some(match &self.read_command {
            Some(command) => format!("{command} {} \"{heading}\"", page.trim_end_matches(".md")),
            None => format!("docs/src/{page}, \"{heading}\""),
        })
    }
}
