//! One situation in which an experiment measures every server: a number of clients, a rate.

/// One situation of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The heading in tables and charts, with its unit: `100 clients`.
    pub label: String,
    /// The number that differs from case to case.
    pub value: f64,
    /// The number of clients that are connected at the same time.
    pub clients: u32,
}

impl Case {
    /// Returns the case with this number of clients.
    #[must_use]
    pub fn clients(n: u32) -> Self {
        let label = if n == 1 { "1 client".to_owned() } else { format!("{} clients", grouped(n)) };
        Self { label, value: f64::from(n), clients: n }
    }

    /// Returns the number of clients as a length.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients as usize
    }
}

/// Writes a number with a comma between thousands.
#[must_use]
pub fn grouped(n: u32) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}
