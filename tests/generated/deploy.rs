//! What is installed: rights, confinement, examples.

use serde_json::Value;
use std::{fs, path::Path};

fn read(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// Example groups, with their file's name.
pub(super) fn examples() -> Vec<(String, Value)> {
    examples_of("AvailabilityGroup")
}

pub(super) fn examples_of(kind: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let groups = |name: &String| {
        let documents = read(&format!("deploy/examples/{name}"));
        let found = documents.into_iter().filter(|document| document["kind"] == kind);
        found.map(|group| (name.clone(), group)).collect::<Vec<_>>()
    };
    names.iter().flat_map(groups).collect()
}

#[test]
fn every_example_is_accepted_by_the_schema_and_by_the_parser() {
    let examples = examples();
    assert_eq!(examples.len(), 7);
    for (name, example) in examples {
        assert_eq!(super::schema::refusals("availabilitygroups", &example, None), Vec::<String>::new(), "{name}");
        let parsed = quorate::api::parse(&serde_json::from_value(example).unwrap(), "quorate:dev");
        assert!(parsed.is_ok(), "{name}: {}", parsed.unwrap_err());
    }
    let upgrades = examples_of("RollingUpgrade");
    assert_eq!(upgrades.len(), 2);
    for (name, example) in upgrades {
        assert_eq!(super::schema::refusals("rollingupgrades", &example, None), Vec::<String>::new(), "{name}");
        let parsed = quorate::api::parse_upgrade(&serde_json::from_value(example).unwrap());
        assert!(parsed.is_ok(), "{name}: {}", parsed.unwrap_err());
    }
}

#[test]
fn rights_have_no_wildcards_and_never_list_secrets() {
    for document in read("deploy/base/role.yaml") {
        for rule in document["rules"].as_array().into_iter().flatten() {
            let words = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap() };
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(words(field).iter().all(|word| !word.contains('*')), "{rule}");
            }
            if words("resources").contains(&"secrets".to_string()) {
                assert_eq!(words("verbs"), ["get", "create", "patch"], "secrets are read and made by name");
            }
        }
    }
}

#[test]
fn the_operator_runs_confined_and_knows_its_own_image() {
    let deployment = &read("deploy/base/deployment.yaml")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"][0], "ALL");
    let env = pod["containers"][0]["env"].as_array().unwrap();
    assert!(env.iter().any(|variable| variable["name"] == "QUORATE_IMAGE"));
    assert_eq!(deployment["spec"]["replicas"], 2);
}
