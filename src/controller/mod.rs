//! The shell around `decide`: observe, decide, act, report. One loop per group, woken by watches and by time; loops of
//! different groups never wait for each other. Start at [`reconcile`].

pub mod act;
mod backoff;
mod bells;
mod beside;
mod events;
mod instances;
mod memory;
mod objects;
mod observe;
pub mod reconcile;
mod report;
mod upgrade;
mod watch;
mod writes;

use crate::{
    k8s::Kube,
    leader::{Candidate, End, Permits},
    sql::{Dial, Secret, Servers, hex},
    telemetry::Health,
};
use bells::{Bells, Key};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use memory::Memory;
use reconcile::Next;
use std::sync::Arc;
use tokio::{task::JoinSet, time::sleep};
use watch::Stores;

/// Name of the Lease.
pub const LEASE: &str = "quorate";

/// What the operator runs with. Everything that comes from outside is here, so that a story can bring its own.
pub struct Options {
    /// The API server.
    pub client: Client,
    /// How instances are reached.
    pub dialer: Arc<dyn Dial>,
    /// Name of this process in the Lease; another one for each life.
    pub identity: String,
    /// Namespace that is watched. `None`: all.
    pub namespace: Option<String>,
    /// Namespace of the Lease.
    pub lease_namespace: String,
    /// Image that holds `quorate prepare`: our own.
    pub prepare_image: String,
    /// Health and metrics.
    pub health: Arc<Health>,
    /// Wall clock: for messages and for the age of what was written before this life.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Random bytes for passwords.
    pub random: Arc<objects::Random>,
}

/// What all loops share.
pub struct Shared {
    kube: Kube,
    permits: Permits,
    stores: Stores,
    servers: Arc<Servers>,
    /// Connections of their own for upgrades: no look of a group waits for the longer ones of an upgrade.
    upgrade_servers: Arc<Servers>,
    prepare_image: String,
    health: Arc<Health>,
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    random: Arc<objects::Random>,
}

impl Shared {
    fn wall(&self) -> Timestamp {
        (self.wall)()
    }

    /// Makes passwords that satisfy the instance's policy: lower case, upper case, digits, a mark.
    fn password(&self) -> Arc<dyn Fn() -> Secret + Send + Sync> {
        let random = self.random.clone();
        Arc::new(move || Secret::new(format!("{}-Q7", hex(&random()))))
    }
}

/// Runs until `stop`, or until leadership is lost: then nothing of ours runs any more.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> End {
    let (candidate, permits) =
        Candidate::new(options.client.clone(), &options.lease_namespace, LEASE, &options.identity);
    let health = options.health.clone();
    let end = {
        let lead = lead(options, permits);
        let mut lead = std::pin::pin!(lead);
        let mut candidate = std::pin::pin!(candidate.run(stop));
        tokio::select! {
            biased;
            end = &mut candidate => end,
            () = &mut lead => candidate.await,
        }
    };
    health.metrics.leader(false);
    health.ready(false);
    end
}

/// Waits for leadership, then works until it is dropped.
async fn lead(options: Options, mut permits: Permits) {
    options.health.ready(true);
    if permits.leading().await.is_none() {
        return;
    }
    options.health.metrics.leader(true);
    tracing::info!(identity = options.identity, "leading");
    let kube = Kube::new(options.client.clone(), permits.clone());
    let (bells, mut news) = Bells::new();
    let (upgrades, mut upgrade_news) = bells.beside();
    let (stores, watches) = watch::start(&options.client, options.namespace.as_deref(), &bells, &upgrades);
    let shared = Arc::new(Shared {
        kube,
        permits,
        stores,
        servers: Arc::new(Servers::new(options.dialer.clone())),
        upgrade_servers: Arc::new(Servers::new(options.dialer)),
        prepare_image: options.prepare_image,
        health: options.health,
        wall: options.wall,
        random: options.random,
    });
    // Dropped with this future: every loop ends with leadership.
    let mut work = JoinSet::new();
    work.spawn(watches);
    if !shared.stores.ready().await {
        return;
    }
    loop {
        tokio::select! {
            biased;
            key = news.recv() => match key {
                Some(key) => { work.spawn(tend(shared.clone(), bells.clone(), key)); }
                None => return,
            },
            key = upgrade_news.recv() => match key {
                Some(key) => { work.spawn(tend_upgrade(shared.clone(), upgrades.clone(), key)); }
                None => return,
            },
            Some(ended) = work.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    // A loop that died leaves its group alone: end, and let another process take over.
                    tracing::error!(%error, "a loop ended");
                    return;
                }
            }
        }
    }
}

/// The loop of one group.
async fn tend(shared: Arc<Shared>, bells: Bells, key: Key) {
    let bell = bells.bell(&key);
    let mut memory = Memory::default();
    loop {
        match reconcile::pass(&shared, &key, &bell, &mut memory).await {
            Next::Gone => break,
            Next::After(pause) => {
                tokio::select! {
                    biased;
                    () = bell.rings() => memory.at_rest = false,
                    () = sleep(pause) => {}
                }
            }
        }
    }
    bells.remove(&key);
    if shared.stores.group(&key).is_some() {
        // It came back in between.
        bells.found(key);
    }
}

/// The loop of one staged upgrade.
async fn tend_upgrade(shared: Arc<Shared>, bells: Bells, key: Key) {
    let bell = bells.bell(&key);
    let mut memory = upgrade::Memory::default();
    while let Next::After(pause) = upgrade::pass(&shared, &key, &mut memory).await {
        // Woken or not, it looks no more often than that.
        sleep(pause.min(upgrade::SHORTEST)).await;
        tokio::select! {
            biased;
            () = bell.rings() => {}
            () = sleep(pause) => {}
        }
    }
    bells.remove(&key);
    if shared.stores.upgrade(&key).is_some() {
        bells.found(key);
    }
}
