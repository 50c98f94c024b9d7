//! Configuration commits of a primary: propose, count votes, follow the facts.

use super::{
    config::{Config, DatabaseConfig},
    roles::{Group, Pending, Role, State},
};
use crate::errors::SqlResult;
use std::{collections::BTreeSet, sync::Arc};

impl Group {
    /// Proposes a changed configuration; the primary itself accepts it first. `None`: another one still waits for votes,
    /// and a second must not push it aside, because somebody may have accepted it.
    pub fn propose(
        self: &Arc<Self>,
        state: &mut State,
        change: impl FnOnce(&mut Config) -> SqlResult<()>,
    ) -> SqlResult<Option<i64>> {
        if state.role != Role::Primary {
            return Err(self.not_primary("ALTER AVAILABILITY GROUP"));
        }
        if state.pending.is_some() {
            return Ok(None);
        }
        let mut config = state.committed.clone();
        change(&mut config)?;
        config.number = state.copy.config.number + 1;
        let number = config.number;
        let in_force = state.committed.clone();
        self.persist(state, |copy| {
            copy.config = config.clone();
            copy.committed = false;
            copy.in_force = Some(in_force);
        })?;
        let since = self.instance()?.now();
        state.pending = Some(Pending { config, accepted: BTreeSet::from([self.me.clone()]), since });
        self.tally(state);
        Ok(Some(number))
    }

    /// Commits the pending configuration when a majority accepted it.
    pub fn tally(&self, state: &mut State) -> bool {
        let Some(pending) = &state.pending else { return false };
        // The primary's own vote counts, whatever its availability mode.
        let mut voters = pending.config.voters();
        voters.insert(self.me.as_str());
        let votes = pending.accepted.iter().filter(|name| voters.contains(name.as_str())).count();
        if votes < pending.config.majority_of(voters.len()) {
            return false;
        }
        state.committed = pending.config.clone();
        state.pending = None;
        state.hold = false;
        // Without this mark a restart asks for the same votes again.
        let _ = self.persist(state, |copy| {
            copy.committed = true;
            copy.in_force = None;
        });
        true
    }

    /// Brings the configuration in line with who is connected and caught up. One change waits for votes at a time.
    ///
    /// Facts and proposal are one step under the lock: a write that becomes durable after it waits for whoever the
    /// proposal adds.
    pub fn reconcile(self: &Arc<Self>) {
        {
            let mut state = self.state();
            while state.role == Role::Primary && state.pending.is_none() {
                let Some(wanted) = self.wanted(&state) else { break };
                let proposed = self.propose(&mut state, |config| {
                    *config = wanted;
                    Ok(())
                });
                if proposed.is_err() {
                    break;
                }
            }
        }
        self.touch();
    }

    /// The configuration that the facts ask for. `None`: the one in force.
    fn wanted(&self, state: &State) -> Option<Config> {
        let mut config = state.committed.clone();
        let connected = |name: &str| state.partners.get(name).is_some_and(|partner| partner.connected);
        // One voter more at a time, so that old and new majorities have a member in common.
        let newcomer = config.replicas.iter_mut().find(|(name, replica)| !replica.joined && connected(name));
        if let Some((_, replica)) = newcomer {
            replica.joined = true;
        }
        let replicas = config.replicas.clone();
        // An asynchronous primary waits for nobody, whatever the modes of its secondaries are, and nobody is ever marked
        // SYNCHRONIZED with it (SQL Server docs, "Availability modes").
        let synchronous = replicas.get(&self.me).is_some_and(|own| own.availability_mode == 1);
        match self.instance() {
            Ok(shared) if self.distributed => {
                config.databases = shared.databases_of_member(&self.me, &config.databases);
            }
            Ok(shared) => config.links = shared.link_definitions(&self.name),
            Err(_) => {}
        }
        for (name, database) in &mut config.databases {
            let mut synchronized = BTreeSet::from([self.me.clone()]);
            let candidates = state.partners.keys().filter(|partner| {
                let replica = replicas.get(*partner);
                synchronous && replica.is_some_and(|replica| replica.availability_mode == 1 && replica.joined)
            });
            synchronized.extend(candidates.filter(|partner| self.caught_up(state, partner, name, database)).cloned());
            database.synchronized = synchronized;
            database.pending_suspend.retain(|partner| {
                replicas.contains_key(partner)
                    && !state
                        .partners
                        .get(partner)
                        .is_some_and(|entry| entry.suspended.contains_key(name) || entry.reseeding.contains(name))
            });
        }
        (config != state.committed).then_some(config)
    }

    fn caught_up(&self, state: &State, partner: &str, name: &str, database: &DatabaseConfig) -> bool {
        let Some(entry) = state.partners.get(partner).filter(|entry| entry.connected) else { return false };
        if self.distributed && !entry.synchronous {
            return false;
        }
        let away = entry.suspended.contains_key(name)
            || entry.reseeding.contains(name)
            || database.pending_suspend.contains(partner)
            || state.copy.suspended.contains_key(name);
        if away {
            return false;
        }
        if database.synchronized.contains(partner) {
            // A member that has only just connected has not said yet how far it is: it stays until it does or goes.
            return true;
        }
        // Until the group owns it, commits wait for nobody.
        let copy = self.instance().ok().and_then(|shared| shared.database(name)).filter(|copy| copy.is_owned());
        let end = copy.map(|database| database.end());
        end.is_some() && entry.hardened.get(name).copied() == end
    }
}
