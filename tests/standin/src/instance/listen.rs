//! The mirroring endpoint listens while it is started.

use super::Shared;
use crate::group;
use std::{io, sync::Arc};
use tokio::sync::watch;

/// Listens on the endpoint while it is started.
pub async fn listen(shared: Arc<Shared>) {
    let mut changes = shared.identity.changes();
    loop {
        let stops = shared.identity.stops();
        let endpoint = shared.identity.endpoint().filter(|endpoint| endpoint.started);
        if let Some(endpoint) = endpoint {
            tokio::select! {
                biased;
                () = stopped(&shared, &mut changes, (endpoint.port, stops)) => {}
                result = serve(&shared, endpoint.port) => {
                    if let Err(error) = result {
                        tracing::warn!(%error, "the endpoint cannot listen");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
            // Stopping the endpoint drops every session of its groups.
            for group in shared.all_groups() {
                group.drop_sessions();
            }
        } else if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until the endpoint is stopped, moved or gone.
async fn stopped(shared: &Shared, changes: &mut watch::Receiver<u64>, (port, stops): (u16, u64)) {
    loop {
        let same = shared.identity.stops() == stops
            && shared.identity.endpoint().is_some_and(|endpoint| endpoint.started && endpoint.port == port);
        if !same || changes.changed().await.is_err() {
            return;
        }
    }
}

async fn serve(shared: &Arc<Shared>, port: u16) -> io::Result<()> {
    let mut listener = shared.network.listen(port).await?;
    loop {
        let stream = listener.accept().await?;
        let Some(own) = shared.identity.endpoint() else { continue };
        let shared = shared.clone();
        let owner = shared.clone();
        owner.spawn(async move {
            let handshake = tokio::time::timeout(std::time::Duration::from_secs(10), group::transport::accept(stream, &own)).await;
            let Ok(Ok(session)) = handshake else { return };
            if !shared.identity.authorize(&session.peer) {
                tracing::warn!("Database Mirroring login attempt failed: the partner has no CONNECT permission on the endpoint (28048)");
                return;
            }
            if let Err(error) = group::serve::answer(shared, session).await {
                tracing::debug!(%error, "session ended");
            }
        });
    }
}
