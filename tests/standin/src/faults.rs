//! Switches for tests and for what the documentation leaves open. Safety switches default to the most dangerous reading
//! that the documentation does not exclude, all others to the documented one.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

/// How FAILOVER works inside: not documented, so every story runs with all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverEngine {
    /// Local and at once: the new number counts as committed when it is written here.
    #[default]
    Local,
    /// Local, but nothing is acknowledged before a majority accepted the new configuration; acceptors refuse lower ones.
    MajorityBeforeAcknowledging,
    /// A majority must promise the new number before the promotion happens.
    MajorityBeforePromotion,
}

impl FailoverEngine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::MajorityBeforeAcknowledging, Self::MajorityBeforePromotion];
}

/// The switches.
#[derive(Clone, Debug)]
pub struct Switches {
    /// How FAILOVER works inside.
    pub failover: FailoverEngine,
    /// A secondary follows any reachable primary; otherwise only one whose number is not lower than its own.
    pub follows_lower_numbers: bool,
    /// A RESOLVING replica goes back to a primary by itself after this.
    pub returns_by_itself: Option<Duration>,
    /// A restarted ex-primary comes back PRIMARY (one page of the documentation says so).
    pub restarts_as_primary: bool,
    /// A configuration-only replica accepts OFFLINE.
    pub configuration_only_accepts_offline: bool,
    /// DENY CONNECT cuts established endpoint connections, too.
    pub deny_cuts_connections: bool,
    /// CONNECT is checked by the side that opened the connection, too.
    pub checks_outbound: bool,
    /// A configuration-only replica allows a commit quorum above 0 (error 47108 says no, a table of the documentation yes).
    pub commit_quorum_beside_configuration_only: bool,
    /// After JOIN a replica is RESOLVING until told; otherwise SECONDARY.
    pub joins_resolving: bool,
    /// Time between the end of a role statement and the role change that it asked for; half as much more by chance.
    pub role_delay: Duration,
    /// SET (ROLE = SECONDARY) fails with 41104 when no primary is reachable; otherwise the replica becomes SECONDARY and
    /// goes on looking.
    pub set_role_needs_primary: bool,
    /// A restarted ex-primary that calls while the new primary is younger than this gets stuck: 41104 until both
    /// endpoints were restarted, as some saw on SQL Server 2025. `None`: it does not happen.
    pub stuck_41104: Option<Duration>,
    /// A primary that hears of a higher promotion from a partner becomes RESOLVING. It always does when a majority is
    /// needed for FAILOVER.
    pub yields_to_higher_numbers: bool,
    /// A primary keeps its log for replicas that are away (`log_reuse_wait` AVAILABILITY_REPLICA); otherwise BACKUP LOG
    /// truncates it, and they are copied anew when they return, as some saw on SQL Server 2025.
    pub log_held_for_absent_replicas: bool,
    /// ALTER TRIGGER enables a trigger that was disabled; otherwise it stays so.
    pub alter_trigger_enables: bool,
    /// Logon triggers fire when a pooled connection changes hands, too.
    pub logon_triggers_fire_for_pools: bool,
    /// sys.fn_hadr_is_primary_replica of a database that is in no group is NULL; otherwise 0, as the documentation says of
    /// everything that is not a primary replica.
    pub outside_groups_primary_is_null: bool,
    /// sys.fn_hadr_is_primary_replica of a database on a forwarder is 1, as it is on the primary replica of its group;
    /// otherwise 0, as it is secondary.
    pub forwarder_is_primary_replica: bool,
    /// FORCE_FAILOVER_ALLOW_DATA_LOSS of a distributed group suspends the local secondaries of the side that is promoted,
    /// and the forwarders of groups behind it, until each is resumed.
    pub forced_side_suspends: bool,
    /// A forwarder that has hardened more than the global primary cannot go on: its database is suspended, and has to be
    /// seeded anew. Otherwise what is too much is cut off, as on every other secondary.
    pub forwarder_ahead_is_stuck: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            failover: FailoverEngine::Local,
            follows_lower_numbers: true,
            returns_by_itself: None,
            restarts_as_primary: false,
            configuration_only_accepts_offline: true,
            deny_cuts_connections: false,
            checks_outbound: true,
            commit_quorum_beside_configuration_only: false,
            joins_resolving: false,
            role_delay: Duration::from_millis(150),
            set_role_needs_primary: false,
            stuck_41104: None,
            yields_to_higher_numbers: false,
            log_held_for_absent_replicas: true,
            alter_trigger_enables: true,
            logon_triggers_fire_for_pools: false,
            outside_groups_primary_is_null: false,
            forwarder_is_primary_replica: true,
            forced_side_suspends: true,
            forwarder_ahead_is_stuck: true,
        }
    }
}

/// Switches shared by everything in one instance; they may be turned while it runs.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<RwLock<Switches>>);

impl Faults {
    /// Switches as given.
    pub fn new(switches: Switches) -> Self {
        Self(Arc::new(RwLock::new(switches)))
    }

    /// The switches now.
    pub fn get(&self) -> Switches {
        self.0.read().map(|switches| switches.clone()).unwrap_or_default()
    }

    /// Turns switches.
    pub fn set(&self, turn: impl FnOnce(&mut Switches)) {
        if let Ok(mut switches) = self.0.write() {
            turn(&mut switches);
        }
    }
}
