//! Conditions as people and kstatus read them.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// The conditions of `wanted`, each with the transition time of its predecessor in `before` unless its status flips.
///
/// `observedGeneration` is set on all. Conditions that are not wanted any more are gone.
pub fn renew(before: &[Condition], wanted: Vec<Condition>, generation: i64, now: Timestamp) -> Vec<Condition> {
    wanted
        .into_iter()
        .map(|mut condition| {
            let previous = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
            condition.last_transition_time = previous.map_or(Time(now), |old| old.last_transition_time.clone());
            condition.observed_generation = Some(generation);
            condition
        })
        .collect()
}

/// A condition without its times. `status` is `True`, `False` or `Unknown`.
pub fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Condition {
    // The API server refuses messages over 32768 characters.
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.chars().take(32_000).collect(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = renew(&[], vec![condition("Ready", "False", "Seeding", "a")], 1, at(10));
        let same = renew(&first, vec![condition("Ready", "False", "ReplicaDown", "b")], 2, at(20));
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("ReplicaDown", Some(2)));
        let flipped = renew(&same, vec![condition("Ready", "True", "Healthy", "")], 2, at(30));
        assert_eq!(flipped[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_condition_that_is_not_wanted_any_more_is_gone() {
        let first = renew(&[], vec![condition("Stalled", "True", "InvalidSpec", "a")], 1, Timestamp::UNIX_EPOCH);
        assert!(renew(&first, vec![], 1, Timestamp::UNIX_EPOCH).is_empty());
    }
}
