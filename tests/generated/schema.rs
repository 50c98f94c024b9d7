//! Truth tables of the schema's rules, evaluated on manifests as people write them.

use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Value, json};
use std::sync::LazyLock;

static GROUPS: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema("availabilitygroups")));
static FAILOVERS: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema("failovers")));
static UPGRADES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema("rollingupgrades")));

fn schema(plural: &str) -> Value {
    let crds = quorate::api::crds().unwrap();
    let (_, crd) = crds.into_iter().find(|(name, _)| name == plural).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Messages with which an object is refused, as a change of `old` when there is one.
pub(super) fn refusals(plural: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    let compiled = match plural {
        "failovers" => &FAILOVERS,
        "rollingupgrades" => &UPGRADES,
        _ => &GROUPS,
    };
    match Validator::new().validate_compiled(compiled, new, old) {
        Ok(()) => vec![],
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

fn group() -> Value {
    json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "AvailabilityGroup",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {
            "acceptEula": true, "image": "mssql:2022-CU16", "synchronous": {"replicas": 3},
            "storage": {"size": "20Gi"}, "resources": {"limits": {"memory": "4Gi"}}
        }
    })
}

fn set(mut manifest: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    manifest
}

#[track_caller]
fn refused(changes: &[(&str, Value)], words: &str) {
    let told = refusals("availabilitygroups", &set(group(), changes), None);
    assert!(told.len() == 1 && told[0].contains(words), "{changes:?} should be refused with {words:?}: {told:?}");
}

#[track_caller]
fn accepted(changes: &[(&str, Value)]) {
    let told = refusals("availabilitygroups", &set(group(), changes), None);
    assert!(told.is_empty(), "{changes:?}: {told:?}");
}

#[track_caller]
fn change_refused(before: &[(&str, Value)], after: &[(&str, Value)], words: &str) {
    let told = refusals("availabilitygroups", &set(group(), after), Some(&set(group(), before)));
    assert!(told.len() == 1 && told[0].contains(words), "{before:?} to {after:?}: {told:?}");
}

#[test]
fn every_rule_of_the_schema_can_be_compiled() {
    for compiled in [&*GROUPS, &*FAILOVERS] {
        assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
    }
}

#[test]
fn the_smallest_group_is_accepted() {
    accepted(&[]);
    accepted(&[("/spec/resources", json!({"limits": {"memory": 4_294_967_296_i64, "cpu": 2}}))]);
}

#[test]
fn counts_of_replicas_from_zero_to_ten() {
    for s in 0..=10 {
        for a in 0..=9 {
            let good = s >= 1 && (2..=9).contains(&(s + a));
            let changes = [("/spec/synchronous/replicas", json!(s)), ("/spec/asynchronous", json!({"replicas": a}))];
            let told = refusals("availabilitygroups", &set(group(), &changes), None);
            assert_eq!(told.is_empty(), good, "{s} synchronous, {a} asynchronous: {told:?}");
        }
    }
}

#[test]
fn a_primary_beside_a_configuration_only_replica_alone_is_refused() {
    refused(
        &[("/spec/synchronous/replicas", json!(1)), ("/spec/configurationOnly", json!({"replicas": 1}))],
        "a configuration-only replica holds none; add a synchronous replica",
    );
    accepted(&[("/spec/synchronous/replicas", json!(2)), ("/spec/configurationOnly", json!({"replicas": 1}))]);
    refused(&[("/spec/configurationOnly", json!({"replicas": 2}))], "spec.configurationOnly.replicas");
    refused(&[("/spec/configurationOnly", json!({"replicas": -1}))], "replicas must not be negative");
}

#[test]
fn commit_quorum_for_one_to_nine_synchronous_replicas() {
    for s in 2..=9 {
        for quorum in -1..=9 {
            let good = (0..s).contains(&quorum);
            let changes = [
                ("/spec/synchronous/replicas", json!(s)),
                ("/spec/requiredSynchronizedSecondariesToCommit", json!(quorum)),
            ];
            let told = refusals("availabilitygroups", &set(group(), &changes), None);
            assert_eq!(told.is_empty(), good, "{s} synchronous, commit quorum {quorum}: {told:?}");
        }
    }
}

#[test]
fn names_editions_and_licence_are_checked() {
    refused(&[("/spec/acceptEula", json!(false))], "spec.acceptEula must be true");
    for name in ["1orders", "Orders", "orders-", "or.ders", &"x".repeat(41)] {
        refused(&[("/metadata/name", json!(name))], "metadata.name must start with a letter");
    }
    accepted(&[("/metadata/name", json!("x".repeat(40)))]);
    for edition in ["Standard", "StandardDeveloper"] {
        let standard = |more: &[(&'static str, Value)]| {
            let two = [("/spec/edition", json!(edition)), ("/spec/synchronous/replicas", json!(2))];
            [&two, more].concat()
        };
        refused(&standard(&[("/spec/synchronous/replicas", json!(3))]), "spec.edition Standard allows 2");
        refused(&standard(&[("/spec/asynchronous", json!({"replicas": 1}))]), "spec.edition Standard allows 2");
        let two = json!([{"name": "a"}, {"name": "b"}]);
        refused(&standard(&[("/spec/databases", two)]), "spec.databases must hold one database");
        refused(&standard(&[("/spec/secondaryConnections", json!("All"))]), "spec.secondaryConnections must be No");
        accepted(&standard(&[
            ("/spec/configurationOnly", json!({"replicas": 1})),
            ("/spec/databases", json!([{"name": "a"}])),
            ("/spec/secondaryConnections", json!("No")),
        ]));
    }
}

#[test]
fn memory_limits_and_quantities_are_checked() {
    for limits in [json!({}), json!({"cpu": "1"}), json!({"memory": "2047Mi"}), json!({"memory": "2GB"})] {
        refused(&[("/spec/resources", json!({"limits": limits}))], "resources.limits.memory must be at least 2Gi");
    }
    refused(&[("/spec/resources", json!({}))], "resources.limits.memory must be at least 2Gi");
    refused(
        &[("/spec/synchronous", json!({"replicas": 3, "resources": {"limits": {"memory": "1Gi"}}}))],
        "resources.limits.memory must be at least 2Gi",
    );
    for size in ["", "0", "20GB", "-1Gi", "many"] {
        refused(&[("/spec/storage/size", json!(size))], "storage.size must be a quantity above 0");
        refused(&[("/spec/storage/log", json!({"size": size}))], "storage.log.size must be a quantity above 0");
    }
}

#[test]
fn databases_logins_and_configuration_are_checked() {
    let secret = json!({"name": "s", "key": "k"});
    for name in ["master", "TempDB"] {
        refused(&[("/spec/databases", json!([{"name": name}]))], "must not be that of a system database");
    }
    refused(&[("/spec/databases", json!([{"name": "a\nb"}]))], "must not contain control characters");
    accepted(&[("/spec/databases", json!([{"name": "a]b'c ä"}]))]);
    for name in ["sa", "SA", "quorate_look", "##x"] {
        refused(&[("/spec/logins", json!([{"name": name, "passwordSecret": secret}]))], "those are taken");
    }
    refused(&[("/spec/logins", json!([{"name": "a\\b", "passwordSecret": secret}]))], "a backslash");
    refused(&[("/spec/configuration", json!({"sqlagent": "true"}))], "must be written section.key");
    for key in ["hadr.hadrenabled", "network.tlscert", "Network.TcpPort", "EULA.accepteula", "filelocation.x"] {
        refused(&[("/spec/configuration", json!({key: "1"}))], "they follow from other fields");
    }
    accepted(&[("/spec/configuration", json!({"sqlagent.enabled": "true", "network.forceencryption": "1"}))]);
    refused(&[("/spec/pod", json!({"labels": {"quorate.dev/role": "x"}}))], "pod.labels must not begin with");
    refused(&[("/spec/failover", json!({"suspectAfterSeconds": 0}))], "suspectAfterSeconds must be from 1");
    refused(&[("/spec/failover", json!({"minimumIntervalSeconds": -1}))], "minimumIntervalSeconds must be from 0");
}

#[test]
fn fields_that_cannot_change_do_not() {
    change_refused(&[], &[("/spec/collation", json!("Latin1_General_BIN2"))], "spec.collation is immutable");
    change_refused(&[], &[("/spec/storage/size", json!("19Gi"))], "storage.size can only grow");
    change_refused(&[], &[("/spec/storage/storageClassName", json!("fast"))], "storageClassName is immutable");
    change_refused(&[], &[("/spec/storage/log", json!({"size": "1Gi"}))], "storage.log cannot be added or removed");
    let own = json!({"replicas": 3, "storage": {"size": "20Gi"}});
    change_refused(&[], &[("/spec/synchronous", own)], "spec.synchronous.storage cannot be added or removed");
    let own = json!({"replicas": 3, "storage": {"size": "20Gi", "deletionPolicy": "Delete"}});
    refused(&[("/spec/synchronous", own)], "spec.synchronous.storage.deletionPolicy must be absent");
    let grown = set(group(), &[("/spec/storage/size", json!("30720Mi")), ("/spec/image", json!("mssql:2022-CU17"))]);
    assert_eq!(refusals("availabilitygroups", &grown, Some(&group())), Vec::<String>::new());
    let said = set(group(), &[("/spec/collation", json!("SQL_Latin1_General_CP1_CI_AS"))]);
    assert_eq!(refusals("availabilitygroups", &said, Some(&group())), Vec::<String>::new());
}

fn failover(spec: Value) -> Value {
    json!({"apiVersion": "quorate.dev/v1alpha1", "kind": "Failover", "metadata": {"name": "x"}, "spec": spec})
}

#[test]
fn a_forced_failover_needs_its_target_its_epoch_and_its_exact_sentence() {
    let full = json!({"availabilityGroup": "orders", "mode": "Forced", "target": "orders-1", "expectedEpoch": 7,
                      "acceptDataLoss": "I accept data loss in orders", "resumeDatabases": true});
    assert_eq!(refusals("failovers", &failover(full.clone()), None), Vec::<String>::new());
    for missing in ["target", "expectedEpoch", "acceptDataLoss"] {
        let mut spec = full.clone();
        spec.as_object_mut().unwrap().remove(missing);
        let told = refusals("failovers", &failover(spec), None);
        assert!(told.len() == 1 && told[0].contains(&format!("spec.{missing}")), "{missing}: {told:?}");
    }
    for sentence in ["i accept data loss in orders", "I accept data loss in order", "I accept data loss in orders."] {
        let mut spec = full.clone();
        spec["acceptDataLoss"] = json!(sentence);
        assert_eq!(refusals("failovers", &failover(spec), None).len(), 1, "{sentence}");
    }
}

#[test]
fn a_planned_failover_accepts_no_loss_and_nothing_of_a_request_changes() {
    let planned = failover(json!({"availabilityGroup": "orders", "mode": "Planned"}));
    assert_eq!(refusals("failovers", &planned, None), Vec::<String>::new());
    for extra in [
        ("expectedEpoch", json!(7)),
        ("acceptDataLoss", json!("I accept data loss in orders")),
        ("resumeDatabases", json!(true)),
    ] {
        let mut spec = planned.clone();
        spec["spec"][extra.0] = extra.1;
        assert_eq!(refusals("failovers", &spec, None).len(), 1);
    }
    let mut other = planned.clone();
    other["spec"]["target"] = json!("orders-1");
    assert!(refusals("failovers", &other, Some(&planned))[0].contains("spec is immutable"));
    let mut late = planned;
    late["spec"]["expiresAfterSeconds"] = json!(0);
    assert_eq!(refusals("failovers", &late, None).len(), 1);
}

/// The API server prunes what a schema does not know: an election's record must pass through whole.
#[test]
fn the_record_of_an_election_passes_through_the_api_unchanged() {
    use quorate::{decide::Record, model::ReplicaName};
    let name = |text: &str| ReplicaName::new(text).unwrap();
    let mut record =
        Record::first(name("orders-0"), 7).elect(name("orders-1"), quorate::model::SequenceNumber::new(2, 1), 99, 8);
    record.followers.insert(name("orders-1"));
    record.previous_followers.insert(name("orders-2"));
    record.refused.insert(name("orders-2"), quorate::model::SequenceNumber::new(1, 1));
    record.request = Some("r".into());
    record.from = Some(name("orders-0"));
    record.target = Some(name("orders-1"));
    let json = serde_json::to_value(&record).unwrap();
    let through: quorate::api::v1alpha1::status::Election = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&through).unwrap(), json);
    let known = schema("availabilitygroups")["properties"]["status"]["properties"]["election"]["properties"].clone();
    for field in json.as_object().unwrap().keys() {
        assert!(known.get(field).is_some(), "status.election.{field} is not in the schema");
    }
}

#[test]
fn groups_of_an_upgrade_have_names_of_their_own_and_stay_as_they_are() {
    let (_, example) =
        super::deploy::examples_of("RollingUpgrade").into_iter().find(|(name, _)| name.contains("regions")).unwrap();
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut object = example.clone();
        change(&mut object["spec"]);
        (refusals("rollingupgrades", &object, None), refusals("rollingupgrades", &object, Some(&example)))
    };
    for name in ["orders", "orders-v2", "orders-v2-dr"] {
        let (new, _) = changed(&|spec| spec["geo"]["production"]["availabilityGroup"] = name.into());
        assert!(new.iter().any(|why| why.contains("spec.geo must name two more groups")), "{name}: {new:?}");
    }
    let fixed = |(new, old): (Vec<String>, Vec<String>)| {
        assert!(
            new.is_empty() && old.iter().any(|why| why.contains("the slots of spec.geo cannot be changed")),
            "{old:?}"
        );
    };
    fixed(changed(&|spec| spec["geo"]["stage"]["endpoint"] = "other".into()));
    fixed(changed(&|spec| drop(spec.as_object_mut().unwrap().remove("geo"))));
    let (new, old) = changed(&|spec| spec["geo"]["requireDrBeforeSwitch"] = false.into());
    assert_eq!((new, old), (vec![], vec![]));
}
