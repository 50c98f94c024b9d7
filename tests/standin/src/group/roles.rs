//! One group on one instance: its copy, its role, and the configuration commits of a primary.

use super::config::{Config, Copy};
use crate::{
    errors::{Message, SqlResult},
    faults::FailoverEngine,
    instance::Shared,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, task::AbortHandle};

/// Role of the local replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 0
    Resolving,
    /// 1
    Primary,
    /// 2
    Secondary,
}

/// A partner as a primary knows it.
#[derive(Clone, Debug, Default)]
pub struct Partner {
    /// A session is open.
    pub connected: bool,
    /// Number of the session, so that an old one does not speak for a new one.
    pub session: u64,
    /// Highest configuration it accepted in this session.
    pub accepted: i64,
    /// Hardened, by database; stays when the session ends: what was hardened is hardened.
    pub hardened: BTreeMap<String, u64>,
    /// Redone, by database.
    pub redone: BTreeMap<String, u64>,
    /// Why the last session ended.
    pub last_error: Option<String>,
}

/// A configuration that waits for votes.
#[derive(Clone, Debug)]
pub struct Pending {
    /// It.
    pub config: Config,
    /// Who accepted it.
    pub accepted: BTreeSet<String>,
    /// Since when.
    pub since: SystemTime,
}

/// One row of seeding.
#[derive(Clone, Debug)]
pub struct Seeding {
    /// Database.
    pub database: String,
    /// The other side.
    pub partner: String,
    /// This side is the source.
    pub source: bool,
    /// `SEEDING`, `COMPLETED`, `FAILED`
    pub state: &'static str,
    /// Documented failure number; 0: none.
    pub failure: i64,
    /// Bytes moved.
    pub moved: u64,
    /// Bytes in all.
    pub size: u64,
    /// Start.
    pub started: SystemTime,
    /// End.
    pub ended: Option<SystemTime>,
}

/// What changes.
pub struct State {
    /// The persisted copy.
    pub copy: Copy,
    /// Role.
    pub role: Role,
    /// A FAILOVER is under way.
    pub pending_failover: bool,
    /// Grows with every change of role.
    pub reign: u64,
    /// Fork of the records of this reign.
    pub fork: u64,
    /// The configuration in force; a primary's word.
    pub committed: Config,
    /// The one that waits.
    pub pending: Option<Pending>,
    /// Nothing is acknowledged before the pending configuration is committed.
    pub hold: bool,
    /// Partners of a primary.
    pub partners: BTreeMap<String, Partner>,
    /// The primary that a secondary follows now.
    pub following: Option<String>,
    /// The last primary known.
    pub last_primary: Option<String>,
    /// Seeding, newest last.
    pub seeding: Vec<Seeding>,
    sessions: u64,
    tasks: Vec<AbortHandle>,
}

/// One group on one instance.
pub struct Group {
    /// The instance.
    pub shared: Weak<Shared>,
    /// Name of the group.
    pub name: String,
    /// Name of the local replica.
    pub me: String,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Group {
    /// A group from its copy, RESOLVING.
    pub fn new(shared: &Arc<Shared>, name: &str, copy: Copy) -> Arc<Self> {
        let state = State {
            committed: copy.config.clone(),
            copy,
            role: Role::Resolving,
            pending_failover: false,
            reign: 1,
            fork: 0,
            pending: None,
            hold: false,
            partners: BTreeMap::new(),
            following: None,
            last_primary: None,
            seeding: vec![],
            sessions: 0,
            tasks: vec![],
        };
        let me = shared.config.server_name.clone();
        Arc::new(Self {
            shared: Arc::downgrade(shared),
            name: name.into(),
            me,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
        })
    }

    /// The state, locked; never across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a change.
    pub fn touch(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Watches changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The instance, while it lives.
    pub fn instance(&self) -> SqlResult<Arc<Shared>> {
        self.shared
            .upgrade()
            .filter(|shared| shared.alive())
            .ok_or_else(|| Message::new(6005, 14, "SHUTDOWN is in progress."))
    }

    /// Persists the copy, changed by `change`, before anybody hears of it.
    pub fn persist(&self, state: &mut State, change: impl FnOnce(&mut Copy)) -> SqlResult<()> {
        change(&mut state.copy);
        let shared = self.instance()?;
        shared.save_copy(&self.name, &state.copy).map_err(|error| Message::new(41_144, 16, format!("The local availability replica of availability group '{}' is in a failed state. The replica failed to read or update the persisted configuration data (SQL Server error: {error}). To recover from this failure, either restart the local Windows Server Failover Clustering (WSFC) service or restart the local instance of SQL Server.", self.name)))
    }

    /// Changes the role: sessions end, open transactions are thrown out, databases get their new owner.
    pub fn become_role(self: &Arc<Self>, role: Role) -> SqlResult<()> {
        let shared = self.instance()?;
        let databases: Vec<String> = {
            let mut state = self.state();
            state.tasks.drain(..).for_each(|task| task.abort());
            state.role = role;
            state.reign += 1;
            state.pending_failover = false;
            state.following = None;
            state.partners.clear();
            state.pending = None;
            state.hold = false;
            state.committed = state.copy.config.clone();
            self.persist(&mut state, |copy| copy.was_primary = role == Role::Primary)?;
            state.copy.local.iter().cloned().collect()
        };
        for name in databases {
            if let Some(database) = shared.database(&name) {
                if role == Role::Primary {
                    database.redo(database.end())?;
                }
                database.set_owner(Some(super::primary::owner(self)));
            }
        }
        tracing::info!(group = self.name, role = ?role, "the state of the local availability replica has changed (19406)");
        self.touch();
        if role == Role::Secondary {
            self.spawn(super::follow::run(self.clone()));
        }
        if role == Role::Primary {
            self.spawn(keep_configuration(self.clone()));
            self.spawn(super::serve::invite(self.clone()));
            self.reconcile();
        }
        Ok(())
    }

    /// Runs a task until the role changes or the instance ends.
    pub fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task);
        let mut state = self.state();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(handle.abort_handle());
    }

    /// Ends every task: the instance stops.
    pub fn end(&self) {
        self.state().tasks.drain(..).for_each(|task| task.abort());
    }

    /// Ends every session: the endpoint stopped.
    pub fn drop_sessions(self: &Arc<Self>) {
        for partner in self.state().partners.values_mut() {
            partner.connected = false;
            partner.session = 0;
        }
        self.reconcile();
    }

    /// Registers a session with a partner; an older one loses its voice.
    pub fn open_session(&self, partner: &str) -> u64 {
        let mut state = self.state();
        state.sessions += 1;
        let session = state.sessions;
        let entry = state.partners.entry(partner.into()).or_default();
        entry.connected = true;
        entry.session = session;
        entry.accepted = 0;
        drop(state);
        self.touch();
        session
    }

    /// A session ended.
    pub fn close_session(self: &Arc<Self>, partner: &str, session: u64, why: &str) {
        let mut state = self.state();
        if let Some(entry) = state.partners.get_mut(partner).filter(|entry| entry.session == session) {
            entry.connected = false;
            entry.accepted = 0;
            entry.last_error = Some(why.into());
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
        drop(state);
        self.try_commit();
        self.reconcile();
    }

    /// A partner hardened and redid.
    pub fn hardened(self: &Arc<Self>, partner: &str, database: &str, lsn: u64, redone: u64) {
        let mut state = self.state();
        let Some(entry) = state.partners.get_mut(partner) else { return };
        entry.hardened.insert(database.into(), lsn);
        entry.redone.insert(database.into(), redone);
        drop(state);
        self.touch();
        self.reconcile();
    }

    /// Waits until no configuration is pending, or the role is lost.
    pub async fn settled(&self, number: i64) -> SqlResult<()> {
        let mut changes = self.changes();
        loop {
            {
                let state = self.state();
                if state.role != Role::Primary {
                    return Err(Message::new(
                        41_190,
                        16,
                        format!(
                            "Availability group '{}' failed to process the command. The local availability replica is not in a state that could process the command. Verify that the availability group is online and that the local availability replica is the primary replica, then retry the command.",
                            self.name
                        ),
                    ));
                }
                if state.pending.is_none() && state.committed.number >= number {
                    return Ok(());
                }
            }
            if changes.changed().await.is_err() {
                return Err(Message::new(6005, 14, "SHUTDOWN is in progress."));
            }
        }
    }

    /// Whether this instance accepts a configuration or a primary with this number.
    pub fn acceptable(&self, number: i64) -> bool {
        let Ok(shared) = self.instance() else { return false };
        let switches = shared.faults.get();
        let state = self.state();
        let lower = number < state.copy.config.number || number < state.copy.promised;
        let strict = switches.failover != FailoverEngine::Local || !switches.follows_lower_numbers;
        !(strict && lower)
    }
}

/// Looks each second whether the configuration still fits: sessions that ended without a word are noticed elsewhere.
async fn keep_configuration(group: Arc<Group>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        group.reconcile();
    }
}
