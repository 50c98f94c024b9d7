//! What people are warned of.

use super::world::{World, group, name};
use quorate::{
    decide::{
        self, Observation, Reason,
        observation::{LogBackup, Probe},
        status::{self, Truth},
    },
    model::{DatabaseName, Management, SequenceNumber},
};

const HOUR: i64 = 3_600;
const NOW: i64 = 1_000 * HOUR;

/// What an observation warns of, log backups apart from the rest.
fn overdue(seen: &Observation) -> Option<String> {
    let report = status::report(seen, &decide::decide(seen));
    report.warnings.into_iter().find(|(reason, _)| *reason == Reason::LogBackupOverdue).map(|(_, message)| message)
}

fn seen(last: Option<i64>, created: i64) -> Observation {
    let mut world = World::new(group(3, false));
    world.healthy();
    let backups = [(DatabaseName::new("orders").unwrap(), LogBackup { last, created, read: NOW })];
    Observation { log_backups: Some(backups.into()), ..world.observe() }
}

#[test]
fn a_log_backup_is_overdue_after_a_day_counted_from_creation_when_there_was_none() {
    let table = [
        (Some(NOW - HOUR), 0, None),
        (Some(NOW - 24 * HOUR), 0, None),
        (Some(NOW - 24 * HOUR - 1), 0, Some("orders (last one at ")),
        (Some(NOW + HOUR), 0, None),
        (None, NOW - 23 * HOUR, None),
        (None, NOW - 25 * HOUR, Some("orders (never; there since ")),
    ];
    for (last, created, expected) in table {
        let found = overdue(&seen(last, created));
        match expected {
            None => assert_eq!(found, None, "{last:?} {created}"),
            Some(words) => assert!(found.as_ref().is_some_and(|found| found.contains(words)), "{found:?}"),
        }
    }
}

#[test]
fn what_was_not_read_is_not_overdue_and_what_a_person_looks_after_neither() {
    assert_eq!(overdue(&Observation { log_backups: None, ..seen(None, 0) }), None);
    let mut ignored = seen(None, 0);
    ignored.group.databases[0].management = Management::Ignore;
    assert_eq!(overdue(&ignored), None);
}

#[test]
fn an_overdue_log_backup_stalls_nothing_and_its_sentence_does_not_change_as_time_goes_on() {
    let first = seen(None, 0);
    let report = status::report(&first, &decide::decide(&first));
    assert_eq!(report.reason, Reason::Healthy);
    assert!(report.conditions.iter().all(|condition| condition.kind != "Stalled"));
    let mut later = first.clone();
    later.at += 60_000;
    later.log_backups.iter_mut().flatten().for_each(|(_, backup)| backup.read += 60);
    assert_eq!(overdue(&first), overdue(&later));
}

/// The looks of a pass are not of one instant: a configuration that was changed between two of them shows in one only.
#[test]
fn a_group_is_ready_while_its_primary_shows_a_newer_configuration_than_the_looks_at_its_secondaries() {
    let mut world = World::new(group(3, false));
    world.healthy();
    let mut seen = world.observe();
    let Probe::Answered(facts) = &mut seen.replicas.get_mut(&name("orders-0")).unwrap().probe else { panic!("silent") };
    let own = facts.group.as_mut().unwrap();
    own.number = SequenceNumber(own.number.0 + 1);
    let plan = decide::decide(&seen);
    let report = status::report(&seen, &plan);
    let ready = report.conditions.iter().find(|condition| condition.kind == "Ready").unwrap();
    assert_eq!((ready.status, report.synced.as_str(), plan.reason), (Truth::True, "2/2", Reason::Healthy), "{ready:?}");
}
