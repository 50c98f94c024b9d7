//! Work beside the passes: a pass waits a moment for it and goes on looking when it takes longer.

use super::instances::Instances;
use crate::{
    leader::Permits,
    model::ReplicaName,
    sql::{Batch, Error},
};
use std::time::Duration;
use tokio::{
    task::{JoinError, JoinHandle},
    time::timeout,
};

/// Work that ends when it is dropped.
pub struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts work.
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl<T> Task<T> {
    /// Waits so long for the answer. May be dropped and called again. `None`: it goes on. Error: it ended without one.
    pub async fn within(&mut self, patience: Duration) -> Option<Result<T, JoinError>> {
        timeout(patience, &mut self.0).await.ok()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The batches of a step, under way. Whoever sends looks first whether the same step is: it is not sent twice meanwhile.
pub struct Running<S> {
    /// What they are for.
    pub step: S,
    task: Task<Result<(), Error>>,
}

impl<S> Running<S> {
    /// Sends batches to a replica, one after the other. Error: why there are none; it is the answer.
    pub fn send(
        step: S,
        replica: &ReplicaName,
        batches: Result<(Instances, Vec<Batch>), Error>,
        permits: &Permits,
    ) -> Self {
        let (replica, permits) = (replica.clone(), permits.clone());
        let work = async move {
            let (instances, batches) = batches?;
            for batch in &batches {
                // The permit is asked for at the last moment; the batch's own guards hold after that.
                if permits.permit().is_none() {
                    return Err(Error::Retry("this process does not lead any more".into()));
                }
                instances.send(&replica, batch).await?;
            }
            Ok(())
        };
        Self { step, task: Task::spawn(work) }
    }

    /// Waits so long. Error: it goes on.
    pub async fn within(mut self, patience: Duration) -> Result<(S, Result<(), Error>), Self> {
        match self.task.within(patience).await {
            Some(answer) => {
                let lost = |_| Err(Error::Lost("the work ended without an answer".into()));
                Ok((self.step, answer.unwrap_or_else(lost)))
            }
            None => Err(self),
        }
    }
}
