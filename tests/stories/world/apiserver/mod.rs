//! A Kubernetes API server in this process, served under `kube::Client`.
//!
//! | Module | What it does |
//! |---|---|
//! | [`kind`] | which kinds are served, built in and custom |
//! | [`request`], [`status`], [`selector`] | understands requests, words failures |
//! | [`store`] | objects, revisions, the log of changes |
//! | [`read`], [`write`], [`watch`] | the verbs |
//! | [`fieldset`], [`shape`], [`owners`], [`merge`], [`patch`] | server-side apply and the other patches |
//! | [`strategy`] | what the server itself fills in and refuses |
//! | [`link`] | one client's way here, with its faults |
//! | [`serve`] | HTTP in, HTTP out |
//! | [`inside`] | the same store for the controllers of the world, without a network |
//! | [`garbage`] | deletes what its owners left behind |

pub mod fieldset;
pub mod garbage;
pub mod inside;
pub mod journal;
pub mod kind;
pub mod link;
pub mod merge;
pub mod owners;
pub mod patch;
pub mod read;
pub mod request;
pub mod selector;
pub mod serve;
pub mod shape;
pub mod status;
pub mod store;
pub mod strategy;
pub mod watch;
pub mod write;

use super::{clock::Clock, history::History, random::Random};
use journal::Write;
use link::Link;
use request::Request;
use serde_json::Value;
use status::Failure;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use store::{Outcome, Store};

/// Kinds that the controllers of nodes and pods look at.
const WORKLOAD: [&str; 8] =
    ["pods", "statefulsets", "jobs", "services", "nodes", "persistentvolumeclaims", "secrets", "configmaps"];

struct Inner {
    clock: Clock,
    history: History,
    random: Random,
    store: Mutex<Store>,
    revision: tokio::sync::watch::Sender<u64>,
    workload: tokio::sync::watch::Sender<u64>,
    links: Mutex<BTreeMap<String, Link>>,
    writes: Mutex<Vec<Write>>,
}

/// The API server of one world.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiServer(revision {})", self.store().revision)
    }
}

impl ApiServer {
    /// A server that knows the built-in kinds and the namespaces `default` and `shop`.
    pub fn new(clock: Clock, history: History, random: &Random) -> Self {
        let store = Store::new(clock);
        let server = Self(Arc::new(Inner {
            clock,
            history,
            random: random.fork("apiserver"),
            revision: tokio::sync::watch::Sender::new(store.revision),
            workload: tokio::sync::watch::Sender::new(store.revision),
            store: Mutex::new(store),
            links: Mutex::default(),
            writes: Mutex::default(),
        }));
        for name in ["default", "kube-system", "shop"] {
            server.make(
                "world",
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            );
        }
        server
    }

    /// Serves the custom resource that this `CustomResourceDefinition` describes.
    pub fn install(&self, crd: &Value) {
        self.store().install(crd);
    }

    /// The link of a client, made at first use.
    pub fn link(&self, id: &str) -> Link {
        let mut links = self.0.links.lock().unwrap();
        links.entry(id.into()).or_insert_with(|| Link::new(id, self.0.random.fork(id))).clone()
    }

    /// A `kube::Client` that uses the link of this name.
    pub fn client(&self, id: &str) -> kube::Client {
        let (server, link) = (self.clone(), self.link(id));
        let service = tower::service_fn(move |request| serve::answer(server.clone(), link.clone(), request));
        kube::Client::new(service, "default")
    }

    /// Forgets the log of changes: watches and continued lists from before get 410.
    pub fn compact(&self) {
        self.store().compact();
    }

    /// All writes so far.
    pub fn writes(&self) -> Vec<Write> {
        self.0.writes.lock().unwrap().clone()
    }

    /// The writes of one client since a moment of the story, without those on Leases.
    pub fn writes_since(&self, client: &str, since: Duration) -> Vec<Write> {
        let mut writes = self.writes();
        writes.retain(|write| write.client == client && write.at >= since && !write.lease);
        writes
    }

    /// The present revision.
    pub fn revision(&self) -> u64 {
        self.store().revision
    }

    /// The clock of this server.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The history that this server writes into.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// To be woken by changes of what kubelets, the scheduler and controllers of pods look at.
    pub fn watch_workload(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.workload.subscribe()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap()
    }

    /// To be woken by changes.
    pub fn watch_revision(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// Carries out one request at this very moment.
    fn perform(&self, client: &str, request: &Request) -> Result<Outcome, Failure> {
        if !request.verb.writes() {
            return self.store().read(request);
        }
        let (outcome, revision) = {
            let mut store = self.store();
            let outcome = store.write(client, request);
            (outcome, store.revision)
        };
        self.record(client, request, &outcome);
        if revision != *self.0.revision.borrow() {
            self.0.revision.send_replace(revision);
            if WORKLOAD.contains(&request.plural.as_str()) {
                self.0.workload.send_replace(revision);
            }
        }
        outcome
    }

    fn record(&self, client: &str, request: &Request, outcome: &Result<Outcome, Failure>) {
        let (code, what, changed) = match outcome {
            Ok(Outcome { code, diff, .. }) => (*code, diff.clone().unwrap_or("no change".into()), diff.is_some()),
            Err(failure) => (failure.code, format!("{}: {}", failure.reason, failure.message), false),
        };
        let write = Write {
            at: self.0.clock.elapsed(),
            client: client.into(),
            request: request.to_string(),
            manager: request.manager().into(),
            code,
            what,
            changed,
            lease: request.is_lease(),
        };
        let renewal = write.lease && write.code == 200 && !write.what.contains("holderIdentity");
        if !renewal {
            self.0.history.note(client, write.line());
        }
        self.0.writes.lock().unwrap().push(write);
    }
}
