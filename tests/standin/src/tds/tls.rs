//! Certificates to TLS configurations.

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use std::{path::Path, sync::Arc};

/// The protocol that clients of TDS 8.0 name in their TLS greeting.
const ALPN: &[u8] = b"tds/8.0";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file cannot be read, or is not PEM.
    #[error("{0}: {1}")]
    Pem(String, rustls::pki_types::pem::Error),
    /// The certificate file holds none.
    #[error("no certificate in the PEM given")]
    NoCertificate,
    /// Certificate and key do not go together, or are of no use.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("no self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// A certificate and its key, ready for both ways of TLS: inside PRELOGIN, where only TLS 1.2 can be used because the
/// session tickets of TLS 1.3 would be taken for TDS, and first of all (TDS 8.0).
#[derive(Clone, Debug)]
pub struct TlsSettings {
    pub(super) tunnelled: Arc<ServerConfig>,
    pub(super) strict: Arc<ServerConfig>,
}

impl TlsSettings {
    /// From a PEM certificate chain and key.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::Pem("certificate".into(), error))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Pem("key".into(), error))?;
        Self::new(chain, &key)
    }

    /// From PEM files: `network.tlscert` and `network.tlskey`.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let named = |path: &Path, error| TlsError::Pem(path.display().to_string(), error);
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| named(certificates, error))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error))?;
        Self::new(chain, &key)
    }

    /// What SQL Server makes for itself when it has no certificate: encryption without identity.
    pub fn self_signed(host: &str) -> Result<Self, TlsError> {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|text| rustls::Error::General(text.to_owned()))?;
        Self::new(vec![made.cert.der().clone()], &key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let config = |versions: &[&'static SupportedProtocolVersion]| {
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(versions)?
                .with_no_client_auth()
                .with_single_cert(chain.clone(), key.clone_key())
        };
        let mut strict = config(&[&TLS12, &TLS13])?;
        strict.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { tunnelled: Arc::new(config(&[&TLS12])?), strict: Arc::new(strict) })
    }
}
