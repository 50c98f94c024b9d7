//! The objects of the examples, as they are applied. Review a change with `cargo insta`, or look at the diff.

use quorate::{model::Group, resources};
use serde_json::Value;

fn group(name: &str) -> Group {
    let (_, mut manifest) = super::deploy::examples().into_iter().find(|(file, _)| file == name).unwrap();
    manifest["metadata"]["uid"] = "0e6c2f0a-5a55-4a39-9d3c-1f6a3f2b7c11".into();
    quorate::api::parse(&serde_json::from_value(manifest).unwrap(), "quorate:dev").unwrap()
}

fn yaml(objects: &[Value]) -> String {
    objects.iter().map(|object| quorate::api::to_yaml(object).unwrap()).collect::<Vec<_>>().join("---\n")
}

#[test]
fn stateful_sets_of_two_replicas_and_a_configuration_only_one() {
    insta::assert_snapshot!(yaml(&resources::stateful_sets(&group("two-plus-configuration-only.yaml"))));
}

#[test]
fn services_and_budget_of_three_synchronous_replicas() {
    let group = group("three-synchronous.yaml");
    let mut objects = resources::services(&group);
    objects.push(resources::disruption_budget(&group));
    objects.extend(resources::route(&group, group.first(), false));
    insta::assert_snapshot!(yaml(&objects));
}
