//! The vocabulary: what a group is and how its parts are named. Depends on nothing of ours.

pub mod group;
pub mod lsn;
pub mod name;
pub mod quantity;
pub mod quorum;
pub mod replica;
pub mod sequence;
pub mod upgrade;

pub use group::{CommitQuorum, Database, FailoverMode, Group, Login, Management, SecondaryConnections};
pub use lsn::Lsn;
pub use name::{DatabaseName, GroupName, LoginName, ReplicaName};
pub use replica::{Mode, Role};
pub use sequence::SequenceNumber;
pub use upgrade::{ActiveUpgrade, Fence, FenceState, Slot};
