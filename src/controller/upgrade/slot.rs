//! One of the groups of an upgrade: the object as the watch saw it, and a look at every replica.

use crate::{
    api::{self, AvailabilityGroup},
    controller::{
        Shared,
        beside::Task,
        instances::{Instances, LOOK},
        memory,
        observe::{Sight, upgrade_of},
        reconcile,
        watch::Guarded,
    },
    decide::{
        self,
        upgrade::{Facts, seen::Group},
    },
    model::{self, DatabaseName, ReplicaName, upgrade::Place},
    resources::READABLE,
    sql::{Error, Login, statement::PROGRAM, upgrade::Look},
};
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Time that a pass gives a look at a replica that was silent the last time; its look goes on.
const AGAIN: Duration = Duration::from_millis(150);

/// What is remembered of a group.
#[derive(Default)]
pub struct Memory {
    /// How to be let in.
    group: memory::Memory,
    /// Looks that go on beside the passes.
    looks: BTreeMap<ReplicaName, Task<Option<Facts>>>,
    silent: BTreeSet<ReplicaName>,
}

/// A group with the way to its instances.
pub struct Slot {
    /// As the policy sees it.
    pub group: Group,
    /// The wish of its own object.
    pub wish: Arc<model::Group>,
    /// Its instances.
    pub instances: Instances,
}

/// Looks at a group. `None`: it does not exist, or its spec cannot be read.
pub async fn see(
    shared: &Shared,
    place: &Place,
    databases: &BTreeSet<DatabaseName>,
    memory: &mut Memory,
) -> Option<Slot> {
    let guarded = shared.stores.group(&(place.namespace.clone(), place.group.to_string()))?;
    let Guarded { 0: Ok(object) } = &*guarded else { return None };
    let wish = Arc::new(api::parse(object, &shared.prepare_image).ok()?);
    if memory.group.uid != object.metadata.uid {
        *memory = Memory { group: memory::Memory::new(object.metadata.uid.clone()), ..Memory::default() };
    }
    let sight = Sight::new(&shared.stores, &wish);
    let instances = reconcile::instances(shared, &wish, &sight, &mut memory.group).await;
    let instances = Instances { servers: shared.upgrade_servers.clone(), ..instances };
    let facts = look(&instances, databases, memory).await;
    let selector = sight.read_write.as_ref().and_then(|service| service.spec.as_ref()?.selector.clone());
    let (ready, message) = readiness(object);
    let group = Group {
        name: place.group.clone(),
        namespace: place.namespace.clone(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        ready,
        message,
        databases: wish.databases.len(),
        upgrades_from: object.spec.upgrades_from.clone(),
        secondary_connections: wish.secondary_connections,
        upgrade: upgrade_of(object),
        replicas: wish.replicas.clone(),
        facts,
        readers: selector.unwrap_or_default().contains_key(READABLE),
    };
    Some(Slot { group, wish, instances })
}

/// Whether it is ready, or read-only and nothing else; and what its condition says.
fn readiness(object: &AvailabilityGroup) -> (bool, String) {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return (false, "it was not looked at yet".into());
    };
    let read_only = ready.reason == decide::Reason::ReadOnly.as_str();
    (ready.status == "True" || read_only, format!("{}: {}", ready.reason, ready.message))
}

/// Looks at all replicas at once. A silent one is waited for a moment only.
async fn look(
    instances: &Instances,
    databases: &BTreeSet<DatabaseName>,
    memory: &mut Memory,
) -> BTreeMap<ReplicaName, Facts> {
    let mut pending = std::mem::take(&mut memory.looks);
    let waits = instances.group.replicas.keys().map(|replica| {
        let task = pending.remove(replica).unwrap_or_else(|| {
            let (all, whose, databases) = (instances.clone(), replica.clone(), databases.clone());
            Task::spawn(async move { glance(&all, &whose, &databases).await.ok() })
        });
        let patience = if memory.silent.contains(replica) { AGAIN } else { LOOK + AGAIN };
        async move {
            let mut task = task;
            (replica.clone(), task.within(patience).await, task)
        }
    });
    let mut facts = BTreeMap::new();
    for (replica, answer, task) in join_all(waits).await {
        if answer.is_none() {
            memory.looks.insert(replica.clone(), task);
        }
        match answer.and_then(Result::ok).flatten() {
            Some(found) => {
                memory.silent.remove(&replica);
                facts.insert(replica, found);
            }
            None => drop(memory.silent.insert(replica)),
        }
    }
    facts
}

async fn glance(
    instances: &Instances,
    replica: &ReplicaName,
    databases: &BTreeSet<DatabaseName>,
) -> Result<Facts, Error> {
    let look = Look { group: &instances.group.name, databases };
    let answer = instances.run(replica, Login::Look, None, PROGRAM, &look.batch(), LOOK).await?;
    let facts = look.read(&answer)?;
    if facts.server.name.eq_ignore_ascii_case(replica.as_str()) {
        Ok(facts)
    } else {
        Err(Error::Lost(format!("{} answers in the place of {replica}", facts.server.name)))
    }
}
