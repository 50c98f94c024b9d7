//! Roles and availability modes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Role of a replica, `sys.dm_hadr_availability_replica_states.role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// 0: in no role, follows nobody, serves nobody.
    Resolving,
    /// 1
    Primary,
    /// 2
    Secondary,
}

impl Role {
    /// From the view's number. `None`: not a role.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Resolving),
            1 => Some(Self::Primary),
            2 => Some(Self::Secondary),
            _ => None,
        }
    }

    /// The view's number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "RESOLVING",
            Self::Primary => "PRIMARY",
            Self::Secondary => "SECONDARY",
        })
    }
}

/// Availability mode of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Votes, holds data, may become primary.
    Synchronous,
    /// Holds data, never votes.
    Asynchronous,
    /// Votes, holds no data.
    ConfigurationOnly,
}

impl Mode {
    /// From `sys.availability_replicas.availability_mode`. `None`: not a mode.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Asynchronous),
            1 => Some(Self::Synchronous),
            4 => Some(Self::ConfigurationOnly),
            _ => None,
        }
    }

    /// Whether a configuration commit asks it.
    pub fn votes(self) -> bool {
        self != Self::Asynchronous
    }

    /// Whether it holds databases.
    pub fn holds_data(self) -> bool {
        self != Self::ConfigurationOnly
    }

    /// As DDL spells it.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Synchronous => "SYNCHRONOUS_COMMIT",
            Self::Asynchronous => "ASYNCHRONOUS_COMMIT",
            Self::ConfigurationOnly => "CONFIGURATION_ONLY",
        }
    }
}
