//! From an accepted stream to a logged-in session.

use super::{
    backend::{Backend, Identity, LoginRequest, SqlSession},
    kind::COLLATION,
    login::{self, Login},
    packet::{DEFAULT, LARGEST, LOGIN7, PRELOGIN, REQUEST_LIMIT, Request, SMALLEST, Transport, Wire, invalid},
    prelogin::{self, Encryption, Offer},
    tls::TlsSettings,
    token::{self, Change, DONE_ERROR, DoneOf},
    tunnel::Tunnel,
};
use crate::{errors::Message, net::Stream};
use std::io;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

/// The first byte of a TLS greeting: TDS 8.0.
const TLS_GREETING: u8 = 0x16;

/// Opens a connection; `None` when the client left or was turned away with an answer.
pub(super) async fn establish<B: Backend>(
    backend: &B,
    mut stream: Stream,
    tls: Option<&TlsSettings>,
    encryption: Encryption,
) -> io::Result<Option<(Wire, B::Session)>> {
    let mut first = [0];
    if stream.read(&mut first).await? == 0 {
        return Ok(None);
    }
    let tls = tls.filter(|_| encryption != Encryption::Off);
    let strict = first == [TLS_GREETING];
    let tunnel = Tunnel::new(stream, &first);
    let transport = match tls {
        Some(tls) if strict => Transport::Tls(Box::new(TlsAcceptor::from(tls.strict.clone()).accept(tunnel).await?)),
        None if strict => return Err(invalid("TLS without a certificate")),
        _ if encryption == Encryption::Strict => return Err(invalid("a client without TDS 8.0")),
        _ => Transport::Plain(tunnel),
    };
    let mut wire = Wire::new(transport);
    let identity = backend.identity();
    let Some(request) = expect(&mut wire, PRELOGIN).await? else { return Ok(None) };
    let offer = agree(&request, tls, encryption, strict)?;
    wire.send(&prelogin::answer(identity.version, offer)).await?;
    let tunnelled = tls.filter(|_| !strict && offer != Offer::NotSupported);
    if let Some(tls) = tunnelled {
        encrypt(&mut wire, tls).await?;
    }
    let Some(request) = expect(&mut wire, LOGIN7).await? else { return Ok(None) };
    if tunnelled.is_some() && offer == Offer::Off {
        decrypt(&mut wire);
    }
    log_in(backend, wire, &request, &identity, strict).await
}

async fn expect(wire: &mut Wire, kind: u8) -> io::Result<Option<Request>> {
    match wire.request().await? {
        Some(request) if request.kind != kind => Err(invalid("a message out of order before login")),
        request => Ok(request),
    }
}

fn agree(request: &Request, tls: Option<&TlsSettings>, encryption: Encryption, strict: bool) -> io::Result<Offer> {
    let asked = prelogin::parse(&request.body)?;
    match (tls, encryption) {
        _ if strict => Ok(Offer::On),
        (Some(_), _) => Ok(prelogin::negotiate(encryption, asked)),
        (None, Encryption::Required) => Err(invalid("encryption is required, but there is no certificate")),
        (None, _) => Ok(prelogin::negotiate(Encryption::Off, asked)),
    }
}

/// TLS inside PRELOGIN packets; after the handshake its records go straight onto the connection.
async fn encrypt(wire: &mut Wire, tls: &TlsSettings) -> io::Result<()> {
    let (Transport::Plain(mut tunnel), early) = wire.take() else { return Err(invalid("TLS inside TLS")) };
    tunnel.wrap(early);
    let mut stream = TlsAcceptor::from(tls.tunnelled.clone()).accept(tunnel).await?;
    stream.get_mut().0.unwrap();
    wire.transport = Transport::Tls(Box::new(stream));
    Ok(())
}

/// Only the login was to be encrypted: the stream comes out of TLS again, without a farewell.
fn decrypt(wire: &mut Wire) {
    if let (Transport::Tls(stream), _) = wire.take() {
        wire.transport = Transport::Plain(stream.into_inner().0);
    }
}

async fn log_in<B: Backend>(
    backend: &B,
    mut wire: Wire,
    request: &Request,
    identity: &Identity,
    strict: bool,
) -> io::Result<Option<(Wire, B::Session)>> {
    let Ok(login) = login::parse(&request.body) else {
        let text = "The login packet used to open the connection is structurally invalid; the connection has been \
                    closed. Please contact the vendor of the client library.";
        return refuse(wire, identity, &Message::new(17832, 20, text).state(2)).await;
    };
    let Some(version) = login::acknowledged(login.version, strict) else {
        let text = format!("TDS version {:08X} is not supported by the stand-in: 7.2 is the oldest.", login.version);
        return refuse(wire, identity, &Message::new(17832, 20, text)).await;
    };
    if login.integrated {
        let text = "Login failed. The login is from an untrusted domain and cannot be used with Integrated \
                    authentication.";
        return refuse(wire, identity, &Message::new(18452, 14, text)).await;
    }
    let LoginRequest { user, application, host, .. } = &login.request;
    tracing::debug!(user, application, host, "login");
    let session = match backend.login(login.request.clone()).await {
        Ok(session) => session,
        Err(message) => return refuse(wire, identity, &message).await,
    };
    wire.spid = session.spid();
    let packet_size = packet_size(&login);
    let answer = welcome(identity, &session.database(), version, packet_size);
    wire.send(&answer).await?;
    wire.packet_size = packet_size;
    wire.limit = REQUEST_LIMIT;
    Ok(Some((wire, session)))
}

fn packet_size(login: &Login) -> usize {
    match usize::try_from(login.packet_size) {
        Ok(0) | Err(_) => DEFAULT,
        Ok(size) => size.clamp(SMALLEST, LARGEST),
    }
}

async fn refuse<S>(mut wire: Wire, identity: &Identity, message: &Message) -> io::Result<Option<S>> {
    let mut out = Vec::new();
    token::message(&mut out, message, &identity.server);
    token::done(&mut out, DoneOf::Batch, DONE_ERROR, 0, 0);
    wire.write(&out, true);
    wire.close().await?;
    Ok(None)
}

/// The answer to a login, in the order that every client accepts.
fn welcome(identity: &Identity, database: &str, version: [u8; 4], packet_size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let server = &identity.server;
    token::change(&mut out, Change::Database, database, "master");
    let text = format!("Changed database context to '{database}'.");
    token::message(&mut out, &Message::new(5701, 0, text).state(2), server);
    token::change_bytes(&mut out, Change::Collation, &COLLATION, &[]);
    token::change(&mut out, Change::Language, "us_english", "");
    token::message(&mut out, &Message::new(5703, 0, "Changed language setting to us_english."), server);
    token::login_acknowledged(&mut out, version, identity.version);
    token::change(&mut out, Change::PacketSize, &packet_size.to_string(), &DEFAULT.to_string());
    token::done(&mut out, DoneOf::Batch, 0, 0, 0);
    out
}
