//! Says in plain words why there is no TLS connection, and what the user can do about it.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Error, anyhow};
use rustls::pki_types::pem;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use serverkit::readable_error;

/// Explains why the handshake with `host` failed. `ca` is the file of trusted CAs, if the user has named
/// one.
pub fn explain_handshake_error(err: io::Error, host: &str, ca: Option<&Path>) -> Error {
    if let Some(tls_error) = err.get_ref().and_then(|err| err.downcast_ref()) {
        return match tls_error {
            rustls::Error::InvalidCertificate(reason) => {
                anyhow!(explain_certificate_error(reason, host, ca))
            }
            err => anyhow!(explain_tls_error(err)),
        };
    }
    match err.kind() {
        ErrorKind::UnexpectedEof => {
            anyhow!("the server closed the connection: does it speak TLS?")
        }
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            anyhow!("{}: does it speak TLS?", readable_error(err))
        }
        _ => readable_error(err).into(),
    }
}

/// Explains what is wrong with a server's certificate.
#[allow(clippy::enum_glob_use)] // With the enum's name, the match is twice as long and no clearer.
fn explain_certificate_error(reason: &CertificateError, host: &str, ca: Option<&Path>) -> String {
    use CertificateError::*;
    let trusted = match ca {
        Some(ca) => {
            format!("in {}: --ca needs the certificate of the CA that has signed it", ca.display())
        }
        None => "that the system trusts (--ca FILE names another)".to_owned(),
    };
    match reason {
        UnknownIssuer => {
            format!("wrong CA: the server's certificate is not signed by a CA {trusted}")
        }
        BadSignature => format!(
            "wrong CA, or an RSA key of fewer than 2048 bits: the signature of the server's \
             certificate does not match the key of the CA of that name {trusted}"
        ),
        Expired | ExpiredContext { .. } => {
            "the server's certificate has expired: the server needs a new one, or the clock of this \
             machine is wrong"
                .into()
        }
        NotValidYet | NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: the server needs another one, or the clock of \
             this machine is wrong"
                .into()
        }
        NotValidForNameContext { presented, .. } if presented.is_empty() => format!(
            "the server's certificate names no host: the server needs one with {host} as a \
             subjectAltName (its common name does not count)"
        ),
        NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().map(|name| inner_name(name)).collect();
            format!(
                "wrong host name: the server's certificate is not for {host} but for {}: connect \
                 to one of the names in it, or give the server a certificate for {host}",
                names.join(", ")
            )
        }
        NotValidForName => format!(
            "wrong host name: the server's certificate is not for {host}: connect to one of the names \
             in it, or give the server a certificate for {host}"
        ),
        Revoked => {
            "the server's certificate has been revoked by its CA: the server needs a new one".into()
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers: the server needs one with serverAuth in its \
             extendedKeyUsage, or without an extendedKeyUsage"
                .into()
        }
        BadEncoding => "the server's certificate is damaged: the server needs a new one".into(),
        UnsupportedSignatureAlgorithmContext { .. }
        | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate is signed with an algorithm that is not accepted: the server \
             needs one signed with RSA and SHA-256, ECDSA P-256 or P-384, or Ed25519"
                .into()
        }
        Other(reason) => match reason.0.downcast_ref() {
            Some(reason) => explain_webpki_error(reason),
            None => unusable_certificate(&reason.0),
        },
        reason => unusable_certificate(reason),
    }
}

/// Explains the errors about a certificate that rustls passes on from webpki.
fn explain_webpki_error(reason: &webpki::Error) -> String {
    use webpki::Error;
    match reason {
        Error::CaUsedAsEndEntity => {
            "the server's certificate is that of a CA, which is for signing others: the server needs one of \
             its own, with CA:FALSE in its basicConstraints (openssl req -x509 makes a CA, unless \
             told -addext basicConstraints=CA:FALSE)"
                .into()
        }
        Error::EndEntityUsedAsCa => {
            "the server's certificate is signed by a certificate that is not a CA: the server needs one \
             signed by a CA"
                .into()
        }
        Error::UnsupportedCertVersion => {
            "the server's certificate is of an old version of X.509: the server needs one of version 3, \
             with its host as a subjectAltName (openssl x509 -req makes one if told -extfile FILE)"
                .into()
        }
        Error::UnsupportedCriticalExtension => {
            "the server's certificate has a critical extension that is not supported: the server needs \
             one without it"
                .into()
        }
        Error::NameConstraintViolation => {
            "the server's certificate is for a name that its CA may not sign for: the server needs one \
             from another CA"
                .into()
        }
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => {
            "the certificate chain is too long: the server needs a certificate with fewer \
             intermediate CAs"
                .into()
        }
        reason => unusable_certificate(reason),
    }
}

fn unusable_certificate(reason: &impl Debug) -> String {
    format!("the server's certificate cannot be used ({reason:?}): the server needs a new one")
}

/// Explains the other errors that end a TLS connection.
pub fn explain_tls_error(err: &rustls::Error) -> String {
    use rustls::Error;
    match err {
        Error::InvalidMessage(_) => "the server does not speak TLS".into(),
        Error::NoCertificatesPresented => {
            "the server presents no certificate: the server needs one".into()
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server speaks only old versions of TLS: the server needs 1.2 or 1.3".into(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a certificate of its clients, and chat-client has none".into()
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server has no certificate for this host name: connect to another of its names"
                .into()
        }
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | Error::PeerIncompatible(_) => {
            "the server and chat-client have no cipher or kind of key in common, or the server requires \
             a certificate of its clients, and chat-client has none"
                .into()
        }
        Error::AlertReceived(alert) => {
            format!("the server refused the connection with the TLS alert {alert:?}")
        }
        Error::PeerMisbehaved(reason) => format!("the server breaks a rule of TLS: {reason:?}"),
        Error::DecryptError => "the server sent bytes that cannot be decrypted".into(),
        err => err.to_string(),
    }
}

/// Explains why a file is not valid PEM.
pub fn explain_pem_error(err: &pem::Error) -> String {
    match err {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the line -----END {}----- is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line {} is cut off", String::from_utf8_lossy(line).trim_end())
        }
        pem::Error::Base64Decode(_) => "a line between BEGIN and END is not base64".to_owned(),
        err => err.to_string(),
    }
}

/// Returns the name from the text in which rustls wraps it: `example.org` from `DnsName("example.org")`,
/// `192.0.2.7` from `IpAddress(192.0.2.7)`.
fn inner_name(wrapped: &str) -> &str {
    let inner = wrapped.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(wrapped).trim_matches('"')
}
