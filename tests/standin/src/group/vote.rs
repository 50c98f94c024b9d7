//! Configuration commits of a primary: propose, count votes, follow the facts.

use super::{
    config::Config,
    roles::{Group, Pending, Role, State},
};
use crate::errors::SqlResult;
use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

impl Group {
    /// Proposes a changed configuration. The primary itself accepts it first.
    pub fn propose(self: &Arc<Self>, change: impl FnOnce(&mut Config)) -> SqlResult<i64> {
        let mut state = self.state();
        let mut config = state.committed.clone();
        change(&mut config);
        config.number = state.copy.config.number + 1;
        let number = config.number;
        self.persist(&mut state, |copy| {
            copy.config = config.clone();
            copy.committed = false;
        })?;
        state.pending = Some(Pending { config, accepted: BTreeSet::from([self.me.clone()]), since: SystemTime::now() });
        drop(state);
        self.touch();
        self.try_commit();
        Ok(number)
    }

    /// Commits the pending configuration when a majority accepted it.
    pub fn try_commit(self: &Arc<Self>) {
        let mut state = self.state();
        let Some(pending) = &state.pending else { return };
        let voters = pending.config.voters();
        let votes = pending.accepted.iter().filter(|name| voters.contains(name.as_str())).count();
        if votes < pending.config.majority() {
            return;
        }
        state.committed = pending.config.clone();
        state.pending = None;
        state.hold = false;
        let _ = self.persist(&mut state, |copy| copy.committed = true);
        drop(state);
        self.touch();
    }

    /// Brings the configuration in line with who is connected and caught up. One change waits for votes at a time.
    pub fn reconcile(self: &Arc<Self>) {
        let wanted = {
            let state = self.state();
            if state.role != Role::Primary || state.pending.is_some() {
                return self.touch();
            }
            self.wanted(&state)
        };
        match wanted {
            Some(config) => {
                let _ = self.propose(|own| {
                    own.databases = config.databases;
                    own.replicas = config.replicas;
                });
                self.reconcile_later();
            }
            None => self.touch(),
        }
    }

    fn reconcile_later(self: &Arc<Self>) {
        // A commit by this instance alone may allow the next change at once.
        if self.state().pending.is_none() {
            self.reconcile();
        }
    }

    /// The configuration that the facts ask for. `None`: the one in force.
    fn wanted(&self, state: &State) -> Option<Config> {
        let shared = self.instance().ok()?;
        let mut config = state.committed.clone();
        for (name, replica) in &mut config.replicas {
            replica.joined |= *name == self.me || state.partners.get(name).is_some_and(|partner| partner.connected);
        }
        let replicas = config.replicas.clone();
        for (name, database) in &mut config.databases {
            let end = shared.database(name).map_or(0, |database| database.end());
            let mut synchronized = BTreeSet::from([self.me.clone()]);
            for (partner, entry) in state.partners.iter().filter(|(_, entry)| entry.connected) {
                let synchronous = replicas.get(partner).is_some_and(|replica| replica.availability_mode == 1);
                let hardened = entry.hardened.get(name).copied();
                let caught_up =
                    hardened == Some(end) || (database.synchronized.contains(partner) && hardened.is_some());
                if synchronous && caught_up {
                    synchronized.insert(partner.clone());
                }
            }
            // A member that has only just connected has not said yet how far it is: it stays until it does or goes.
            let silent = |partner: &String| {
                state.partners.get(partner).is_some_and(|entry| entry.connected && !entry.hardened.contains_key(name))
            };
            synchronized.extend(database.synchronized.iter().filter(|partner| silent(partner)).cloned());
            database.synchronized = synchronized;
        }
        (config != state.committed).then_some(config)
    }
}
