//! Every reason there is.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why: one word for condition, event, metric label and log line. The only such words there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),+];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// Everything asked for is there.
    Healthy,
    /// The object asks for a pause: nothing is done.
    Paused,
    /// Pods are not there yet.
    WaitingForPods,
    /// Instances are being set up and certificates exchanged.
    SettingUp,
    /// The group is being created and joined.
    CreatingGroup,
    /// Databases are being created, added or copied.
    Seeding,
    /// A replica does not answer.
    ReplicaDown,
    /// A replica is on its way back into the group.
    Rejoining,
    /// A replica answers but a database is not moving.
    NotSynchronizing,
    /// A database is suspended.
    Suspended,
    /// The primary is suspected; the time is not up yet.
    PrimarySuspected,
    /// The primary is silent to us while a voter follows it.
    PrimaryUnreachable,
    /// No primary, and too few voters answer.
    TooFewAnswers,
    /// No primary, and nobody who answers may be promoted.
    NotSynchronized,
    /// Only replicas that nobody ever followed hold the highest number.
    FollowerNotRecorded,
    /// The engine refused every candidate (41142).
    EngineRefused,
    /// `failover.mode` leaves it to a person.
    ManualFailoverOnly,
    /// The last failover is too recent.
    AntiFlap,
    /// Voters are asked to stand down.
    StandingDown,
    /// One replica is being promoted.
    Promoting,
    /// A primary is there; a majority does not follow it yet.
    Settling,
    /// No primary is routed.
    NoPrimary,
    /// Fewer synchronized secondaries than the commit quorum.
    CommitQuorumLost,
    /// Fewer voters than a configuration commit needs.
    ConfigurationQuorumLost,
    /// The engine refused the commit quorum asked for.
    Refused,
    /// The commit quorum waits for a replica to synchronize.
    WaitingForReplica,
    /// The commit quorum is not met.
    Lost,
    /// The spec cannot be read.
    InvalidSpec,
    /// The running instance cannot do what is asked.
    Unsupported,
    /// Our logins are refused.
    CredentialsRefused,
    /// A database that was there is gone.
    DatabaseMissing,
    /// An object of that name belongs to somebody else.
    NameTaken,
    /// A database has no log chain.
    LogChainMissing,
    /// A login asked for is not on every replica yet.
    LoginMissing,
    /// Logins differ between replicas.
    LoginsDiffer,
    /// Two synchronous replicas without a configuration-only one.
    TwoSynchronousReplicas,
    /// The image's tag moves.
    MovingTag,
    /// A replica's name is longer than documented.
    LongName,
    /// The log of a database was not backed up for too long.
    LogBackupOverdue,
    /// Pods of the group share a node.
    SharedNode,
    /// A pass was spread over the nodes.
    Spread,
    /// An election was closed; the primary answers again.
    ElectionClosed,
    /// Voters stood down.
    StoodDown,
    /// A replica became primary.
    Promoted,
    /// Traffic goes to another replica.
    Rerouted,
    /// A replica follows the primary again.
    Rejoined,
    /// The endpoint of a primary is restarted for a replica that it refuses.
    EndpointRestarted,
    /// A replica that the engine does not let back leaves the group and joins it anew.
    RejoiningAnew,
    /// A planned switchover is done.
    SwitchoverCompleted,
    /// Another commit quorum is in force.
    CommitQuorumChanged,
    /// A replica became a member.
    ReplicaAdded,
    /// A replica is no longer a member.
    ReplicaRemoved,
    /// A database was created.
    DatabaseCreated,
    /// The record came back from the instances.
    RecordRestored,
    /// A primary that a person made by hand is taken over.
    PrimaryAdopted,
    /// Nobody may be promoted.
    FailoverBlocked,
    /// A request is under way.
    InProgress,
    /// A request is done.
    Succeeded,
    /// A request is older than it may be.
    Expired,
    /// A request is not legal now.
    NotLegal,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
