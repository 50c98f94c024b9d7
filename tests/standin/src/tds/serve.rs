//! Connections and their limits.

use super::{backend::Backend, handshake::establish, prelogin::Encryption, session::Connection, tls::TlsSettings};
use crate::net::{Listener, Stream};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{pin, task::JoinSet, time};

/// A connection that is not logged in by then is closed.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections at a time; more are closed at once.
const MOST_CONNECTIONS: usize = 2_048;

/// Rest after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves one connection until the client leaves, the session ends or the protocol is broken.
pub async fn serve<B: Backend>(
    backend: Arc<B>,
    stream: Stream,
    tls: Option<TlsSettings>,
    encryption: Encryption,
) -> io::Result<()> {
    let opening = establish(backend.as_ref(), stream, tls.as_ref(), encryption);
    let opened =
        time::timeout(LOGIN_TIMEOUT, opening).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match opened {
        Some((wire, session)) => Connection::new(wire, session, backend.identity().server).serve().await,
        None => Ok(()),
    }
}

/// Accepts connections and serves each of them, until `shutdown` completes; then all are cut.
pub async fn listen<B: Backend>(
    backend: Arc<B>,
    mut listener: Box<dyn Listener>,
    tls: Option<TlsSettings>,
    encryption: Encryption,
    shutdown: impl Future<Output = ()>,
) {
    pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= MOST_CONNECTIONS => tracing::warn!("too many connections"),
                Ok(stream) => {
                    let served = serve(backend.clone(), stream, tls.clone(), encryption);
                    connections.spawn(async move {
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}
