//! `quorate.dev/v1alpha1`: one file per kind, and the parts they share.

pub mod availability_group;
pub mod failover;
pub mod pods;
pub mod status;

pub use availability_group::{AvailabilityGroup, AvailabilityGroupSpec};
pub use failover::{Failover, FailoverRequestMode, FailoverSpec, FailoverStatus};
pub use status::AvailabilityGroupStatus;
