//! The contract with users: custom resources, from spec to model, and what a status is made of.

pub mod condition;
mod crd;
pub mod parse;
pub mod v1alpha1;

pub use crd::{crds, to_yaml};
pub use parse::{Refusal, Refusals, effective, parse};
pub use v1alpha1::{AvailabilityGroup, Failover};
