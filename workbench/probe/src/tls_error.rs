use std::fmt;

/// Why TLS with a server failed.
#[derive(Clone, Debug)]
pub enum TlsError {
    /// The server sent bytes that are not TLS.
    NotTls,
    /// The server sent an alert with this name.
    Alert(String),
    /// The client does not trust the server's certificate, for this reason.
    Certificate(String),
    /// Any other error, as text.
    Other(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("the bytes are not TLS"),
            Self::Alert(name) => write!(f, "the TLS alert {name}"),
            Self::Certificate(reason) | Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for TlsError {}
