//! The gate: evidence to one named replica, or a refusal a person can act on (promotion.md 3, steps 4 and 5).
//!
//! It is the first phase of Paxos with the engine's own verbs: a committed configuration is on a majority, `need`
//! answers given after standing down see it, only a holder of the highest number is promoted, and the engine's own copy
//! then says whether its databases were synchronized.

use super::{election::Record, plan::Reason};
use crate::model::{Mode, ReplicaName, SequenceNumber};
use std::collections::BTreeMap;

/// Milliseconds of the candidate's own clock that a FAILOVER has from the answer its election rests on.
pub const FAILOVER_WINDOW_MS: i64 = 5_000;

/// What one voter answered after it stood down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its mode.
    pub mode: Mode,
    /// Its sequence number.
    pub number: SequenceNumber,
    /// Its own copy marks every database failover-ready.
    pub ready: bool,
    /// Sum of its redo queues, KiB.
    pub redo_queue: i64,
    /// Its monotonic clock, milliseconds.
    pub ticks: i64,
}

/// What a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Answers needed.
    pub need: u32,
    /// Answers of voters that stood down at the record's epoch.
    pub answers: BTreeMap<ReplicaName, Answer>,
}

/// Wishes among equals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// Promote this one.
    pub prefer: Option<&'a ReplicaName>,
    /// Rather not this one.
    pub avoid: Option<&'a ReplicaName>,
    /// This one or nobody (`failover.mode: Manual`).
    pub only: Option<&'a ReplicaName>,
}

/// The gate's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Promote this one.
    Elect {
        /// Who.
        candidate: ReplicaName,
        /// The highest number, which it holds.
        number: SequenceNumber,
        /// Its `ms_ticks` after which the election is over for it.
        deadline: i64,
    },
    /// Nobody.
    Refuse {
        /// Why.
        reason: Reason,
        /// In a sentence.
        message: String,
    },
}

/// Judges the evidence of one election.
pub fn judge(record: &Record, evidence: &Evidence, wish: Wish<'_>) -> Verdict {
    let usable: BTreeMap<_, _> = evidence.answers.iter().filter(|(_, answer)| answer.number.usable()).collect();
    let Some(highest) = usable.values().map(|answer| answer.number).max() else {
        return refuse(Reason::TooFewAnswers, format!("0 of {} sequence numbers seen", evidence.need));
    };
    if (usable.len() as u32) < evidence.need {
        return refuse(Reason::TooFewAnswers, format!("{} of {} sequence numbers seen", usable.len(), evidence.need));
    }
    let holders: Vec<_> = usable.into_iter().filter(|(_, answer)| answer.number == highest).collect();
    let lineage = record.lineage();
    // With two voters and a commit quorum nothing is acknowledged before both have it, whoever was primary: a number that
    // nobody joined hides no commit.
    let both = record.voters.len() == 2 && record.commit_quorum > 0;
    let synchronous = holders.iter().copied().filter(|(_, answer)| answer.mode == Mode::Synchronous);
    let (known, phantoms): (Vec<_>, Vec<_>) = synchronous.partition(|(name, _)| both || lineage.contains(*name));
    if known.is_empty() {
        return nobody(highest, &names(&holders), &names(&phantoms));
    }
    let allowed: Vec<_> = known.into_iter().filter(|(name, _)| wish.only.is_none_or(|only| only == *name)).collect();
    if allowed.is_empty() {
        let message = format!(
            "only {} may be brought back without a person, and it does not hold the highest number {highest}",
            record.primary
        );
        return refuse(Reason::ManualFailoverOnly, message);
    }
    let open = allowed.iter().filter(|(name, answer)| record.refused.get(*name) != Some(&answer.number));
    let best = open.min_by_key(|(name, answer)| {
        (wish.prefer != Some(name), !answer.ready, wish.avoid == Some(name), answer.redo_queue, name.ordinal(), *name)
    });
    match best {
        Some((name, answer)) => {
            Verdict::Elect { candidate: (*name).clone(), number: highest, deadline: answer.ticks + FAILOVER_WINDOW_MS }
        }
        None => {
            let message = format!(
                "SQL Server refused (41142) to promote {} at the highest number {highest}: not synchronized in its own copy",
                names(&allowed)
            );
            refuse(Reason::EngineRefused, message)
        }
    }
}

fn names(list: &[(&ReplicaName, &Answer)]) -> String {
    list.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn nobody(highest: SequenceNumber, holders: &str, phantoms: &str) -> Verdict {
    if phantoms.is_empty() {
        return refuse(
            Reason::NotSynchronized,
            format!("the highest number {highest} is held only by {holders}, which cannot become primary"),
        );
    }
    let message =
        format!("the highest number {highest} is held only by {phantoms}, which was never seen following a primary");
    refuse(Reason::FollowerNotRecorded, message)
}

fn refuse(reason: Reason, message: String) -> Verdict {
    Verdict::Refuse { reason, message }
}
