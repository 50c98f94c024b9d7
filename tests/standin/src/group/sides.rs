//! The sides of a distributed group: who leads and who follows, and what that means for the databases of its member.

use super::{
    config::{Config, Copy, Link},
    forward::change_hands,
    membership,
    roles::{Group, Role, State, keep_configuration},
};
use crate::{errors::SqlResult, instance::Shared, store::database::Database};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

impl Group {
    /// The primary side of a distributed group: this replica serves the other side.
    fn lead(self: &Arc<Self>) -> SqlResult<()> {
        self.turn(Role::Primary, None)?;
        self.spawn(keep_configuration(self.clone()));
        self.reconcile();
        Ok(())
    }

    /// The role as the databases have it: those of a forwarder are secondary ones.
    pub fn role_of_databases(&self, state: &State) -> Role {
        if self.is_forwarder(state) { Role::Secondary } else { state.role }
    }

    /// Whether this replica is the primary one of a secondary side.
    pub fn is_forwarder(&self, state: &State) -> bool {
        state.role == Role::Primary && self.forwards.load(Ordering::SeqCst)
    }
}

/// This side becomes the primary one, with everything that is hardened here, or the secondary one.
pub(super) fn change_side(
    shared: &Arc<Shared>,
    link: &Arc<Group>,
    member: &Arc<Group>,
    primary: bool,
) -> SqlResult<()> {
    if member.state().role != Role::Primary {
        return Err(link.not_primary("ALTER AVAILABILITY GROUP"));
    }
    if primary {
        // Nothing may be received any more when redo begins.
        link.become_role(Role::Resolving)?;
        let local: Vec<String> = member.state().copy.local.iter().cloned().collect();
        for database in local.iter().filter_map(|name| shared.database(name)) {
            database.throw_out();
            database.redo(database.end())?;
        }
    }
    {
        let mut state = link.state();
        link.persist(&mut state, |copy| copy.was_primary = primary)?;
    }
    // Whoever steps down acknowledges nothing from here on, whether the other side has it or not.
    refresh(shared, member);
    change_hands(shared, member);
    align(shared, member);
    if primary && shared.faults.get().forced_side_suspends {
        suspend_others(member);
        let behind = shared.links_of(&member.name).into_iter().filter(|other| other.name != link.name);
        behind.filter(|other| other.state().role == Role::Primary).for_each(|other| suspend_others(&other));
    }
    member.reconcile();
    Ok(())
}

/// A forced failover may leave the local secondaries suspended, and the groups that follow this one.
fn suspend_others(group: &Arc<Group>) {
    let mut state = group.state();
    let me = group.me.clone();
    let proposed = group.propose(&mut state, |config| {
        let others = config.replicas.iter().filter(|(name, replica)| **name != me && replica.holds_data());
        let others: BTreeSet<String> = others.map(|(name, _)| name.clone()).collect();
        for database in config.databases.values_mut() {
            database.synchronized = BTreeSet::from([me.clone()]);
            database.pending_suspend.clone_from(&others);
        }
        Ok(())
    });
    if let Err(error) = proposed {
        tracing::error!(group = group.name, %error, "the other replicas were not suspended");
    }
}

/// The distributed groups of an instance that starts, when the groups that are their members are there.
pub fn start(shared: &Arc<Shared>, copies: Vec<(String, Copy)>) {
    for (name, copy) in copies {
        let group = Group::new(shared, &name, copy);
        shared.groups().insert(name, group);
    }
    for group in shared.all_groups().iter().filter(|group| !group.distributed) {
        refresh(shared, group);
        align(shared, group);
    }
}

/// Whether the databases of a group are secondary ones.
pub fn refresh(shared: &Arc<Shared>, member: &Arc<Group>) {
    member.forwards.store(shared.is_secondary_side(&member.name), Ordering::SeqCst);
}

/// The role of a group's replica decides who serves and who follows for the distributed groups that it is a member of.
pub fn align(shared: &Arc<Shared>, member: &Arc<Group>) {
    let leads = member.state().role == Role::Primary;
    for link in shared.links_of(&member.name) {
        let (role, primary) = {
            let state = link.state();
            (state.role, state.copy.was_primary)
        };
        let wanted = match (leads, primary) {
            (false, _) => Role::Resolving,
            (true, true) => Role::Primary,
            (true, false) => Role::Secondary,
        };
        let changed = match wanted {
            _ if role == wanted => Ok(()),
            Role::Primary => link.lead(),
            other => link.become_role(other),
        };
        if let Err(error) = changed {
            tracing::error!(group = link.name, %error, "the local side did not take its role (41181)");
        }
    }
}

/// A secondary learns from its primary which distributed groups its group is a member of. One that is gone there stays
/// here until it is dropped, as no cluster removes it.
pub fn learn(shared: &Arc<Shared>, member: &Arc<Group>, links: &BTreeMap<String, Link>) -> SqlResult<()> {
    for (name, link) in links {
        let Some(known) = shared.group(name) else {
            let copy = Copy { member: Some(member.name.clone()), ..Copy::new(link.config.clone(), link.primary) };
            shared.add_group(name, copy)?;
            continue;
        };
        let mut state = known.state();
        let config = Config {
            number: state.copy.config.number,
            databases: state.copy.config.databases.clone(),
            ..link.config.clone()
        };
        if known.distributed && (state.copy.config != config || state.copy.was_primary != link.primary) {
            known.persist(&mut state, |copy| (copy.config, copy.was_primary) = (config, link.primary))?;
        }
    }
    refresh(shared, member);
    Ok(())
}

/// A database that was seeded joins the local group, which seeds its own replicas.
pub fn take_in(shared: &Arc<Shared>, link: &Arc<Group>, database: &Arc<Database>) -> SqlResult<()> {
    let Some(member) = shared.group(&link.me) else { return Ok(()) };
    let name = database.name().to_string();
    {
        let mut state = link.state();
        link.persist(&mut state, |copy| {
            copy.suspended.remove(&name);
        })?;
    }
    let known = {
        let mut state = member.state();
        member.persist(&mut state, |copy| {
            copy.local.insert(name.clone());
        })?;
        state.copy.config.databases.contains_key(&name)
    };
    database.set_owner(Some(super::primary::owner(&member)));
    if known {
        // Its secondaries have what it was before.
        member.drop_sessions();
        return Ok(());
    }
    let (shared, owner) = (shared.clone(), shared.clone());
    owner.spawn(async move {
        if let Err(error) = membership::add_database(&shared, &member, &name).await {
            tracing::error!(group = member.name, %error, "a seeded database did not join the group");
        }
    });
    Ok(())
}

/// A database leaves the secondary side: it is RESTORING, on the local secondaries, too.
pub fn give_up(shared: &Arc<Shared>, link: &Arc<Group>, name: &str) -> SqlResult<()> {
    {
        let mut state = link.state();
        link.persist(&mut state, |copy| {
            copy.local.remove(name);
            copy.suspended.remove(name);
        })?;
    }
    let Some(member) = shared.group(&link.me) else { return Ok(()) };
    membership::leave_database(&member, shared, name, true)?;
    let (shared, name) = (shared.clone(), name.to_string());
    shared.clone().spawn(async move {
        let removed = membership::commit(&shared, &member, "REMOVE-DATABASE", |config| {
            config.databases.remove(&name);
        });
        if let Err(error) = removed.await {
            tracing::error!(group = member.name, %error, "a database did not leave the group");
        }
    });
    Ok(())
}
