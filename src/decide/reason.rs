//! Every reason there is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Each reason: its word, its cause, what Quorate does about it, what a person does. `docs/` lists them.
macro_rules! reasons {
    ($(#[$about:meta])* pub enum Reason; $($name:ident: $cause:literal, $does:literal, $person:literal;)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $(#[doc = $cause] $name),+ }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),+];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),+ }
            }

            /// In sentences: the cause, what Quorate does, what a person does.
            pub fn explained(self) -> [&'static str; 3] {
                match self { $(Reason::$name => [$cause, $does, $person]),+ }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(in crate::decide) use reasons;

reasons! {
    /// Why: one word for condition, event, metric label and log line. The only such words there are for a group.
    pub enum Reason;

    Healthy:
        "Everything asked for is there.",
        "Nothing.",
        "Nothing.";
    Paused:
        "`spec.paused` is true.",
        "Nothing at all: no failover either.",
        "Set `spec.paused` to false when the work is done.";
    WaitingForPods:
        "Pods are not there yet, or an object that they need could not be applied.",
        "Waits, and tries the objects again.",
        "Look at the pods (`kubectl describe pod`); images, volumes and quotas are the usual causes.";
    SettingUp:
        "Instances are being set up: logins, certificates, endpoints.",
        "Sets up each instance that answers.",
        "Nothing; if it lasts, start the instance that is named.";
    CreatingGroup:
        "The group is being created on its first primary.",
        "CREATE, then JOIN on every other replica.",
        "Nothing.";
    Seeding:
        "Databases are being created, added or copied.",
        "Waits for automatic seeding.",
        "Nothing; a large database takes its time.";
    ReplicaDown:
        "A replica does not answer.",
        "Goes on with the others; the replica follows again when it is back.",
        "Find out why its pod does not run; see the replica's message in the status.";
    Rejoining:
        "A replica answers and does not follow the primary yet.",
        "Sends it to the primary, and cures it step by step when the engine refuses (41104).",
        "Nothing for the first five minutes.";
    NotSynchronizing:
        "A replica follows and a database on it is not synchronized yet.",
        "Waits; tells it anew when nothing moves.",
        "If it lasts, look at its log send and redo queues.";
    ReadOnly:
        "A staged upgrade keeps writers out of the group; `-rw` leads to its readable secondaries.",
        "Refuses every login but the listed ones on the primary, whichever replica that is, until the upgrade lifts it or its time is over.",
        "Nothing; see the `RollingUpgrade` that is named. A person with the dedicated administrator connection is never kept out.";
    Suspended:
        "Data movement of a database is suspended, by a person or by a forced failover.",
        "Nothing: resuming may discard data.",
        "Save what only the suspended copy has, then `ALTER DATABASE .. SET HADR RESUME` on the replica that is named.";
    PrimarySuspected:
        "The primary does not answer and no voter is connected to it.",
        "Opens an election when that has lasted `suspectAfterSeconds`.",
        "Nothing.";
    PrimaryUnreachable:
        "The primary does not answer the operator, but a voter is connected to it.",
        "Nothing: the group works, the path from the operator to it does not.",
        "Look at the network between the operator and the pod that is named.";
    TooFewAnswers:
        "There is no primary, and fewer voters answer than a promotion needs.",
        "Looks again every second.",
        "Start a missing replica. If none can be started, accept data loss with a `Failover` of mode Forced.";
    NotSynchronized:
        "There is no primary, and nobody who answers may become one without loss.",
        "Looks again every second.",
        "Bring the old primary back, or accept data loss with a `Failover` of mode Forced.";
    FollowerNotRecorded:
        "Only replicas that were never seen following a primary hold the highest number.",
        "Looks again every second.",
        "Bring the old primary back, or accept data loss with a `Failover` of mode Forced.";
    EngineRefused:
        "SQL Server refused every candidate (41142): a database was not synchronized in its own copy.",
        "Tries again as soon as numbers or answers change.",
        "Bring the old primary back, or accept data loss with a `Failover` of mode Forced.";
    ManualFailoverOnly:
        "`spec.failover.mode` leaves the failover to a person.",
        "Nothing.",
        "Apply a `Failover` of mode Planned: it loses nothing, or promotes nobody.";
    AntiFlap:
        "The last unplanned failover was less than `minimumIntervalSeconds` ago.",
        "Waits for the rest of the interval.",
        "Wait, or apply a `Failover` of mode Planned.";
    StandingDown:
        "Voters are asked to stand down.",
        "Waits for enough of them, each with its number.",
        "Nothing.";
    Promoting:
        "One replica is elected and sent FAILOVER.",
        "Looks at it every 200 ms.",
        "Nothing.";
    Settling:
        "A primary is there, and a majority does not follow it yet.",
        "Sends the others to it.",
        "Nothing.";
    NoPrimary:
        "No primary is routed.",
        "See the reason of `Ready`.",
        "See the reason of `Ready`.";
    CommitQuorumLost:
        "Fewer secondaries are synchronized than the commit quorum: clients get error 988.",
        "Nothing: waiting is what was asked for.",
        "Bring a secondary back, or lower `requiredSynchronizedSecondariesToCommit` and accept that less is waited for.";
    ConfigurationQuorumLost:
        "Fewer voters are there than a change of the configuration needs: writes wait.",
        "Nothing.",
        "Bring a voter back.";
    Refused:
        "SQL Server refused the commit quorum asked for.",
        "Keeps the last one that it accepted.",
        "Take `requiredSynchronizedSecondariesToCommit` out, or set what the topology allows.";
    WaitingForReplica:
        "The commit quorum waits for a replica to synchronize.",
        "Raises it as soon as enough secondaries are synchronized.",
        "Nothing.";
    Lost:
        "The commit quorum is not met.",
        "See `Available`.",
        "Bring a secondary back.";
    InvalidSpec:
        "The spec cannot be read.",
        "Goes on with the last spec that could.",
        "Correct the field that is named.";
    Unsupported:
        "A running instance cannot do what is asked.",
        "Nothing with that instance.",
        "As the message says: another image or edition, then delete the pod.";
    CredentialsRefused:
        "An instance refuses the password of `sa`.",
        "Asks again once a minute.",
        "Put the password that the instance has into the Secret, or set it there with ALTER LOGIN.";
    DatabaseMissing:
        "A database that was in the group is gone from the primary.",
        "Never creates it a second time.",
        "Restore it on the primary, or take it out of `spec.databases`.";
    NameTaken:
        "An object of a name that the group needs belongs to somebody else.",
        "Touches nothing of it.",
        "Remove that object, or give the group another name.";
    LogChainMissing:
        "A database has no log backup chain.",
        "Takes the first backup itself where it adds the database.",
        "Take a full backup.";
    LoginMissing:
        "A login asked for is not on every replica yet.",
        "Tries again.",
        "Create the Secret with the key that is named, with a password that the policy accepts.";
    LoginsDiffer:
        "A login has another SID on a replica than on the primary.",
        "Nothing: users of databases hang on SIDs.",
        "Drop the login on the replica that is named; it is made anew with the right SID.";
    TwoSynchronousReplicas:
        "Two synchronous replicas without a configuration-only one.",
        "Fails over by itself only with commit quorum 1.",
        "Add `configurationOnly: {replicas: 1}` or a third replica.";
    MovingTag:
        "The tag of the image moves.",
        "Nothing.",
        "Pin a cumulative update.";
    LongName:
        "A replica's name is longer than the documented 15 characters.",
        "Goes on.",
        "Choose a shorter name for a new group.";
    LogBackupOverdue:
        "The log of a database was not backed up for a day.",
        "Nothing: Quorate takes no backups.",
        "Back the log up; without it the log grows for ever.";
    SharedNode:
        "Pods of the group share a node.",
        "Nothing: a pod is never moved by itself.",
        "Add nodes and delete one of the pods, or set `spec.pod.requireSpread`.";
    Spread:
        "Every pod of the group has a node of its own.",
        "Nothing.",
        "Nothing.";
    ElectionClosed:
        "An election was closed without a promotion: the primary answers again, or its time was up.",
        "Sends the voters that stood down back.",
        "Nothing.";
    StoodDown:
        "Enough voters stood down, and one of them is elected.",
        "Sends it FAILOVER.",
        "Nothing.";
    Promoted:
        "A replica became primary and a majority follows it.",
        "Routes `-rw` to it.",
        "Find out why the old one was lost.";
    Rerouted:
        "`-rw` selects another pod.",
        "Nothing more.",
        "Nothing.";
    Rejoined:
        "A replica follows the primary again.",
        "Nothing more.",
        "Nothing.";
    CertificateReplaced:
        "An instance makes itself another certificate for its endpoint, because `spec.certificateRotation` changed.",
        "Has its partners import it, then goes on with the next instance; the primary comes last.",
        "Nothing.";
    EndpointRestarted:
        "A replica does not get back to the primary, whose endpoint is restarted for it.",
        "Both endpoints stop and start; other secondaries lose their connection for a moment.",
        "Nothing.";
    RejoiningAnew:
        "A replica did not get back for five minutes.",
        "It leaves the group and joins it anew; its databases catch up from the log, or are copied whole.",
        "Nothing.";
    Reseeding:
        "A replica has a copy of a database from which the log does not lead on: a log backup truncated it meanwhile, or the copy has diverged.",
        "The primary copies the database whole (automatic seeding); the replica counts again when that is done.",
        "Nothing; a large database takes its time.";
    Forced:
        "A replica became primary because a person accepted data loss.",
        "Leaves the other copies suspended unless the request said otherwise.",
        "Compare the copies; see `docs/failover.md`.";
    SwitchoverCompleted:
        "A planned switchover is done.",
        "Nothing more.",
        "Nothing.";
    CommitQuorumChanged:
        "Another commit quorum is in force.",
        "Nothing more.",
        "Nothing.";
    ReplicaAdded:
        "A replica became a member.",
        "Nothing more.",
        "Nothing.";
    ReplicaRemoved:
        "A replica is no longer a member.",
        "Nothing more.",
        "Nothing.";
    DatabaseAdded:
        "A database became part of the group.",
        "Never creates it a second time.",
        "Take its first log backup.";
    RecordRestored:
        "The object had no record of elections, and the instances gave it back.",
        "Goes on with it.",
        "Nothing.";
    PrimaryAdopted:
        "A primary that a person made by hand is taken over.",
        "Records it at the next epoch.",
        "Use a `Failover` the next time.";
    FailoverBlocked:
        "The primary is out and nobody may be promoted.",
        "Looks again every second.",
        "As the message says.";
    Expired:
        "A request is older than its `expiresAfterSeconds`.",
        "Never serves it.",
        "Apply another one if it is still wanted.";
    NotLegal:
        "A request is not legal now.",
        "Never serves it.",
        "As the message says; then apply another one.";
}

impl Reason {
    /// Whether a group is without a primary for it, and nothing may be promoted.
    pub fn blocks(self) -> bool {
        matches!(
            self,
            Self::TooFewAnswers
                | Self::NotSynchronized
                | Self::FollowerNotRecorded
                | Self::EngineRefused
                | Self::ManualFailoverOnly
                | Self::AntiFlap
        )
    }
}
