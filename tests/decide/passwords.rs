//! Passwords that were changed in Secrets.

use super::world::{World, group, name};
use quorate::decide::{
    self, Observation, Plan, Reason, Step,
    observation::{Probe, Refusal},
    status,
};
use std::time::Duration;

/// A healthy group whose instances were told the passwords of `told`, while the Secrets are at version 2.
fn seen(told: [Option<&str>; 3]) -> Observation {
    let mut world = World::new(group(3, false));
    world.healthy();
    let mut seen = Observation { passwords: "2".into(), ..world.observe() };
    for (replica, told) in seen.replicas.values_mut().zip(told) {
        let Probe::Answered(facts) = &mut replica.probe else { panic!("silent") };
        facts.stored.passwords = told.map(Into::into);
    }
    seen
}

fn told(plan: &Plan) -> Vec<String> {
    let steps = plan.steps().filter(|step| matches!(step, Step::SetPasswords { version, .. } if version == "2"));
    steps.map(|step| step.instance().unwrap().to_string()).collect()
}

fn set_up(plan: &Plan) -> Vec<String> {
    let steps = plan.steps().filter(|step| matches!(step, Step::Provision(_)));
    steps.map(|step| step.instance().unwrap().to_string()).collect()
}

#[test]
fn instances_that_know_others_are_told_the_present_passwords() {
    assert_eq!(told(&decide::decide(&seen([Some("2"), Some("1"), None]))), ["orders-1", "orders-2"]);
    let plan = decide::decide(&seen([Some("2"); 3]));
    assert_eq!((plan.reason, plan.waves.len()), (Reason::Healthy, 0));
    let unread = Observation { passwords: String::new(), ..seen([None; 3]) };
    assert!(told(&decide::decide(&unread)).is_empty(), "nobody is told what is not known");
}

#[test]
fn one_that_goes_on_refusing_sa_needs_a_person_and_is_asked_again_each_minute_only() {
    let mut seen = seen([Some("2"), Some("1"), Some("2")]);
    let table = [(1, 1, false, 1), (29, 1, false, 1), (30, 1, true, 0), (89, 59, true, 0), (90, 60, true, 1)];
    for (lasting, asked, stalls, steps) in table {
        let (lasting, asked) = (Duration::from_secs(lasting), Duration::from_secs(asked));
        seen.replicas.get_mut(&name("orders-1")).unwrap().admin_refused = Some(Refusal { lasting, asked });
        let plan = decide::decide(&seen);
        let report = status::report(&seen, &plan);
        let stalled = report.conditions.iter().any(|condition| condition.kind == "Stalled");
        assert_eq!((plan.reason == Reason::CredentialsRefused, stalled), (stalls, stalls), "{lasting:?} {asked:?}");
        assert_eq!(told(&plan).len(), steps, "{lasting:?} {asked:?}");
    }
}

#[test]
fn instances_that_let_none_of_our_logins_in_are_set_up_again_even_without_a_primary() {
    let mut seen = seen([Some("1"); 3]);
    seen.replicas.values_mut().for_each(|replica| replica.probe = Probe::LoginRefused);
    let plan = decide::decide(&seen);
    assert_eq!((plan.reason, set_up(&plan).len()), (Reason::TooFewAnswers, 3));
    let refusal = Refusal { lasting: Duration::from_secs(40), asked: Duration::from_secs(10) };
    seen.replicas.values_mut().for_each(|replica| replica.admin_refused = Some(refusal));
    assert!(set_up(&decide::decide(&seen)).is_empty(), "not while they refuse sa too");
}
