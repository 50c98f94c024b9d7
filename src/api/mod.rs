//! The contract with users: custom resources, from spec to model, and what a status is made of.

pub mod condition;
mod crd;
pub mod parse;
mod upgrade;
pub mod v1alpha1;

pub use crd::{crd_of, crds, to_yaml};
pub use parse::{Refusal, Refusals, effective, parse, parse_upgrade};
pub use upgrade::{approver, upgrade_from_status, upgrade_to_merge, upgrade_to_status};
pub use v1alpha1::{AvailabilityGroup, Failover, RollingUpgrade};
