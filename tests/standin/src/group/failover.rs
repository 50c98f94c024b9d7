//! FAILOVER on the replica that shall become primary.

use super::{
    config::{Copy, ReplicaConfig},
    follow,
    roles::{Crown, Group, Role, State},
    transport::{self, Frame},
};
use crate::{
    errors::{Message, SqlResult},
    faults::FailoverEngine,
    instance::Shared,
};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

/// A candidate waits so long for promises.
const PROMISE_TIMEOUT: Duration = Duration::from_secs(3);

/// FAILOVER and FORCE_FAILOVER_ALLOW_DATA_LOSS.
pub async fn failover(shared: &Arc<Shared>, group: &Arc<Group>, force: bool, external: bool) -> SqlResult<()> {
    if !external {
        return Err(Message::new(
            47_104,
            16,
            format!(
                "This operation cannot be performed on the availability group '{}' because it has EXTERNAL cluster type. Use the cluster management tools to perform the operation.",
                group.name
            ),
        ));
    }
    let engine = shared.faults.get().failover;
    let (number, intent) = {
        let mut state = group.state();
        check(group, &state, force)?;
        let number = (state.copy.config.major().max(state.copy.promised >> 32) + 1) << 32;
        if engine == FailoverEngine::MajorityBeforePromotion {
            // Its own promise comes first: from here on it accepts nothing lower.
            group.persist(&mut state, |copy| copy.promised = number)?;
        }
        state.pending_failover = true;
        state.asked = None;
        state.intent += 1;
        (number, state.intent)
    };
    tracing::info!(group = group.name, force, "the local replica is preparing to become the primary replica (41074)");
    // A client that goes away does not take the statement back.
    let (answer, outcome) = oneshot::channel();
    let (instance, target) = (shared.clone(), group.clone());
    shared.spawn(async move {
        let ask = engine == FailoverEngine::MajorityBeforePromotion && !force;
        let agreed = !ask || promised(&instance, &target, number).await;
        if !agreed {
            give_up(&target, intent);
            let _ = answer.send(Err(refused(&target.name)));
            return;
        }
        // The statement returns before the role changes.
        let _ = answer.send(Ok(()));
        sleep(instance.role_delay()).await;
        if let Err(error) = promote(&target, number, intent, force) {
            give_up(&target, intent);
            tracing::error!(group = target.name, %error, "the local replica did not become primary (41181)");
        }
    });
    outcome.await.unwrap_or_else(|_| Err(cancelled(&group.name)))
}

/// What refuses a failover at once.
fn check(group: &Arc<Group>, state: &State, force: bool) -> SqlResult<()> {
    let name = &group.name;
    let own = state.copy.config.replicas.get(&group.me);
    if own.is_some_and(|own| own.availability_mode == 4) {
        return Err(Message::new(
            47_109,
            16,
            format!(
                "Availability group '{name}' cannot failover to this replica. Configuration-only replica cannot become primary. An attempt to fail over an availability group failed. The replica is a configuration-only replica and cannot become a primary replica."
            ),
        ));
    }
    if state.role == Role::Primary {
        return Err(Message::new(
            41_122,
            16,
            format!(
                "Cannot failover availability group '{name}' to this instance of SQL Server. The local availability replica is already the primary replica of the availability group. To failover this availability group to another instance of SQL Server, run the failover command on that instance of SQL Server. If local instance of SQL Server is intended to host the primary replica of the availability group, then no action is required."
            ),
        ));
    }
    if state.pending_failover {
        return Err(Message::new(
            41_113,
            16,
            format!(
                "Cannot failover availability group '{name}' to this instance of SQL Server because a failover command is already pending on the local replica of this availability group. Wait for the pending failover command to complete before issuing another command on the local replica of this availability group."
            ),
        ));
    }
    let synchronous = own.is_some_and(|own| own.availability_mode == 1);
    if force || synchronous && state.copy.ready(&group.me) { Ok(()) } else { Err(refused(name)) }
}

fn give_up(group: &Arc<Group>, intent: u64) {
    let mut state = group.state();
    if state.intent == intent {
        state.pending_failover = false;
    }
}

/// 41149
pub fn cancelled(name: &str) -> Message {
    Message::new(
        41_149,
        16,
        format!(
            "Operation on the availability group '{name}' has been cancelled or terminated, either because of a connection timeout or cancellation by user. This is an informational message. No user action is required."
        ),
    )
}

/// 41142
fn refused(name: &str) -> Message {
    Message::new(
        41_142,
        16,
        format!(
            "The availability replica for availability group '{name}' on this instance of SQL Server cannot become the primary replica. One or more databases are not synchronized or have not joined the availability group. If the availability replica uses the asynchronous-commit mode, consider performing a forced manual failover (with possible data loss). Otherwise, once all local secondary databases are joined and synchronized, you can perform a planned manual failover to this secondary replica (without data loss). For more information, see SQL Server Books Online."
        ),
    )
}

/// Asks every other voter to promise; a majority must, and none of those may have accepted more than this replica.
async fn promised(shared: &Arc<Shared>, group: &Arc<Group>, number: i64) -> bool {
    let config = group.state().copy.config.clone();
    let voters = config.voters();
    let mut votes = usize::from(voters.contains(group.me.as_str()));
    let others = voters.iter().filter(|voter| **voter != group.me);
    let addresses = others.filter_map(|voter| config.replicas.get(*voter).and_then(ReplicaConfig::address));
    let mut answers: FuturesUnordered<_> = addresses
        .map(|(host, port)| {
            let ask = Frame::Promise { group: group.name.clone(), number };
            async move {
                let asking = async {
                    let mut session = follow::call(shared, &host, port, &ask).await?;
                    transport::receive(&mut session.stream).await
                };
                timeout(PROMISE_TIMEOUT, asking).await
            }
        })
        .collect();
    while votes < config.majority() {
        let Some(answer) = answers.next().await else { return false };
        if let Ok(Ok(Frame::Promised { granted, accepted })) = answer {
            if accepted > config.number {
                return false;
            }
            votes += usize::from(granted);
        }
    }
    true
}

/// The promotion itself: the new number is written here, then the role changes.
fn promote(group: &Arc<Group>, number: i64, intent: u64, force: bool) -> SqlResult<()> {
    let engine = group.instance()?.faults.get().failover;
    {
        let mut state = group.state();
        if state.intent != intent {
            return Err(cancelled(&group.name));
        }
        // What was accepted since the statement began may say otherwise.
        let overtaken = state.copy.config.number >= number || state.copy.promised > number;
        if !force && (overtaken || !state.copy.ready(&group.me)) {
            return Err(refused(&group.name));
        }
        let me = group.me.clone();
        group.persist(&mut state, |copy| {
            copy.config.number = number;
            copy.promised = copy.promised.max(number);
            copy.committed = true;
            copy.in_force = None;
            if force {
                forget_others(copy, &me);
            }
        })?;
    }
    group.become_primary(Crown::Promoted { hold: engine == FailoverEngine::MajorityBeforeAcknowledging && !force })
}

/// A forced failover: the others suspend their databases until a person resumes them, and count in configuration commits
/// again when they are back.
fn forget_others(copy: &mut Copy, me: &str) {
    copy.suspended.clear();
    let others: BTreeSet<String> = copy
        .config
        .replicas
        .iter()
        .filter(|(name, replica)| *name != me && replica.holds_data())
        .map(|(name, _)| name.clone())
        .collect();
    for database in copy.config.databases.values_mut() {
        database.synchronized = BTreeSet::from([me.to_string()]);
        database.pending_suspend.clone_from(&others);
    }
    for (name, replica) in &mut copy.config.replicas {
        replica.joined = name == me;
    }
}
