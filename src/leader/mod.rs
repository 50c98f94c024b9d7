//! Who may act: one Lease, renewed by compare-and-swap, and permits that end by themselves.
//!
//! A leader may act until ten seconds after it *asked* for its last renewal, by its own monotonic clock; a candidate
//! takes over fifteen seconds after its own first sight of a renewal. Wall clocks decide nothing. The *term* is the
//! Lease's `leaseTransitions`; *epoch* always means an election of an availability group.

mod lease;
mod permit;
pub mod rules;

pub use lease::{Candidate, End};
pub use permit::{Permit, Permits};
