//! Replaces the module [`tls`](crate::tls) in a build without the feature `tls`.
//!
//! These types have no values, so that other modules can use them in both builds. A few items of
//! [`tls`](crate::tls) are missing here.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Result, bail};

pub use crate::tls_error::TlsError;

/// The TLS settings of the clients of one server.
#[derive(Clone, Debug)]
pub enum TlsSettings {}

impl TlsSettings {
    /// Returns an error, because this build has no TLS.
    pub fn with_ca(_ca: &Path) -> Result<Self> {
        Self::with_any_certificate()
    }

    /// Returns an error, because this build has no TLS.
    pub fn with_any_certificate() -> Result<Self> {
        bail!("built without the feature `tls` of the package `probe`")
    }

    /// Returns the first bytes that a client sends.
    pub fn client_hello(&self) -> Result<Vec<u8>> {
        match *self {}
    }

    /// Reports whether the end of one direction also ends the other one.
    #[must_use]
    pub fn ends_both_directions(&self) -> bool {
        match *self {}
    }

    /// Returns notes on the TLS of the server.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match *self {}
    }
}

/// The TLS of one connection.
#[derive(Debug)]
pub enum TlsSession {}

impl TlsSession {
    /// Begins a session.
    pub fn new(tls: &TlsSettings) -> Result<Self> {
        match *tls {}
    }

    /// Does the whole handshake.
    pub fn handshake(tls: &TlsSettings, _sock: &mut (impl Read + Write)) -> Result<Self> {
        match *tls {}
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub(crate) fn has_close_notify(&self) -> bool {
        match *self {}
    }

    pub(crate) fn version(&self) -> &'static str {
        match *self {}
    }

    /// Decrypts bytes that came from the socket.
    pub fn decrypt(&mut self, _encrypted: &[u8], _plain: &mut Vec<u8>) -> Result<(), TlsError> {
        match *self {}
    }

    pub(crate) fn server_speaks_tls(&self) -> bool {
        match *self {}
    }

    pub(crate) fn set_omits_close_notify(&self) {
        match *self {}
    }

    /// Encrypts bytes.
    pub fn encrypt(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Writes the encrypted bytes to the socket.
    pub fn flush(&mut self, _sock: &mut impl Write) -> io::Result<()> {
        match *self {}
    }

    /// Reports whether encrypted bytes wait to be written.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match *self {}
    }

    /// Adds `close_notify` after the data.
    pub fn close_notify(&mut self) {
        match *self {}
    }
}
