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
}

impl Invocation {
    /// Returns the command that runs one check again.
    #[must_use]
    pub fn rerun_command_for(&self, id: &str) -> String {
        self.rerun_command.replace("{id}", id)
    }
}
