//! What a candidate or leader does about the Lease it sees. Pure.

use std::time::Duration;

/// A Lease may be taken over this long after the candidate's first sight of its last renewal.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A leader may act this long after it asked for its last renewal.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two renewals.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Time between two looks of one that waits: a released Lease is taken over within it.
pub const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A Lease as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `holderIdentity`; empty: released.
    pub holder: String,
    /// `renewTime`, as text: only whether it changed matters.
    pub renewed: String,
    /// `leaseTransitions`
    pub term: i32,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Write the own name, with the next term.
    Acquire,
    /// Write the own name again, same term.
    Renew,
    /// Look again after this.
    Wait(Duration),
}

/// Decides. `sighted`: how long this process has seen this holder and renewal unchanged, by its own monotonic clock.
/// `leading`: it acquired the Lease itself in this life; a name left over from an earlier life is waited for like any
/// other, because that life's batches may still be under way.
pub fn evaluate(lease: Option<&Seen>, me: &str, leading: bool, sighted: Duration) -> Move {
    match lease {
        None => Move::Acquire,
        Some(lease) if lease.holder.is_empty() => Move::Acquire,
        Some(lease) if lease.holder == me && leading => Move::Renew,
        Some(_) if sighted >= LEASE_DURATION => Move::Acquire,
        Some(_) => Move::Wait((LEASE_DURATION - sighted).min(LOOK_PERIOD)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Seen {
        Seen { holder: holder.into(), renewed: "t".into(), term: 3 }
    }

    #[test]
    fn what_is_done_about_every_lease() {
        let short = Duration::from_secs(14);
        let table = [
            (None, false, Duration::ZERO, Move::Acquire),
            (Some(lease("")), false, Duration::ZERO, Move::Acquire),
            (Some(lease("me")), true, Duration::ZERO, Move::Renew),
            (Some(lease("me")), true, LEASE_DURATION, Move::Renew),
            (Some(lease("me")), false, Duration::ZERO, Move::Wait(LOOK_PERIOD)),
            (Some(lease("other")), false, short, Move::Wait(Duration::from_secs(1))),
            (Some(lease("other")), false, LEASE_DURATION, Move::Acquire),
            (Some(lease("other")), true, Duration::ZERO, Move::Wait(LOOK_PERIOD)),
        ];
        for (seen, leading, sighted, expected) in table {
            assert_eq!(evaluate(seen.as_ref(), "me", leading, sighted), expected, "{seen:?} {leading} {sighted:?}");
        }
    }

    #[test]
    fn a_leader_stops_acting_well_before_anybody_may_take_over() {
        assert!(RENEW_DEADLINE + 2 * RETRY_PERIOD < LEASE_DURATION);
    }
}
