//! Events that a change of the status is: one per transition, told once the new status is written.

use crate::{
    api::v1alpha1::{AvailabilityGroupStatus, status::ReplicaStatus},
    decide::Reason,
};

/// What happened between two statuses of a group, in the order people read it.
pub fn between(before: &AvailabilityGroupStatus, after: &AvailabilityGroupStatus) -> Vec<(Reason, String)> {
    let mut events = replicas(before, after);
    for database in after.databases.iter().filter(|database| database.known) {
        let known = before.databases.iter().any(|old| old.name == database.name && old.known);
        if !known {
            events.push((Reason::DatabaseAdded, format!("{} is in the group", database.name)));
        }
    }
    if let (Some(old), Some(new)) = (in_force(before), in_force(after))
        && old != new
    {
        events.push((Reason::CommitQuorumChanged, format!("commit quorum {new} is in force, before: {old}")));
    }
    events
}

fn replicas(before: &AvailabilityGroupStatus, after: &AvailabilityGroupStatus) -> Vec<(Reason, String)> {
    let mut events = Vec::new();
    for replica in &after.replicas {
        let old = before.replicas.iter().find(|old| old.name == replica.name);
        let told = |database: &&String| old.is_some_and(|old| old.reseeding.contains(*database));
        for database in replica.reseeding.iter().filter(|database| !told(database)) {
            events.push((
                Reason::Reseeding,
                format!("{database} is copied whole to {}: the log does not lead from its copy on", replica.name),
            ));
        }
        let number = replica.sequence_number.as_deref().unwrap_or("?");
        let (name, role) = (&replica.name, role(replica));
        match old {
            _ if !is_member(replica) => {}
            // A replica that was silent is known to have been a member only by what was told before that.
            old if old.is_none_or(|old| self::role(old) == "NONE") => {
                events.push((Reason::ReplicaAdded, format!("{name} is a member of the group as {role} at {number}")));
            }
            Some(old) if !old.connected && replica.connected && role == "SECONDARY" && !self::role(old).is_empty() => {
                let primary = after.primary.as_deref().unwrap_or("the primary");
                events.push((Reason::Rejoined, format!("{name} follows {primary} again at {number}")));
            }
            _ => {}
        }
    }
    let gone = before.replicas.iter().filter(|old| !after.replicas.iter().any(|replica| replica.name == old.name));
    events.extend(gone.map(|old| (Reason::ReplicaRemoved, format!("{} is no member of the group any more", old.name))));
    events
}

fn role(replica: &ReplicaStatus) -> &str {
    replica.role.as_deref().unwrap_or_default()
}

fn is_member(replica: &ReplicaStatus) -> bool {
    matches!(role(replica), "PRIMARY" | "SECONDARY" | "RESOLVING")
}

/// The commit quorum in force: `1`, or the first number of `0 -> 1`.
fn in_force(status: &AvailabilityGroupStatus) -> Option<&str> {
    status.quorum.as_deref()?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::status::DatabaseStatus;

    fn replica(role: &str, connected: bool) -> ReplicaStatus {
        ReplicaStatus {
            name: "orders-1".into(),
            role: Some(role.into()),
            connected,
            sequence_number: Some("2:3".into()),
            ..ReplicaStatus::default()
        }
    }

    fn with(replicas: Vec<ReplicaStatus>) -> AvailabilityGroupStatus {
        AvailabilityGroupStatus { replicas, primary: Some("orders-0".into()), ..AvailabilityGroupStatus::default() }
    }

    #[test]
    fn each_transition_of_a_replica_is_one_event() {
        let table = [
            (
                None,
                Some(replica("SECONDARY", true)),
                "ReplicaAdded: orders-1 is a member of the group as SECONDARY at 2:3",
            ),
            (Some(replica("NONE", false)), Some(replica("RESOLVING", false)), "ReplicaAdded: orders-1 is a member"),
            (Some(replica("RESOLVING", false)), Some(replica("SECONDARY", false)), ""),
            (
                Some(replica("UNKNOWN", false)),
                Some(replica("SECONDARY", true)),
                "Rejoined: orders-1 follows orders-0 again",
            ),
            (
                Some(replica("SECONDARY", false)),
                Some(replica("SECONDARY", true)),
                "Rejoined: orders-1 follows orders-0",
            ),
            (Some(replica("SECONDARY", true)), Some(replica("SECONDARY", true)), ""),
            (Some(replica("SECONDARY", true)), Some(replica("UNKNOWN", false)), ""),
            (Some(replica("SECONDARY", true)), Some(replica("PRIMARY", true)), ""),
            (Some(replica("SECONDARY", true)), None, "ReplicaRemoved: orders-1 is no member"),
        ];
        for (old, new, wanted) in table {
            let (before, after) = (with(old.into_iter().collect()), with(new.into_iter().collect()));
            let told: Vec<_> = between(&before, &after).iter().map(|(why, text)| format!("{why}: {text}")).collect();
            assert!(told.concat().starts_with(wanted) && told.is_empty() == wanted.is_empty(), "{wanted}: {told:?}");
            assert!(between(&after, &after).is_empty());
        }
    }

    #[test]
    fn a_copy_made_anew_is_told_once() {
        let status = |reseeding: &[&str]| {
            let reseeding = reseeding.iter().map(ToString::to_string).collect();
            with(vec![ReplicaStatus { reseeding, ..replica("SECONDARY", true) }])
        };
        let told = between(&status(&[]), &status(&["shop"]));
        assert!(
            matches!(told.as_slice(), [(Reason::Reseeding, text)] if text.starts_with("shop is copied whole to orders-1"))
        );
        assert!(between(&status(&["shop"]), &status(&["shop"])).is_empty());
    }

    #[test]
    fn commit_quorum_and_databases_are_told_when_they_change() {
        let status = |quorum: &str, known: bool| AvailabilityGroupStatus {
            quorum: Some(quorum.into()),
            databases: vec![DatabaseStatus { name: "orders".into(), known, ..DatabaseStatus::default() }],
            ..AvailabilityGroupStatus::default()
        };
        assert_eq!(
            between(&status("0 -> 1", false), &status("1", true)),
            [
                (Reason::DatabaseAdded, "orders is in the group".to_owned()),
                (Reason::CommitQuorumChanged, "commit quorum 1 is in force, before: 0".to_owned())
            ]
        );
        assert!(between(&status("1", true), &status("1 -> 0", true)).is_empty());
    }
}
