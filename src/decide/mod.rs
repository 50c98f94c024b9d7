//! The policy: pure, total, explains itself. One value in ([`Observation`]), one value out ([`Plan`]).

pub mod election;
pub mod observation;
pub mod plan;

pub use election::{ElectionState, Record};
pub use observation::Observation;
pub use plan::{Plan, Reason, Step};
