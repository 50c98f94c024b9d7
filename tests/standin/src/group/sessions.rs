//! What a primary knows of its partners' sessions.

use super::roles::{Group, Role};
use std::sync::Arc;

/// `failure_state` of a seeding that its session did not outlive.
const INTERRUPTED: i64 = 2;

impl Group {
    /// Ends every session: the endpoint stopped.
    pub fn drop_sessions(self: &Arc<Self>) {
        for partner in self.state().partners.values_mut() {
            partner.connected = false;
            partner.session = 0;
        }
        self.reconcile();
    }

    /// Ends the session with one partner: it will call again.
    pub fn drop_session(self: &Arc<Self>, partner: &str) {
        if let Some(entry) = self.state().partners.get_mut(partner) {
            entry.connected = false;
            entry.session = 0;
        }
        self.reconcile();
    }

    /// Registers a session with a partner; an older one loses its voice. `None`: this replica is not the primary, or
    /// the caller is not one of the others.
    pub fn open_session(&self, partner: &str) -> Option<u64> {
        let mut state = self.state();
        if state.role != Role::Primary || !state.copy.config.replicas.contains_key(partner) || partner == self.me {
            return None;
        }
        // A seeding ends with the session that it was sent in.
        let now = self.instance().ok()?.now();
        for row in state.seeding.iter_mut().filter(|row| row.is_sent_to(partner)) {
            (row.state, row.failure, row.ended) = ("FAILED", INTERRUPTED, Some(now));
        }
        state.sessions += 1;
        let session = state.sessions;
        let entry = state.partners.entry(partner.into()).or_default();
        entry.connected = true;
        entry.session = session;
        entry.accepted = 0;
        // It may have followed somebody else, or lost its disk, since it last said how far it is.
        entry.hardened.clear();
        entry.redone.clear();
        entry.suspended.clear();
        entry.reseeding.clear();
        entry.synchronous = false;
        drop(state);
        tracing::info!(group = self.name, partner, "a connection to an availability replica is established (35202)");
        self.touch();
        Some(session)
    }

    /// A session ended.
    pub fn close_session(self: &Arc<Self>, partner: &str, session: u64, why: &str) {
        let Ok(shared) = self.instance() else { return };
        let mut state = self.state();
        if let Some(entry) = state.partners.get_mut(partner) {
            if entry.session == session || entry.session == 0 {
                entry.last_error = Some(why.into());
                entry.last_error_at = Some(shared.now());
            }
            if entry.session == session {
                entry.connected = false;
                entry.accepted = 0;
            }
        }
        drop(state);
        tracing::info!(group = self.name, partner, why, "a connection to an availability replica ended (35206)");
        self.reconcile();
    }

    /// A partner accepted a configuration.
    pub fn accepted(self: &Arc<Self>, partner: &str, session: u64, number: i64) {
        let mut state = self.state();
        let Some(entry) = state.partners.get_mut(partner).filter(|entry| entry.session == session) else { return };
        entry.accepted = entry.accepted.max(number);
        if let Some(pending) = state.pending.as_mut().filter(|pending| pending.config.number == number) {
            pending.accepted.insert(partner.into());
        }
        self.tally(&mut state);
        drop(state);
        self.reconcile();
    }

    /// A partner hardened and redid.
    pub fn hardened(self: &Arc<Self>, partner: &str, session: u64, database: &str, lsn: u64, redone: u64) {
        let Ok(shared) = self.instance() else { return };
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(entry) = state.partners.get_mut(partner).filter(|entry| entry.session == session) else { return };
        entry.hardened.insert(database.into(), lsn);
        entry.redone.insert(database.into(), redone);
        if entry.reseeding.remove(database) {
            // The target has put the image in place.
            let rows = state.seeding.iter_mut().filter(|row| row.is_sent_to(partner) && row.database == database);
            rows.for_each(|row| (row.state, row.ended) = ("COMPLETED", Some(shared.now())));
        }
        drop(guard);
        self.reconcile();
    }

    /// The last record of a database's log that no replica needs any more.
    pub fn not_needed(&self, database: &str) -> u64 {
        let held = self.instance().is_ok_and(|shared| shared.faults.get().log_held_for_absent_replicas);
        let state = self.state();
        let others = state.copy.config.replicas.iter();
        let others = others.filter(|(name, replica)| **name != self.me && replica.joined && replica.holds_data());
        let hardened = others.filter_map(|(name, _)| {
            let partner = state.partners.get(name).filter(|partner| partner.connected || held);
            // Nobody has heard from it since this replica is primary: it may need all that there is.
            let unknown = held.then_some(0);
            partner.map(|partner| partner.hardened.get(database).copied().unwrap_or(0)).or(unknown)
        });
        hardened.min().unwrap_or(u64::MAX)
    }

    /// A partner suspended a database.
    pub fn suspended(self: &Arc<Self>, partner: &str, session: u64, database: &str, reason: u8) {
        let mut state = self.state();
        let Some(entry) = state.partners.get_mut(partner).filter(|entry| entry.session == session) else { return };
        entry.suspended.insert(database.into(), reason);
        drop(state);
        tracing::info!(group = self.name, partner, database, reason, "data movement has been suspended (35264)");
        self.reconcile();
    }

    /// A partner has no copy of a database that counts, and gets none.
    pub fn without(self: &Arc<Self>, partner: &str, session: u64, database: &str) {
        let mut state = self.state();
        let Some(entry) = state.partners.get_mut(partner).filter(|entry| entry.session == session) else { return };
        entry.hardened.remove(database);
        entry.redone.remove(database);
        entry.reseeding.insert(database.into());
        drop(state);
        self.reconcile();
    }
}
