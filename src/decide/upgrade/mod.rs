//! The policy of a `RollingUpgrade`: what its instances look like, and what they are told.

pub mod observation;
pub mod plan;

pub use observation::Facts;
pub use plan::{DropAs, Instance, Mark, Side, SqlStep};
