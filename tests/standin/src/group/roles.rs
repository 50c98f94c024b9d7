//! One group on one instance: its copy, its role, and the change of roles.

pub use super::seeding::Seeding;
use super::{
    config::{Config, Copy},
    stuck::Stuck,
};
use crate::{
    errors::{Message, SqlResult},
    faults::FailoverEngine,
    instance::Shared,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

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
    /// Databases that it does not take records of, with the reason.
    pub suspended: BTreeMap<String, u8>,
    /// Of a group in a distributed one: its own side says that it commits synchronously.
    pub synchronous: bool,
    /// Databases that an image was sent of and that it has not reported since.
    pub reseeding: BTreeSet<String>,
    /// Why the last session ended.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<SystemTime>,
}

impl Partner {
    /// A database left the group: one of its name that comes later is another one.
    pub fn forget(&mut self, database: &str) {
        self.hardened.remove(database);
        self.redone.remove(database);
        self.suspended.remove(database);
        self.reseeding.remove(database);
    }
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
    /// Grows with every statement that asks for a role: a later one takes an earlier one back.
    pub intent: u64,
    /// The role that was asked for and has not come yet.
    pub asked: Option<Role>,
    /// Since when it has this role.
    pub since: Instant,
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
    /// Grows when a secondary has to open its session anew.
    pub again: u64,
    /// Seeding, newest last.
    pub seeding: Vec<Seeding>,
    /// End of the external write lease.
    pub lease: Option<Instant>,
    /// The 41104 trap, here or for partners.
    pub stuck: Stuck,
    pub(super) sessions: u64,
    tasks: Vec<AbortHandle>,
}

/// How a replica becomes PRIMARY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crown {
    /// By FAILOVER or CREATE: its copy counts as committed. `hold`: acknowledge nothing before a majority accepted it.
    Promoted {
        /// See there.
        hold: bool,
    },
    /// By a restart: what it had proposed still waits for votes.
    Resumed,
}

/// One group on one instance.
pub struct Group {
    /// The instance.
    pub shared: Weak<Shared>,
    /// Name of the group.
    pub name: String,
    /// Name of the local replica; of a distributed group the name of the group here that is its member.
    pub me: String,
    /// Each of its replicas is a group.
    pub distributed: bool,
    /// It is the secondary side of a distributed group: its primary replica is a forwarder.
    pub forwards: AtomicBool,
    state: Mutex<State>,
    /// Shared by a group and the distributed ones that it is a member of: what one hardens concerns the others.
    changed: Arc<watch::Sender<u64>>,
}

impl Group {
    /// A group from its copy, RESOLVING.
    pub fn new(shared: &Arc<Shared>, name: &str, copy: Copy) -> Arc<Self> {
        let member = copy.member.clone();
        let of = member.as_ref().and_then(|name| shared.group(name));
        let changed = of.map_or_else(|| Arc::new(watch::Sender::new(0)), |group| group.changed.clone());
        let distributed = copy.config.distributed;
        let state = State {
            committed: copy.config.clone(),
            copy,
            role: Role::Resolving,
            pending_failover: false,
            reign: 1,
            intent: 0,
            asked: None,
            since: Instant::now(),
            fork: 0,
            pending: None,
            hold: false,
            partners: BTreeMap::new(),
            following: None,
            last_primary: None,
            again: 0,
            seeding: vec![],
            lease: None,
            stuck: Stuck::default(),
            sessions: 0,
            tasks: vec![],
        };
        let me = member.unwrap_or_else(|| shared.config.server_name.clone());
        Arc::new(Self {
            shared: Arc::downgrade(shared),
            name: name.into(),
            me,
            distributed,
            forwards: AtomicBool::new(shared.is_secondary_side(name)),
            state: Mutex::new(state),
            changed,
        })
    }

    /// The state, locked; never across an await. Databases are locked after it, never before.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something as a secondary, unless the role has changed since `reign`.
    pub fn as_secondary<T>(&self, reign: u64, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        if state.role != Role::Secondary || state.reign != reign {
            return Err(io::Error::other("the role changed"));
        }
        work(&mut state)
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

    /// Persists the copy, changed by `change`, before anybody hears of it. After an error it is as before.
    pub fn persist(&self, state: &mut State, change: impl FnOnce(&mut Copy)) -> SqlResult<()> {
        let mut copy = state.copy.clone();
        change(&mut copy);
        let shared = self.instance()?;
        shared.save_copy(&self.name, &copy).map_err(|error| Message::new(41_144, 16, format!("The local availability replica of availability group '{}' is in a failed state. The replica failed to read or update the persisted configuration data (SQL Server error: {error}). To recover from this failure, either restart the local Windows Server Failover Clustering (WSFC) service or restart the local instance of SQL Server.", self.name)))?;
        state.copy = copy;
        Ok(())
    }

    /// Changes the role to RESOLVING or SECONDARY: sessions end, open transactions are thrown out.
    pub fn become_role(self: &Arc<Self>, role: Role) -> SqlResult<()> {
        self.turn(role, None)?;
        let shared = self.instance()?;
        if role == Role::Secondary {
            self.spawn(super::follow::run(self.clone()));
        } else if let Some(pause) = shared.faults.get().returns_by_itself.filter(|_| !self.distributed) {
            self.spawn(return_later(self.clone(), pause));
        }
        Ok(())
    }

    /// Becomes PRIMARY: everything hardened here is redone, then clients and partners are served.
    pub fn become_primary(self: &Arc<Self>, crown: Crown) -> SqlResult<()> {
        let shared = self.instance()?;
        let (reign, databases) = {
            // Nothing may be received any more when redo begins.
            let mut state = self.state();
            state.tasks.drain(..).for_each(|task| task.abort());
            state.role = Role::Resolving;
            state.reign += 1;
            (state.reign, state.copy.local.iter().cloned().collect::<Vec<_>>())
        };
        for database in databases.iter().filter_map(|name| shared.database(name)) {
            database.throw_out();
            // A forwarder redoes what the global primary says is acknowledged.
            if !self.forwards.load(Ordering::SeqCst) {
                database.redo(database.end())?;
            }
        }
        self.turn(Role::Primary, Some((crown, reign)))?;
        tracing::info!(group = self.name, "the local replica is the primary replica now (41074)");
        self.spawn(keep_configuration(self.clone()));
        self.spawn(super::serve::invite(self.clone()));
        self.spawn(super::lease::keep(self.clone()));
        self.reconcile();
        Ok(())
    }

    /// A crown is taken only in the reign it was prepared for.
    pub(super) fn turn(self: &Arc<Self>, role: Role, crown: Option<(Crown, u64)>) -> SqlResult<()> {
        let shared = self.instance()?;
        let now = shared.now();
        let (before, databases) = {
            let mut state = self.state();
            let before = state.role;
            if crown.is_some_and(|(_, reign)| reign != state.reign) {
                return Err(super::failover::cancelled(&self.name));
            }
            let crown = crown.map(|(crown, _)| crown);
            if !self.distributed {
                self.persist(&mut state, |copy| copy.was_primary = role == Role::Primary)?;
            }
            state.tasks.drain(..).for_each(|task| task.abort());
            state.role = role;
            state.reign += 1;
            state.since = Instant::now();
            state.pending_failover = false;
            state.asked = None;
            state.following = None;
            state.partners.clear();
            state.pending = None;
            state.committed = state.copy.config.clone();
            if role == Role::Primary {
                state.fork = shared.random();
            }
            let resumed = crown == Some(Crown::Resumed) && !state.copy.committed;
            state.hold = crown == Some(Crown::Promoted { hold: true }) || resumed && self.strict();
            if resumed {
                state.committed = state.copy.in_force.clone().unwrap_or_else(|| state.copy.config.clone());
                let accepted = BTreeSet::from([self.me.clone()]);
                state.pending = Some(Pending { config: state.copy.config.clone(), accepted, since: now });
                self.tally(&mut state);
            } else if state.hold {
                self.propose(&mut state, |_| Ok(()))?;
            }
            let own = state.copy.local.iter().filter(|_| !self.distributed).cloned();
            (before, own.collect::<Vec<_>>())
        };
        for database in databases.iter().filter_map(|name| shared.database(name)) {
            database.set_owner(Some(super::primary::owner(self)));
        }
        tracing::info!(group = self.name, replica = self.me, from = ?before, to = ?role, "the state of the local availability replica has changed (19406)");
        self.touch();
        if !self.distributed {
            super::sides::align(&shared, self);
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

    /// Ends every task and every wait: the instance stops, or the group leaves it.
    pub fn end(&self) {
        let mut state = self.state();
        state.tasks.drain(..).for_each(|task| task.abort());
        state.role = Role::Resolving;
        state.reign += 1;
        state.intent += 1;
        state.partners.clear();
        state.pending = None;
        drop(state);
        self.touch();
    }

    /// Waits until the configuration `number` of this reign is in force, or the role is lost.
    pub async fn settled(&self, reign: u64, number: i64) -> SqlResult<()> {
        let mut changes = self.changes();
        loop {
            {
                let state = self.state();
                if state.role != Role::Primary || state.reign != reign {
                    return Err(self.not_primary("ALTER AVAILABILITY GROUP"));
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

    /// 41190
    pub fn not_primary(&self, command: &str) -> Message {
        Message::new(
            41_190,
            16,
            format!(
                "Availability group '{}' failed to process {command} command. The local availability replica is not in a state that could process the command. Verify that the availability group is online and that the local availability replica is the primary replica, then retry the command.",
                self.name
            ),
        )
    }

    /// Whether this instance needs a majority for FAILOVER, or otherwise refuses lower numbers.
    pub fn strict(&self) -> bool {
        self.instance().is_ok_and(|shared| shared.faults.get().failover != FailoverEngine::Local)
    }

    /// Whether this instance accepts a configuration or a primary with this number.
    pub fn acceptable(&self, state: &State, number: i64) -> bool {
        let Ok(shared) = self.instance() else { return false };
        // Each side of a distributed group counts its own configurations.
        if self.distributed {
            return true;
        }
        let lower = number < state.copy.config.number || number < state.copy.promised;
        !(lower && (self.strict() || !shared.faults.get().follows_lower_numbers))
    }

    /// A primary hears of a promotion elsewhere. Returns whether it gave its role up.
    pub fn yields_to(self: &Arc<Self>, number: i64) -> bool {
        let higher = {
            let state = self.state();
            state.role == Role::Primary && (number >> 32) > state.copy.config.major()
        };
        let told = self.instance().is_ok_and(|shared| shared.faults.get().yields_to_higher_numbers) || self.strict();
        if higher && told && !self.distributed {
            tracing::warn!(group = self.name, "another replica was promoted meanwhile (41094)");
        }
        higher && told && !self.distributed && self.become_role(Role::Resolving).is_ok()
    }
}

/// Looks each second whether the configuration still fits: sessions that ended without a word are noticed elsewhere.
pub(super) async fn keep_configuration(group: Arc<Group>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        group.reconcile();
    }
}

/// Some saw a RESOLVING replica come back without being told.
async fn return_later(group: Arc<Group>, pause: Duration) {
    tokio::time::sleep(pause).await;
    let _ = group.become_role(Role::Secondary);
}
