//! The wire between instances: mutual TLS with the endpoint's certificate, and framed messages.

use super::{config::Config, identity::Endpoint};
use crate::{net::Stream, store::log::Record};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use serde::{Deserialize, Serialize};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Largest frame accepted; an image of a database is sent in chunks far below it.
const LARGEST: usize = 64 << 20;
/// Bytes of an image in one frame.
pub const CHUNK: usize = 1 << 20;

/// What partners say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// A primary invites a replica that may be waiting in JOIN.
    Invite {
        /// Name of the group.
        group: String,
        /// Its configuration.
        config: Box<Config>,
    },
    /// Opens a session: a secondary calls.
    Hello {
        /// Name of the group.
        group: String,
        /// Who calls.
        name: String,
        /// Number of its copy.
        number: i64,
        /// It was PRIMARY before it was restarted.
        ex_primary: bool,
    },
    /// The caller is welcome: the other side is PRIMARY, with this configuration.
    Welcome(Box<Config>),
    /// It is not: why.
    Refused(String),
    /// It is no replica of the group any more; the number of the configuration that says so.
    Removed(i64),
    /// It called a primary that is too young, and is stuck now (41104).
    Stuck,
    /// A database is suspended on the secondary, with the reason; records of it are not taken.
    Suspended {
        /// Name.
        database: String,
        /// `suspend_reason`
        reason: u8,
    },
    /// A candidate asks for a promise never to accept less than this number.
    Promise {
        /// Name of the group.
        group: String,
        /// The number.
        number: i64,
    },
    /// The answer: promised, with the highest number accepted here.
    Promised {
        /// Granted.
        granted: bool,
        /// Highest number accepted.
        accepted: i64,
    },
    /// The secondary side of a distributed group commits synchronously, as it says itself.
    Synchronous(bool),
    /// A configuration to accept.
    Configure {
        /// It.
        config: Box<Config>,
        /// It is committed already.
        committed: bool,
    },
    /// It was accepted and is on disk.
    Accepted(i64),
    /// Log positions of one database, so that the primary can find where to start.
    Position {
        /// Name.
        database: String,
        /// Forks of the log; empty: no copy here.
        forks: Vec<(u64, u64)>,
    },
    /// A database was taken out of the group on the secondary: it has a copy that does not count, and wants no other.
    Left {
        /// Name.
        database: String,
    },
    /// Cut the log after this: nobody acknowledged what follows.
    Cut {
        /// Name.
        database: String,
        /// Last position in common.
        lsn: u64,
    },
    /// The image of a database begins.
    Image {
        /// Name.
        database: String,
        /// Position.
        lsn: u64,
        /// Fork at that position.
        fork: u64,
        /// Bytes to come.
        size: u64,
    },
    /// A piece of it.
    Chunk(Vec<u8>),
    /// The target will not take the image.
    SeedRefused {
        /// Name.
        database: String,
        /// `failure_state` of sys.dm_hadr_automatic_seeding.
        failure: i64,
    },
    /// Records to harden.
    Records {
        /// Name.
        database: String,
        /// In order.
        records: Vec<Record>,
        /// Everything up to here is acknowledged: redo it.
        acknowledged: u64,
    },
    /// What a database says of its backups: a log chain exists, when its log was backed up last, and what that truncated.
    Backups {
        /// Name.
        database: String,
        /// A log chain exists.
        log_chain: bool,
        /// Microseconds since 1970.
        log_backup: Option<i64>,
        /// Records up to here are in no log any more.
        truncated: u64,
    },
    /// Hardened up to here.
    Hardened {
        /// Name.
        database: String,
        /// Position.
        lsn: u64,
        /// Redone up to here.
        redone: u64,
    },
    /// Nothing, but alive.
    Ping,
}

/// Sends a frame: length, then JSON, or a byte 1 and a piece of an image.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    match frame {
        Frame::Chunk(chunk) => {
            bytes.push(1);
            bytes.extend(chunk);
        }
        other => serde_json::to_writer(&mut bytes, other)?,
    }
    let length = bytes.len() as u32 - 4;
    if let Some(head) = bytes.first_chunk_mut::<4>() {
        *head = length.to_le_bytes();
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Sends a frame, or fails when the partner takes longer than its session timeout.
pub async fn send_within(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame, limit: Duration) -> io::Result<()> {
    timeout(limit, send(stream, frame)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Receives a frame. Not safe to drop half-way: keep the future or close the stream.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = u32::from_le_bytes(head) as usize;
    if length > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    match body.split_first() {
        Some((1, chunk)) => Ok(Frame::Chunk(chunk.to_vec())),
        _ => serde_json::from_slice(&body).map_err(io::Error::other),
    }
}

/// A session with a partner whose certificate is known.
pub struct Session {
    /// The encrypted stream.
    pub stream: tokio_rustls::TlsStream<Stream>,
    /// The partner's certificate, DER.
    pub peer: Vec<u8>,
}

/// Opens a session to a partner.
pub async fn connect(stream: Stream, own: &Endpoint) -> io::Result<Session> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_client_auth_cert(chain(own), key(own))
        .map_err(io::Error::other)?;
    let name = ServerName::try_from("endpoint").map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    finish(tokio_rustls::TlsStream::Client(stream))
}

/// Answers a partner that opened a session.
pub async fn accept(stream: Stream, own: &Endpoint) -> io::Result<Session> {
    let provider = provider();
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_client_cert_verifier(Arc::new(AnyCertificate(provider)))
        .with_single_cert(chain(own), key(own))
        .map_err(io::Error::other)?;
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    finish(tokio_rustls::TlsStream::Server(stream))
}

fn finish(stream: tokio_rustls::TlsStream<Stream>) -> io::Result<Session> {
    let peer =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|certificate| certificate.to_vec());
    let peer = peer.ok_or_else(|| io::Error::other("the partner showed no certificate"))?;
    Ok(Session { stream, peer })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(own: &Endpoint) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from(own.certificate.clone())]
}

fn key(own: &Endpoint) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.clone()))
}

/// Takes any certificate whose key the partner holds; whether it is a partner's is the catalog's word
/// (`Identity::authorize`), as in SQL Server, where no authority signs endpoint certificates.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
