//! Who the server is: a certificate and its key, from files, or made here to learn with.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{RootCertStore, ServerConfig};
use tracing::info;

/// How long a development certificate is good for: 365 days.
const GOOD_FOR: Duration = Duration::from_hours(365 * 24);

/// The files in a folder of `--dev-cert`.
const DEV_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// The keys that ring can sign with.
const USABLE_KEYS: &str = "it must be an ECDSA key on the curve P-256 or P-384, an Ed25519 key, or an \
                           RSA key of 2,048 to 4,096 bits with the exponent 65,537";

// A comment for clap's eyes would describe the whole program.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub struct CertArgs {
    /// The server's certificate, then those between it and its CA, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Use the certificate in DIR, to learn with: one for localhost, and a CA that clients can trust,
    /// ca.pem, are made if DIR is empty or not there; nothing is overwritten
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cert", "key"])]
    dev_cert: Option<PathBuf>,
}

impl CertArgs {
    pub fn config(&self) -> Result<ServerConfig> {
        match (&self.dev_cert, &self.cert, &self.key) {
            (Some(dir), ..) => {
                let (what, [ca, cert, key]) = dev_files(dir)?;
                let config = config(&cert, &key)?;
                still_good(&ca, &cert).with_context(|| {
                    format!("{}: to have others made, remove {}", cert.display(), dir.display())
                })?;
                info!("{what}: clients that trust {} trust us", ca.display());
                Ok(config)
            }
            (_, Some(cert), Some(key)) => config(cert, key),
            _ => bail!("no certificate: give --cert and --key, or --dev-cert"),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn config(cert: &Path, key: &Path) -> Result<ServerConfig> {
    let certs = read_certs(cert).with_context(|| cert.display().to_string())?;
    let private_key = read_key(key).with_context(|| key.display().to_string())?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth();
    builder.with_single_cert(certs, private_key).map_err(|err| match err {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("{}: not the key of the certificate in {}", key.display(), cert.display())
        }
        rustls::Error::InvalidCertificate(_) => {
            Error::from(err).context(cert.display().to_string())
        }
        // What is left is a key that the cryptography here cannot use.
        _ => anyhow!("{}: the private key in it cannot be used: {USABLE_KEYS}", key.display()),
    })
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read_text(path)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certs = certs.map_err(not_pem)?;
    match certs.is_empty() {
        true => bail!("there is no certificate in it (-----BEGIN CERTIFICATE-----)"),
        false => Ok(certs),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let text = read_text(path)?;
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Err(pem::Error::NoItemsFound) if text.contains("ENCRYPTED PRIVATE KEY") => {
            bail!("the private key in it is locked with a pass phrase")
        }
        Err(pem::Error::NoItemsFound) => {
            bail!("there is no private key in it (-----BEGIN PRIVATE KEY-----)")
        }
        key => key.map_err(not_pem),
    }
}

/// Reads a text without its byte order marks. Some editors put one before the first line of a file, and
/// in files that were joined there is one before each certificate.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        bail!("it is encoded in UTF-16: save it in UTF-8");
    }
    Ok(String::from_utf8_lossy(&bytes).replace('\u{feff}', ""))
}

fn not_pem(err: pem::Error) -> Error {
    match err {
        pem::Error::MissingSectionEnd { end_marker } => {
            anyhow!("it has no {}", String::from_utf8_lossy(&end_marker))
        }
        err => anyhow!("it is no valid PEM: {err}"),
    }
}

/// Gives the files in a folder of `--dev-cert`, which are made if there are none, and says which it was.
fn dev_files(dir: &Path) -> Result<(&'static str, [PathBuf; 3])> {
    let files = DEV_FILES.map(|name| dir.join(name));
    let (there, missing): (Vec<_>, Vec<_>) = files.iter().partition(|path| path.exists());
    match (&there[..], &missing[..]) {
        (_, []) => Ok(("Using the development CA made earlier", files)),
        ([], _) => {
            make_dev_files(dir, &files)?;
            Ok(("Made a development CA", files))
        }
        ([there, ..], [missing, ..]) => bail!(
            "there is {} but no {}: nothing is overwritten, so remove the one or name another folder",
            there.display(),
            missing.display()
        ),
    }
}

/// The CA's own key is used once and never written down: nobody can make a second certificate that
/// those who trust this CA would trust.
fn make_dev_files(dir: &Path, [ca, cert, key]: &[PathBuf; 3]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let authority = Issuer::new(ca_params()?, KeyPair::generate()?);
    let ca_cert = authority_cert(&authority)?;
    let server_key = KeyPair::generate()?;
    let server_cert = server_params()?.signed_by(&server_key, &authority)?;
    write_new(key, &server_key.serialize_pem(), 0o600)?;
    write_new(cert, &server_cert.pem(), 0o644)?;
    write_new(ca, &ca_cert, 0o644)
}

fn authority_cert(authority: &Issuer<'_, KeyPair>) -> Result<String> {
    Ok(ca_params()?.self_signed(authority.key())?.pem())
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = params("Tin Can Chat development CA", &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 1], 32)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(LOOPBACK_V6, 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

const LOOPBACK_V6: [u8; 16] = std::net::Ipv6Addr::LOCALHOST.octets();

fn server_params() -> Result<CertificateParams> {
    let mut params = params("localhost", &["localhost", "127.0.0.1", "::1"])?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_hours(1)).into(); // a client's clock may be behind
    params.not_after = (now + GOOD_FOR).into();
    Ok(params)
}

/// Fails if there is something already, be it since a moment ago.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode; // a new file is its folder's owner's
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Looks at a certificate as a client will that trusts its CA.
fn still_good(ca: &Path, cert: &Path) -> Result<()> {
    let mut roots = RootCertStore::empty();
    for cert in read_certs(ca).with_context(|| ca.display().to_string())? {
        roots.add(cert)?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let certs = read_certs(cert)?;
    let (first, others) = certs.split_first().context("there is no certificate in it")?;
    let localhost = ServerName::try_from("localhost")?;
    verifier.verify_server_cert(first, others, &localhost, &[], UnixTime::now())?;
    Ok(())
}
