//! The server's certificate and its private key: read from files, or created here for development.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv6Addr;
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

/// How long a development certificate is valid: 365 days.
const VALIDITY: Duration = Duration::from_hours(365 * 24);

/// The private keys that ring can sign with.
const USABLE_KEYS: &str = "it must be an ECDSA key on the curve P-256 or P-384, an Ed25519 key, or an \
                           RSA key of 2,048 to 4,096 bits with the exponent 65,537";

// Not a doc comment: clap would take it for the description of the whole program.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub struct CertArgs {
    /// PEM file with the server's certificate, followed by the intermediate certificates, if any
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Use the development certificate for localhost in DIR; if DIR has none, create it, and the
    /// certificate of a CA for clients to trust (ca.pem); nothing is overwritten
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cert", "key"])]
    dev_cert: Option<PathBuf>,
}

impl CertArgs {
    /// Reads the certificate and the key, and checks that the server can use them. Creates them first if
    /// `--dev-cert` asks for it.
    pub fn tls_config(&self) -> Result<ServerConfig> {
        match (&self.dev_cert, &self.cert, &self.key) {
            (Some(dir), ..) => dev_config(dir),
            (None, Some(cert), Some(key)) => read_config(cert, key),
            _ => bail!("no certificate: use --cert and --key, or --dev-cert"),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read_config(cert: &Path, key: &Path) -> Result<ServerConfig> {
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
        // The only other reason is a key that ring cannot use.
        _ => anyhow!("{}: the private key in it cannot be used: {USABLE_KEYS}", key.display()),
    })
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read_text(path)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certs = certs.map_err(explain_pem_error)?;
    if certs.is_empty() {
        bail!("there is no certificate in it (-----BEGIN CERTIFICATE-----)");
    }
    Ok(certs)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let text = read_text(path)?;
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Err(pem::Error::NoItemsFound) if text.contains("ENCRYPTED PRIVATE KEY") => {
            bail!("the private key in it is encrypted with a passphrase")
        }
        Err(pem::Error::NoItemsFound) => {
            bail!("there is no private key in it (-----BEGIN PRIVATE KEY-----)")
        }
        key => key.map_err(explain_pem_error),
    }
}

/// Reads a text, and removes its byte order marks. Some editors write one at the beginning of a file, so a
/// file that was joined from several files may have one before each certificate.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        bail!("it is encoded in UTF-16: save it in UTF-8");
    }
    Ok(String::from_utf8_lossy(&bytes).replace('\u{feff}', ""))
}

fn explain_pem_error(err: pem::Error) -> Error {
    match err {
        pem::Error::MissingSectionEnd { end_marker } => {
            anyhow!("it has no {}", String::from_utf8_lossy(&end_marker))
        }
        err => anyhow!("it is not valid PEM: {err}"),
    }
}

/// The files in a folder of `--dev-cert`.
struct DevFiles {
    /// The certificate of the CA, which clients must trust.
    ca: PathBuf,
    /// The server's certificate, signed by the CA.
    cert: PathBuf,
    /// The private key of the server's certificate.
    key: PathBuf,
}

fn dev_config(dir: &Path) -> Result<ServerConfig> {
    let files =
        DevFiles { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    let paths = [&files.ca, &files.cert, &files.key];
    let existing = paths.iter().find(|path| path.exists());
    let missing = paths.iter().find(|path| !path.exists());
    let origin = match (existing, missing) {
        (Some(existing), Some(missing)) => bail!(
            "there is {} but no {}: nothing is overwritten, so remove the first or use another folder",
            existing.display(),
            missing.display()
        ),
        (Some(_), None) => "Using the development CA created earlier",
        (None, _) => {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            create_dev_files(&files)?;
            "Created a development CA"
        }
    };
    let config = read_config(&files.cert, &files.key)?;
    check_as_client(&files)
        .map_err(|err| anyhow!("{err:#}; remove {} to create new certificates", dir.display()))?;
    info!("{origin}: clients that trust {} accept this server", files.ca.display());
    Ok(config)
}

/// Creates a CA, and a certificate that it signs.
///
/// The CA's private key is used only here and never stored, so nobody can create another certificate that
/// clients accept because they trust this CA.
fn create_dev_files(files: &DevFiles) -> Result<()> {
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca_params()?.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca_params()?, ca_key);
    let server_key = KeyPair::generate()?;
    let server_cert = server_params()?.signed_by(&server_key, &issuer)?;
    write_new(&files.key, &server_key.serialize_pem(), 0o600)?;
    write_new(&files.cert, &server_cert.pem(), 0o644)?;
    write_new(&files.ca, &ca_cert.pem(), 0o644)
}

/// Returns the CA's parameters. Clients accept certificates from this CA only for localhost and its
/// addresses.
fn ca_params() -> Result<CertificateParams> {
    let mut params = params("Tin Can Chat development CA", &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 1], 32)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                Ipv6Addr::LOCALHOST.octets(),
                128,
            )),
        ],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

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
    params.not_before = (now - Duration::from_hours(1)).into(); // a client's clock may be slow
    params.not_after = (now + VALIDITY).into();
    Ok(params)
}

/// Writes a new file. Fails if it exists, even if another process has just created it.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode; // a new file has the permissions of its folder
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Checks the server's certificate, for example its dates, as a client that trusts the CA does.
fn check_as_client(files: &DevFiles) -> Result<()> {
    let mut roots = RootCertStore::empty();
    for ca in read_certs(&files.ca).with_context(|| files.ca.display().to_string())? {
        roots.add(ca)?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let certs = read_certs(&files.cert)?;
    let (server_cert, intermediates) =
        certs.split_first().context("there is no certificate in it")?;
    let localhost = ServerName::try_from("localhost")?;
    verifier
        .verify_server_cert(server_cert, intermediates, &localhost, &[], UnixTime::now())
        .with_context(|| files.cert.display().to_string())?;
    Ok(())
}
