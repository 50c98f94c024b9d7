//! What went wrong at an instance, as what the caller may do about it.

use std::fmt;

/// A batch failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The batch was surely not run: no connection, or no time left before it was sent. Try again.
    #[error("not sent: {0}")]
    Retry(String),
    /// The instance answered with an error: what the batch asked for did not happen. Look again before anything else.
    #[error("{0}")]
    Refused(Refusal),
    /// The batch was sent and its outcome is unknown: look before anything else.
    #[error("outcome unknown: {0}")]
    Lost(String),
}

/// An error token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Number in `sys.messages`; 50001 to 50010 are ours ([`guard`]).
    pub number: i32,
    /// Severity; 20 and above ends the connection.
    pub class: u8,
    /// Its text.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.number, self.message)
    }
}

/// Numbers that our own guards throw (user-defined numbers start at 50000).
pub mod guard {
    /// A newer epoch is stored there, or not the one that the batch belongs to.
    pub const NEWER_EPOCH: i32 = 50_001;
    /// It is still connected to the old primary, or its side of a link to the other one.
    pub const STILL_CONNECTED: i32 = 50_002;
    /// Its role or its sequence number is not what the batch rests on.
    pub const CHANGED: i32 = 50_003;
    /// The deadline of the election has passed on its own clock.
    pub const TOO_LATE: i32 = 50_004;
    /// Another batch of ours is running there.
    pub const BUSY: i32 = 50_005;
    /// The link is not defined there.
    pub const NO_LINK: i32 = 50_006;
    /// A name is taken: by a group with other members, by a login with another SID.
    pub const TAKEN: i32 = 50_007;
    /// The database is not in the group, or cannot be written there.
    pub const NOT_WRITABLE: i32 = 50_008;
    /// The database does not carry the mark of this stage.
    pub const NOT_A_STAGE: i32 = 50_009;
    /// A copy is reverting or initializing.
    pub const UNSETTLED: i32 = 50_010;
}

/// Login failed; state 1 to the client whatever the cause.
pub const LOGIN_FAILED: i32 = 18_456;
/// A database is not synchronized in the engine's own copy: FAILOVER is refused.
pub const NOT_READY: i32 = 41_142;
/// The replica is not let back yet (SET (ROLE = SECONDARY) soon after a restart).
pub const LATCHED: i32 = 41_104;

/// What a commit quorum may be is the engine's: 35248 more than there are secondaries, 47108 beside a configuration-only one.
pub const COMMIT_QUORUM: &[i32] = &[35_248, 47_108];

/// Numbers that come while an instance starts, recovers or is upgraded: try again.
/// 17187, 18401: not ready, script upgrade. 922, 927, 952: recovering, restoring, in transition. 1205: deadlock. 1222: lock timeout.
const TRANSIENT: &[i32] = &[922, 927, 952, 1205, 1222, 17_187, 18_401, 41_163, 41_164, 41_165, 41_166];

/// Numbers after which the configuration may have changed all the same (sql-server-ha sources and `sys.messages`).
/// 41131: bringing online timed out. 41149: cancelled or timed out. 41159: join not rolled back.
/// 41160, 41181: did not become primary. 41189: updated, but not applied.
const DOUBTFUL: &[i32] = &[41_131, 41_149, 41_159, 41_160, 41_181, 41_189];

impl Error {
    /// Number of the instance's error. `None`: it did not answer.
    pub fn number(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.number),
            Self::Retry(_) | Self::Lost(_) => None,
        }
    }

    /// Our logins are refused.
    pub fn is_login_refused(&self) -> bool {
        self.number() == Some(LOGIN_FAILED)
    }

    /// The same batch may go through a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Retry(_) => true,
            Self::Refused(refusal) => TRANSIENT.contains(&refusal.number) || refusal.number == guard::BUSY,
            Self::Lost(_) => false,
        }
    }

    /// Whether the effect may have happened, or may still happen.
    pub fn is_doubtful(&self) -> bool {
        match self {
            Self::Retry(_) => false,
            Self::Refused(refusal) => refusal.class >= 20 || DOUBTFUL.contains(&refusal.number),
            Self::Lost(_) => true,
        }
    }
}

/// How a driver error reads when the batch was already sent.
pub(super) fn while_running(error: tiberius::error::Error) -> Error {
    match error {
        tiberius::error::Error::Server(token) => Error::Refused(refusal(&token)),
        other => Error::Lost(other.to_string()),
    }
}

/// How a driver error reads while connecting.
pub(super) fn while_connecting(error: tiberius::error::Error) -> Error {
    match error {
        tiberius::error::Error::Server(token) => Error::Refused(refusal(&token)),
        other => Error::Retry(other.to_string()),
    }
}

fn refusal(token: &tiberius::error::TokenError) -> Refusal {
    Refusal {
        number: i32::try_from(token.code()).unwrap_or(i32::MAX),
        class: token.class(),
        message: token.message().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(number: i32, class: u8) -> Error {
        Error::Refused(Refusal { number, class, message: String::new() })
    }

    #[test]
    fn only_what_may_have_happened_is_doubtful() {
        assert!(Error::Lost(String::new()).is_doubtful());
        assert!(refused(41_149, 16).is_doubtful());
        assert!(refused(596, 21).is_doubtful());
        assert!(!refused(NOT_READY, 16).is_doubtful());
        assert!(!Error::Retry(String::new()).is_doubtful());
    }

    #[test]
    fn a_busy_instance_is_tried_again() {
        assert!(refused(guard::BUSY, 16).is_transient());
        assert!(refused(18_401, 14).is_transient());
        assert!(!refused(guard::NEWER_EPOCH, 16).is_transient());
    }
}
