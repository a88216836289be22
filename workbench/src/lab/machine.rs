//! The machine's card: a figure means little without it.

/// What the figures were measured on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's own name for itself.
    pub processor: String,
    /// Cores that this program may use.
    pub cores: usize,
    /// Memory in bytes, if the system tells.
    pub memory_bytes: Option<u64>,
    /// The operating system and its version.
    pub system: String,
    /// Limits that bound what could be measured: what, and how much.
    pub limits: Vec<(&'static str, String)>,
    /// Processes that wanted to run, on average over a minute, at the beginning.
    pub load_before: Option<f64>,
    /// The same at the end.
    pub load_after: Option<f64>,
    /// How much of all processors other programs used meanwhile, if the system tells.
    pub others_percent: Option<f64>,
}

impl Machine {
    /// Whether other programs used so much that the figures suffer.
    #[must_use]
    pub fn was_busy(&self) -> bool {
        self.others_percent.is_some_and(|percent| percent > 5.0)
    }
}
