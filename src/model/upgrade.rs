//! What a staged upgrade asks of a group while it runs (upgrade.md, "Fence").

use super::{DatabaseName, LoginName, name::hash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The upgrade that a group takes part in: while it is there, the group neither scales nor rotates certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveUpgrade {
    /// Name of the `RollingUpgrade`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// What the group is in it.
    pub slot: Slot,
    /// What makes the group read-only. `None`: nothing does.
    pub fence: Option<Fence>,
}

/// What a group is in an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// It serves users until the switch, and stays the primary side throughout.
    Production,
    /// Its databases are a copy of production's; the script runs there.
    Stage,
}

/// A logon trigger on every replica with data that lets nobody but listed logins into the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// How it stands.
    pub state: FenceState,
    /// When the triggers open by themselves, seconds since 1970 by each instance's own clock; state On only.
    pub until: i64,
    /// Logins that may enter the primary, beside the operator's own.
    pub allowed: BTreeSet<LoginName>,
}

/// How a fence is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FenceState {
    /// The triggers are there and disabled.
    Prepared,
    /// Nobody writes, until it expires.
    On,
    /// Nobody writes, for ever: users write elsewhere by now.
    Kept,
    /// The triggers go, writers come back.
    Lifted,
}

/// A moment that never comes, for triggers: 9999-12-31.
const NEVER: i64 = 253_402_214_400;

impl Fence {
    /// Whether it refuses writers at this moment, seconds since 1970.
    pub fn is_closed(&self, now: i64) -> bool {
        match self.state {
            FenceState::Kept => true,
            FenceState::On => now < self.until,
            FenceState::Prepared | FenceState::Lifted => false,
        }
    }

    /// When its triggers open, seconds since 1970: at once when it is only prepared.
    pub fn opens(&self) -> i64 {
        match self.state {
            FenceState::Kept => NEVER,
            FenceState::On => self.until,
            FenceState::Prepared | FenceState::Lifted => 0,
        }
    }

    /// A word that differs for triggers of another text.
    pub fn mark(&self, databases: &BTreeSet<DatabaseName>) -> String {
        let names = databases.iter().map(DatabaseName::as_str).chain([""]);
        let allowed = self.allowed.iter().map(LoginName::as_str);
        let parts: Vec<_> = names.chain(allowed).collect();
        hash(&format!("{} {parts:?}", self.opens()))
    }
}
