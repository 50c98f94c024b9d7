//! Standing down: who has, and who is asked to (promotion.md 3, step 3, and Admission).

use super::{diagnose::View, gate::Answer, plan::Step, promote::mode_of};
use crate::model::{Mode, ReplicaName, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Voters that stood down at this epoch, with what they answered since.
pub fn stood_down(view: &View<'_>) -> BTreeMap<ReplicaName, Answer> {
    let here = view.answering().filter(|(name, facts, group)| {
        let configuration_only = mode_of(view, name) == Mode::ConfigurationOnly;
        facts.stored.epoch == view.record.epoch
            && (group.role == Role::Resolving
                || (configuration_only && group.role == Role::Secondary && !group.connected))
    });
    here.map(|(name, facts, group)| {
        let ready = group.databases.values().all(|database| database.failover_ready);
        let redo_queue = group.databases.values().map(|database| database.redo_queue).sum();
        (
            name.clone(),
            Answer { mode: mode_of(view, name), number: group.number, ready, redo_queue, ticks: facts.server.ticks },
        )
    })
    .collect()
}

/// Whether somebody who stood down still admits a voter that is silent now: its evidence went with it.
pub fn stale_admission(view: &View<'_>, stood: &BTreeMap<ReplicaName, Answer>) -> bool {
    let answering: BTreeSet<_> = view.answering().map(|(name, _, _)| name).collect();
    let voters = view.voter_names();
    stood.keys().filter_map(|name| view.seen.facts(name)).any(|facts| {
        facts
            .setup
            .partners
            .iter()
            .any(|(partner, entry)| entry.admitted && voters.contains(partner) && !answering.contains(partner))
    })
}

/// The batches that ask the remaining voters to stand down; the old primary goes first when it answers.
pub fn to_stand_down(view: &View<'_>, stood: &BTreeMap<ReplicaName, Answer>) -> Vec<Step> {
    let record = view.record;
    let primary_first = record.primary_stands_down && view.primary_answers() && !stood.contains_key(&record.primary);
    let primary_stood = stood.contains_key(&record.primary);
    let voters: BTreeSet<_> = view.answering().map(|(name, _, _)| name.clone()).collect();
    view.answering()
        .filter(|(name, _, _)| !stood.contains_key(*name) && (!primary_first || **name == record.primary))
        .map(|(name, _, _)| {
            let exempt = *name == record.primary || primary_stood;
            let mut admit = voters.clone();
            admit.remove(name);
            if !primary_stood {
                admit.remove(&record.primary);
            }
            Step::StandDown {
                replica: name.clone(),
                epoch: record.epoch,
                unless_connected_to: (!exempt).then(|| record.primary.clone()),
                admit,
                configuration_only: mode_of(view, name) == Mode::ConfigurationOnly,
            }
        })
        .collect()
}
