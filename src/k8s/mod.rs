//! The only door to Kubernetes: every call has a deadline, every write a permit, nothing is retried behind our back.

pub mod apply;
mod error;
pub mod pods;
pub mod read;
pub mod report;
mod sets;
pub mod upgrade;

pub use error::Error;

use crate::leader::Permits;
use kube::Client;
use std::time::Duration;
use tokio::time::timeout;

/// No call takes longer.
pub const CALL: Duration = Duration::from_secs(5);

/// Field managers: one per concern, so that ownership can be read.
pub mod manager {
    /// Children of a group.
    pub const OBJECTS: &str = "quorate";
    /// Status, the record apart.
    pub const STATUS: &str = "quorate-status";
    /// The record of elections.
    pub const ELECTION: &str = "quorate-election";
    /// Which upgrade a group takes part in.
    pub const UPGRADE: &str = "quorate-upgrade";
    /// Selectors of `-rw` and `-primary`, labels of pods.
    pub const ROUTE: &str = "quorate-route";
    /// Our readiness gate.
    pub const GATE: &str = "quorate-gate";
}

/// The door.
#[derive(Clone)]
pub struct Kube {
    client: Client,
    permits: Permits,
}

impl Kube {
    /// A door through which only a leader writes.
    pub fn new(client: Client, permits: Permits) -> Self {
        Self { client, permits }
    }

    /// The bare client, for watches.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A call that reads.
    pub async fn look<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        match timeout(CALL, call).await {
            Ok(answer) => answer.map_err(|error| Error::from_kube(what, error)),
            Err(_) => Err(Error::Retry(format!("{what}: no answer within {} s", CALL.as_secs()))),
        }
    }

    /// A call that writes: only with a permit, asked for at the moment of sending.
    pub async fn write<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        let Some(permit) = self.permits.permit() else { return Err(Error::NotLeader) };
        let limit = CALL.min(permit.until.saturating_duration_since(tokio::time::Instant::now()));
        match timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| Error::from_kube(what, error)),
            Err(_) => Err(Error::Lost(format!("{what}: no answer within {} ms", limit.as_millis()))),
        }
    }
}
