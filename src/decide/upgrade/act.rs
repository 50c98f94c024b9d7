//! What one pass over an upgrade does, and why.

use super::{Reason, Record, SqlStep, Step};
use crate::model::{ActiveUpgrade, Slot, upgrade::ScriptOrder};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// What one pass does. Waves run in order, the acts of a wave at once; the first wave with an act that failed is the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the upgrade is.
    pub step: Step,
    /// What was seen, in one word.
    pub reason: Reason,
    /// What is missing and what a person can do, in a sentence.
    pub message: String,
    /// The acts.
    pub waves: Vec<Vec<Act>>,
    /// When to look again if nothing wakes us.
    pub recheck: Duration,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Act {
    /// Write the record, by compare-and-swap against the object as it was read in this pass.
    Record(Box<Record>),
    /// Write `status.upgrade` of a group, by compare-and-swap. `None`: it takes part in nothing.
    Claim(Slot, Option<Box<ActiveUpgrade>>),
    /// Tell an instance.
    Sql(SqlStep),
    /// Point the front Service at what an endpoint selects; it is made when it is not there.
    Lead {
        /// Name of the endpoint.
        endpoint: String,
        /// What it selects.
        selector: BTreeMap<String, String>,
        /// The endpoint to go to when this region is lost, `namespace/name`. It is named in the same write.
        standby: Option<String>,
    },
    /// Make the Job that runs the script, with a Secret for its login.
    RunScript(ScriptOrder),
    /// Delete the Job and the Secret of this attempt.
    ForgetScript,
    /// Tell people: an event.
    Announce(Reason, String),
}

impl Plan {
    /// A plan without acts, looked at again in a second.
    pub fn new(step: Step, reason: Reason, message: impl Into<String>) -> Self {
        Self { step, reason, message: message.into(), waves: Vec::new(), recheck: Duration::from_secs(1) }
    }

    /// Adds a wave; an empty one is left out.
    #[must_use]
    pub fn wave(mut self, acts: impl IntoIterator<Item = Act>) -> Self {
        let acts: Vec<_> = acts.into_iter().collect();
        if !acts.is_empty() {
            self.waves.push(acts);
        }
        self
    }

    /// When to look again.
    #[must_use]
    pub fn recheck(mut self, after: Duration) -> Self {
        self.recheck = after;
        self
    }

    /// All acts in order.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.waves.iter().flatten()
    }
}

impl Act {
    /// One word for metric labels and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Record(_) => "Record",
            Self::Claim(..) => "Claim",
            Self::Sql(step) => step.word(),
            Self::Lead { .. } => "Lead",
            Self::RunScript(_) => "RunScript",
            Self::ForgetScript => "ForgetScript",
            Self::Announce(..) => "Announce",
        }
    }
}
