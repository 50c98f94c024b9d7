//! FAILOVER on the replica that shall become primary.

use super::{
    config::ReplicaConfig,
    follow,
    roles::{Group, Role},
    transport::{self, Frame},
};
use crate::{
    errors::{Message, SqlResult},
    faults::FailoverEngine,
    instance::Shared,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

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
    let number = {
        let mut state = group.state();
        let own = state.copy.config.replicas.get(&group.me).cloned();
        if own.as_ref().is_some_and(|own| own.availability_mode == 4) {
            return Err(Message::new(
                47_109,
                16,
                format!(
                    "Availability group '{}' cannot failover to this replica. Configuration-only replica cannot become primary. An attempt to fail over an availability group failed. The replica is a configuration-only replica and cannot become a primary replica.",
                    group.name
                ),
            ));
        }
        if state.role == Role::Primary {
            return Err(Message::new(
                41_122,
                16,
                format!(
                    "Cannot failover availability group '{}' to this instance of SQL Server. The local availability replica is already the primary replica of the availability group. To failover this availability group to another instance of SQL Server, run the failover command on that instance of SQL Server. If local instance of SQL Server is intended to host the primary replica of the availability group, then no action is required.",
                    group.name
                ),
            ));
        }
        if state.pending_failover {
            return Err(Message::new(
                41_113,
                16,
                format!(
                    "Cannot failover availability group '{}' to this instance of SQL Server because a failover command is already pending on the local replica of this availability group. Wait for the pending failover command to complete before issuing another command on the local replica of this availability group.",
                    group.name
                ),
            ));
        }
        let me = &group.me;
        let ready = state.copy.config.databases.iter().all(|(name, database)| {
            database.synchronized.contains(me)
                && state.copy.local.contains(name)
                && !state.copy.suspended.contains_key(name)
        });
        let synchronous = own.is_some_and(|own| own.availability_mode == 1);
        if !(force || ready && synchronous) {
            return Err(refused(&group.name));
        }
        state.pending_failover = true;
        (state.copy.config.major().max(state.copy.promised >> 32) + 1) << 32
    };
    let engine = shared.faults.get().failover;
    if engine == FailoverEngine::MajorityBeforePromotion && !promised(shared, group, number).await {
        group.state().pending_failover = false;
        return Err(refused(&group.name));
    }
    sleep(shared.faults.get().role_delay).await;
    promote(shared, group, number, engine, force)
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
    for voter in voters.iter().filter(|voter| **voter != group.me) {
        let Some((host, port)) = config.replicas.get(*voter).and_then(ReplicaConfig::address) else { continue };
        let ask = async {
            let mut session =
                follow::call(shared, &host, port, &Frame::Promise { group: group.name.clone(), number }).await?;
            transport::receive(&mut session.stream).await
        };
        if let Ok(Ok(Frame::Promised { granted, accepted })) = timeout(PROMISE_TIMEOUT, ask).await {
            if accepted > config.number {
                return false;
            }
            votes += usize::from(granted);
        }
    }
    votes >= config.majority()
}

fn promote(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    number: i64,
    engine: FailoverEngine,
    force: bool,
) -> SqlResult<()> {
    {
        let mut state = group.state();
        let me = group.me.clone();
        group.persist(&mut state, |copy| {
            copy.config.number = number;
            copy.promised = copy.promised.max(number);
            copy.committed = engine == FailoverEngine::Local;
            if force {
                copy.config
                    .databases
                    .values_mut()
                    .for_each(|database| database.synchronized = BTreeSet::from([me.clone()]));
                copy.suspended.clear();
            }
        })?;
        state.fork = shared.random();
    }
    group.become_role(Role::Primary)?;
    if engine == FailoverEngine::MajorityBeforeAcknowledging {
        let number = group.propose(|_| {})?;
        let mut state = group.state();
        state.hold = state.pending.as_ref().is_some_and(|pending| pending.config.number == number);
    }
    Ok(())
}
