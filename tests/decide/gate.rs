//! The gate, exhaustively where it is a table.

use super::world::name;
use quorate::{
    decide::{
        Reason, Record,
        gate::{Answer, Evidence, FAILOVER_WINDOW_MS, Verdict, Wish, judge},
    },
    model::{Mode, ReplicaName, SequenceNumber, quorum},
};
use std::collections::{BTreeMap, BTreeSet};

fn replica(i: u32) -> ReplicaName {
    name(&format!("orders-{i}"))
}

fn record(voters: u32, commit_quorum: u32) -> Record {
    let names: BTreeSet<_> = (0..voters).map(replica).collect();
    let mut followers = names.clone();
    followers.remove(&replica(0));
    Record { voters: names, commit_quorum, ..Record::first(replica(0), 0).settle(followers) }
}

fn answer(number: i64) -> Answer {
    Answer { mode: Mode::Synchronous, number: SequenceNumber(number), ready: true, redo_queue: 0, ticks: 1_000 }
}

fn evidence(need: u32, answers: &[(u32, Answer)]) -> Evidence {
    Evidence { need, answers: answers.iter().map(|(i, a)| (replica(*i), a.clone())).collect() }
}

fn elected(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Elect { candidate, .. } => Some(candidate.as_str()),
        Verdict::Refuse { .. } => None,
    }
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Elect { .. } => None,
        Verdict::Refuse { reason, .. } => Some(*reason),
    }
}

/// Every assignment of silent, zero, old, or newest number to up to five voters, at every commit quorum.
#[test]
fn only_a_holder_of_the_highest_number_among_enough_answers_is_ever_elected() {
    for voters in 1..=5u32 {
        for commit_quorum in 0..voters {
            let need = quorum::need(voters, commit_quorum);
            for code in 0..4u32.pow(voters) {
                let states: Vec<_> = (0..voters).map(|i| (i, code / 4u32.pow(i) % 4)).collect();
                let answers: Vec<_> =
                    states.iter().filter(|(_, s)| *s > 0).map(|(i, s)| (*i, answer(i64::from(s - 1)))).collect();
                let usable = answers.iter().filter(|(_, a)| a.number.usable());
                let highest = usable.clone().map(|(_, a)| a.number).max();
                let verdict = judge(&record(voters, commit_quorum), &evidence(need, &answers), Wish::default());
                if (usable.count() as u32) < need {
                    assert_eq!(
                        reason(&verdict),
                        Some(Reason::TooFewAnswers),
                        "{voters} voters, quorum {commit_quorum}, {states:?}"
                    );
                    continue;
                }
                let first = answers.iter().find(|(_, a)| Some(a.number) == highest).map(|(i, _)| replica(*i));
                let expected = Verdict::Elect {
                    candidate: first.unwrap(),
                    number: highest.unwrap(),
                    deadline: 1_000 + FAILOVER_WINDOW_MS,
                };
                assert_eq!(verdict, expected, "{voters} voters, quorum {commit_quorum}, {states:?}");
            }
        }
    }
}

#[test]
fn a_configuration_only_replica_counts_and_is_never_elected() {
    let witness = Answer { mode: Mode::ConfigurationOnly, ..answer(9) };
    let verdict = judge(&record(3, 0), &evidence(2, &[(1, answer(9)), (2, witness.clone())]), Wish::default());
    assert_eq!(elected(&verdict), Some("orders-1"));
    let verdict = judge(&record(3, 0), &evidence(2, &[(1, answer(8)), (2, witness)]), Wish::default());
    assert_eq!(reason(&verdict), Some(Reason::NotSynchronized));
}

#[test]
fn an_asynchronous_replica_is_never_elected() {
    let far = Answer { mode: Mode::Asynchronous, ..answer(9) };
    let verdict = judge(&record(3, 1), &evidence(2, &[(1, answer(8)), (2, far)]), Wish::default());
    assert_eq!(reason(&verdict), Some(Reason::NotSynchronized));
}

#[test]
fn a_replica_that_was_never_seen_following_is_an_answer_but_no_candidate() {
    let mut lineage = record(3, 1);
    lineage.followers.remove(&replica(2));
    let verdict = judge(&lineage, &evidence(2, &[(1, answer(8)), (2, answer(9))]), Wish::default());
    assert_eq!(reason(&verdict), Some(Reason::FollowerNotRecorded));
    let verdict = judge(&lineage, &evidence(2, &[(1, answer(9)), (2, answer(9))]), Wish::default());
    assert_eq!(elected(&verdict), Some("orders-1"));
}

/// Of two voters with a commit quorum each has whatever was acknowledged; without one the primary may have gone on alone.
#[test]
fn of_two_replicas_with_a_commit_quorum_either_is_a_candidate_seen_following_or_not() {
    for (quorum, expected) in [(0, None), (1, Some("orders-1"))] {
        let mut lineage = record(2, quorum);
        lineage.followers.clear();
        let verdict = judge(&lineage, &evidence(2, &[(0, answer(8)), (1, answer(9))]), Wish::default());
        assert_eq!(elected(&verdict), expected, "commit quorum {quorum}");
    }
}

#[test]
fn after_an_election_that_was_never_settled_the_one_before_it_may_come_back() {
    let unsettled = record(3, 1).open(2, Default::default(), 0, 0).elect(replica(1), SequenceNumber(8), 0, 0).open(
        3,
        Default::default(),
        0,
        0,
    );
    for candidate in [0, 1, 2] {
        let other = (candidate + 1) % 3;
        let verdict = judge(&unsettled, &evidence(2, &[(candidate, answer(9)), (other, answer(8))]), Wish::default());
        assert_eq!(elected(&verdict), Some(replica(candidate).as_str()));
    }
}

#[test]
fn among_equals_the_wish_then_readiness_then_redo_then_ordinal_decide() {
    let unready = Answer { ready: false, ..answer(9) };
    let slow = Answer { redo_queue: 10, ..answer(9) };
    let one = replica(1);
    let two = replica(2);
    type Row<'a> = (&'a [(u32, Answer)], Wish<'a>, &'a str);
    let table: [Row; 6] = [
        (&[(1, answer(9)), (2, answer(9))], Wish::default(), "orders-1"),
        (&[(1, slow.clone()), (2, answer(9))], Wish::default(), "orders-2"),
        (&[(1, unready.clone()), (2, slow.clone())], Wish::default(), "orders-2"),
        (&[(1, answer(9)), (2, answer(9))], Wish { avoid: Some(&one), ..Wish::default() }, "orders-2"),
        (&[(1, answer(9)), (2, slow)], Wish { prefer: Some(&two), ..Wish::default() }, "orders-2"),
        (&[(1, answer(9)), (2, answer(8))], Wish { prefer: Some(&two), ..Wish::default() }, "orders-1"),
    ];
    for (answers, wish, expected) in table {
        let verdict = judge(&record(3, 1), &evidence(2, answers), wish);
        assert_eq!(elected(&verdict), Some(expected), "{answers:?} {wish:?}");
    }
}

#[test]
fn what_the_engine_refused_is_tried_again_only_at_another_number_and_never_a_lower_one_instead() {
    let mut refused = record(3, 1);
    refused.refused = BTreeMap::from([(replica(1), SequenceNumber(9))]);
    let verdict = judge(&refused, &evidence(2, &[(1, answer(9)), (2, answer(9))]), Wish::default());
    assert_eq!(elected(&verdict), Some("orders-2"));
    let verdict = judge(&refused, &evidence(2, &[(1, answer(9)), (2, answer(8))]), Wish::default());
    assert_eq!(reason(&verdict), Some(Reason::EngineRefused));
    let verdict = judge(&refused, &evidence(2, &[(1, answer(10)), (2, answer(8))]), Wish::default());
    assert_eq!(elected(&verdict), Some("orders-1"));
}

#[test]
fn manual_mode_brings_back_the_recorded_primary_or_nobody() {
    let only = replica(0);
    let wish = Wish { only: Some(&only), ..Wish::default() };
    let verdict = judge(&record(3, 1), &evidence(2, &[(0, answer(9)), (1, answer(9))]), wish);
    assert_eq!(elected(&verdict), Some("orders-0"));
    let verdict = judge(&record(3, 1), &evidence(2, &[(0, answer(8)), (1, answer(9))]), wish);
    assert_eq!(reason(&verdict), Some(Reason::ManualFailoverOnly));
}
