//! `quorate.dev/v1alpha1`: one file per kind, and the parts they share.

pub mod availability_group;
pub mod failover;
pub mod pods;
pub mod rolling_upgrade;
pub mod status;
pub mod upgrade_status;

pub use availability_group::{AvailabilityGroup, AvailabilityGroupSpec};
pub use failover::{Failover, FailoverRequestMode, FailoverSpec, FailoverStatus};
pub use rolling_upgrade::{RollingUpgrade, RollingUpgradeSpec};
pub use status::AvailabilityGroupStatus;
