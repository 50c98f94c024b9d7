//! The policy: pure, total, explains itself. One value in ([`Observation`]), one value out ([`Plan`]).

mod commit_quorum;
mod databases;
pub mod diagnose;
pub mod election;
mod fence;
mod forced;
pub mod gate;
mod housekeeping;
mod members;
mod membership;
pub mod observation;
pub mod plan;
mod promote;
pub mod reason;
pub mod rejoin;
mod requirements;
mod settle;
mod setup;
mod stand_down;
pub mod status;
mod switchover;
pub mod upgrade;
mod warnings;

pub use election::{ElectionState, Part, Record};
pub use fence::is_closed as fence_is_closed;
pub use observation::Observation;
pub use plan::{Plan, Step};
pub use reason::Reason;

/// The whole policy: what one pass does about what it saw.
pub fn decide(seen: &Observation) -> Plan {
    if seen.group.paused {
        return Plan::new(Reason::Paused, "spec.paused is true: nothing is done, failover included".into());
    }
    let Some(record) = &seen.record else { return members::without_record(seen) };
    let view = diagnose::View { seen, record };
    if view.newest_epoch() > record.epoch {
        return promote::lift(&view);
    }
    let plan = match record.state {
        ElectionState::Open => promote::open(&view),
        ElectionState::Elected => settle::elected(&view),
        ElectionState::Settled | ElectionState::Void => promote::standing(&view),
    };
    setup::let_in(seen, forced::instead(&view, plan))
}
