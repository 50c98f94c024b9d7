//! The loop that acquires, renews and releases the Lease: PUT with resourceVersion, every call with a deadline.

use super::{
    permit::{Permit, Permits},
    rules::{self, LEASE_DURATION, Move, RENEW_DEADLINE, RETRY_PERIOD, Seen},
};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// No call to the API server takes longer; SIGTERM hands over within two seconds.
const CALL: Duration = Duration::from_millis(1_500);

/// Pause before a call is repeated that failed or lost a race.
const AGAIN: Duration = Duration::from_millis(200);

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Stopped on request; the Lease is released if it was held and the API server answered.
    Released,
    /// Leadership was lost, or its renewal is in doubt: end the process.
    Lost,
}

/// One that wants to lead.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    me: String,
    sender: watch::Sender<Option<Permit>>,
    lease: Option<Lease>,
    sighted: Option<(Seen, Instant)>,
    leading: Option<Permit>,
}

/// What a write came to.
enum Written {
    Done(Box<Lease>),
    Conflict,
    Unknown,
}

impl Candidate {
    /// A candidate called `me` for the Lease of that name, and the permits it will give.
    pub fn new(client: Client, namespace: &str, name: &str, me: &str) -> (Self, Permits) {
        let (sender, permits) = Permits::channel();
        let api = Api::namespaced(client, namespace);
        (Self { api, name: name.into(), me: me.into(), sender, lease: None, sighted: None, leading: None }, permits)
    }

    /// Runs until `stop` or until leadership is lost. Permits end with it.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> End {
        let end = {
            let mut stop = std::pin::pin!(stop);
            loop {
                let pause = tokio::select! {
                    biased;
                    () = &mut stop => break End::Released,
                    pause = self.turn() => pause,
                };
                let Some(pause) = pause else { break End::Lost };
                tokio::select! {
                    biased;
                    () = &mut stop => break End::Released,
                    () = sleep(pause) => {}
                }
            }
        };
        self.sender.send_replace(None);
        if end == End::Released && self.leading.is_some() {
            self.release().await;
        }
        end
    }

    /// One look or renewal. Returns the pause before the next, or nothing when leadership is lost.
    async fn turn(&mut self) -> Option<Duration> {
        if self.leading.is_some_and(|permit| !permit.valid()) {
            return None;
        }
        if self.lease.is_none() && !self.read().await {
            return Some(self.pause());
        }
        let seen = self.lease.as_ref().map(see);
        let sighted = self.sight(seen.as_ref());
        match rules::evaluate(seen.as_ref(), &self.me, self.leading.is_some(), sighted) {
            Move::Wait(_) if self.leading.is_some() => None,
            Move::Wait(pause) => {
                self.lease = None;
                Some(pause)
            }
            Move::Acquire if self.leading.is_some() => None,
            Move::Acquire => self.write(seen.map_or(0, |seen| seen.term + 1)).await,
            Move::Renew => self.write(seen.map_or(0, |seen| seen.term)).await,
        }
    }

    fn pause(&self) -> Duration {
        match self.leading {
            Some(permit) => RETRY_PERIOD.min(permit.until.saturating_duration_since(Instant::now())),
            None => RETRY_PERIOD,
        }
    }

    /// Reads the Lease. A leader reads it only after a conflict or a lost answer.
    async fn read(&mut self) -> bool {
        match timeout(CALL, self.api.get_opt(&self.name)).await {
            Ok(Ok(lease)) => {
                self.lease = lease;
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// How long this holder and renewal have been in sight.
    fn sight(&mut self, seen: Option<&Seen>) -> Duration {
        let now = Instant::now();
        match (&self.sighted, seen) {
            (Some((before, since)), Some(seen)) if before == seen => now - *since,
            (_, Some(seen)) => {
                self.sighted = Some((seen.clone(), now));
                Duration::ZERO
            }
            (_, None) => Duration::ZERO,
        }
    }

    /// Writes the own name. The permit counts from before the request: the Lease can only hold longer than we believe.
    async fn write(&mut self, term: i32) -> Option<Duration> {
        let asked = Instant::now();
        let next = self.next(&self.me, term);
        match self.put(&next).await {
            Written::Done(lease) => {
                self.lease = Some(*lease);
                let permit = Permit { term, until: asked + RENEW_DEADLINE };
                self.leading = Some(permit);
                self.sender.send_replace(Some(permit));
                Some(RETRY_PERIOD)
            }
            // Somebody wrote in between; perhaps ourselves, with an answer that was lost.
            Written::Conflict | Written::Unknown => {
                self.lease = None;
                Some(if self.leading.is_some() { AGAIN.min(self.pause()) } else { RETRY_PERIOD })
            }
        }
    }

    async fn put(&self, lease: &Lease) -> Written {
        let params = PostParams::default();
        let call = async {
            match lease.metadata.resource_version {
                Some(_) => self.api.replace(&self.name, &params, lease).await,
                None => self.api.create(&params, lease).await,
            }
        };
        match timeout(CALL, call).await {
            Ok(Ok(lease)) => Written::Done(Box::new(lease)),
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
                Written::Conflict
            }
            Ok(Err(_)) | Err(_) => Written::Unknown,
        }
    }

    fn next(&self, holder: &str, term: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = self.lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let taken_over = old.lease_transitions != Some(term) || old.acquire_time.is_none();
        let metadata = self.lease.as_ref().map_or_else(
            || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            |lease| lease.metadata.clone(),
        );
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(LEASE_DURATION.as_secs() as i32),
            acquire_time: if taken_over { Some(now.clone()) } else { old.acquire_time.clone() },
            renew_time: Some(now),
            lease_transitions: Some(term),
            ..old
        };
        Lease { metadata, spec: Some(spec) }
    }

    /// Leaves the Lease without a holder, so that the next one need not wait. Tried again when a renewal that was under
    /// way at the stop came in between.
    async fn release(&mut self) {
        let _ = timeout(CALL, async {
            loop {
                if self.lease.is_none() && !self.read().await {
                    sleep(AGAIN).await;
                    continue;
                }
                let Some(seen) = self.lease.as_ref().map(see).filter(|seen| seen.holder == self.me) else { return };
                match self.put(&self.next("", seen.term)).await {
                    Written::Done(_) => return,
                    Written::Conflict | Written::Unknown => self.lease = None,
                }
            }
        })
        .await;
    }
}

fn see(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    Seen {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        term: spec.lease_transitions.unwrap_or(0),
    }
}
