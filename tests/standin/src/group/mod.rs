//! The availability group: configuration, roles, commits, votes, transport, seeding.
//!
//! A configuration (number, members, who is SYNCHRONIZED, commit quorum) is accepted by one voter after another and
//! committed when a majority has it; a write is acknowledged when every replica marked SYNCHRONIZED in the committed or
//! the pending configuration has hardened it, and enough of them are connected.

mod arrival;
pub mod config;
pub mod distributed;
pub mod failover;
pub mod follow;
mod forward;
pub mod hadr;
pub mod identity;
pub mod lease;
pub mod membership;
pub mod primary;
pub mod roles;
mod seeding;
pub mod serve;
pub mod sessions;
pub mod sides;
pub mod statements;
pub mod stuck;
pub mod transport;
pub mod valid;
mod vote;

pub use config::{Config, Copy, ReplicaConfig};
pub use identity::{Endpoint, Identity};
pub use roles::Group;
