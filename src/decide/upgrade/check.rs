//! What Preflight looks at. Each check has a code that stays, for people and tools; `docs/upgrades.md` lists them.

use std::fmt;

/// Each check: its code, and what an upgrade needs.
macro_rules! checks {
    ($($code:ident: $needs:literal;)+) => {
        /// A check of Preflight, named after what is wrong when it does not pass.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check { $(#[doc = $needs] $code),+ }

        impl Check {
            /// All of them.
            pub const ALL: &'static [Check] = &[$(Check::$code),+];

            /// What an upgrade needs, in a sentence.
            pub fn needs(self) -> &'static str {
                match self { $(Check::$code => $needs),+ }
            }
        }
    };
}

checks! {
    GroupMissing: "Every group that is named exists.";
    GroupNotReady: "Every group is ready.";
    InstanceSilent: "Every instance with data answers.";
    EndpointMissing: "The Service of every endpoint exists and selects something.";
    EndpointsAlike: "The Services of the two versions select different pods.";
    FrontTaken: "The front Service is not there yet, or was made by an upgrade.";
    ScriptWrong: "The script can be read and cut into batches, or the template of the Job can be run.";
    Edition: "Every instance has an edition with distributed availability groups.";
    VersionDiffers: "A group that gets production's databases runs production's version of SQL Server: automatic seeding needs that.";
    SecondariesUnreadable: "Production's secondaries, and copies in another region, let everybody read (`secondaryConnections: All`).";
    NoSecondary: "Production has a secondary to read from.";
    ReadOnlyForGood: "Production is not left read-only by an earlier upgrade.";
    NoDatabases: "Production's group has a database.";
    DatabaseUnfit: "Every database of production is writable, with FULL recovery and a log chain.";
    DatabaseOutside: "Production's primary has no database outside the group: its writers would be kept out, too.";
    DatabasesInSpec: "A group that gets production's databases has none in its spec.";
    DatabaseInTheWay: "A group that gets production's databases has none on its instances.";
    LoginDiffers: "A login that a copy has, too, has production's SID there: users of the databases are bound to it.";
    NotAdmitted: "A group of another namespace names this one in its `spec.upgradesFrom`.";
    CopyLeads: "No copy in another region was made production.";
}

impl Check {
    /// What is wrong and the remedy, with the code before it.
    pub fn says(self, sentence: impl fmt::Display) -> String {
        format!("[{self:?}] {sentence}")
    }
}
