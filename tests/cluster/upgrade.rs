//! Staged upgrades of an application and its databases, on the cluster: two groups, two versions, one front Service.

use serde_json::Value;

use crate::{shop::*, support::*};

pub(crate) const UPGRADE: [&str; 4] = ["rollingupgrade", "-n", NAMESPACE, "shop-v2"];

/// Both versions of the application, each with its Service.
pub(crate) fn applications(namespace: &str, versions: [&str; 2]) -> String {
    let version = |version: &str| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: shop-{version}, namespace: {namespace}}}
spec: {{selector: {{app: shop, version: {version}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop-{version}, namespace: {namespace}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: shop, version: {version}}}}}
  template:
    metadata: {{labels: {{app: shop, version: {version}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext: {{runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: shop
        image: lab.local/lab:dev
        imagePullPolicy: Never
        args: [serve]
        securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1, failureThreshold: 1}}
        volumeMounts: [{{name: data, mountPath: /data}}]
      volumes: [{{name: data, emptyDir: {{}}}}]
"
        )
    };
    versions.map(version).join("---\n")
}

/// The example as it is shipped, with the stand-in as image and every step automatic.
pub(crate) fn upgrade() -> String {
    with_the_stand_in(include_str!("../../deploy/examples/staged-upgrade.yaml"))
        .replace("switch: Manual, retire: Manual", "switch: Automatic, retire: Automatic")
}

pub(crate) fn status() -> Result<Value, String> {
    Ok(try_kubectl_json(&[&["get"], UPGRADE.as_slice()].concat())?["status"].clone())
}

/// Waits until the upgrade is over, well or not.
pub(crate) fn ends_in(step: &str) -> Value {
    wait_until(180, step, || {
        let status = status()?;
        if status["step"] == step { Ok(status) } else { Err(status.to_string()) }
    })
}

/// One step a line, and how long production was read-only.
pub(crate) fn tell(status: &Value) {
    for step in status["steps"].as_array().unwrap() {
        println!("{:>20} {} ms", text(step, "/name"), step["took"].as_i64().unwrap_or_default());
    }
    println!("read-only {} s, of it {} ms", status["readOnly"]["seconds"], status["readOnly"]["parts"]);
}

/// Names of the ready pods that the front Service leads to.
fn behind_the_front() -> Vec<String> {
    let slices = kubectl_json(&["get", "endpointslices", "-n", NAMESPACE, "-l", "kubernetes.io/service-name=shop"]);
    let endpoints = slices["items"].as_array().unwrap().iter().filter_map(|slice| slice["endpoints"].as_array());
    endpoints.flatten().map(|endpoint| text(endpoint, "/targetRef/name").to_owned()).collect()
}

#[test]
#[ignore = "needs the lab"]
fn a_new_version_is_switched_in_with_everything_that_was_acknowledged() {
    let (_namespace, _healed, _) = ready_group();
    apply(&applications(NAMESPACE, ["v1", "v2"]));
    let mut writer = Writer::start();
    apply(&upgrade());
    let status = ends_in("Succeeded");
    tell(&status);
    assert_eq!(status["online"], "shop-v2");
    let pods = behind_the_front();
    assert!(!pods.is_empty() && pods.iter().all(|pod| pod.starts_with("shop-v2-")), "{pods:?}");
    let report = writer.check("a staged upgrade", "orders-v2");
    println!("{} acknowledged on the old version, every one is on the new one", report["acknowledged"]);
    let refused = try_sql_as(("sa", &password()), "orders", "CREATE TABLE dbo.late (id int)");
    assert!(refused.is_err(), "the old version still takes writes: {refused:?}");
}

#[test]
#[ignore = "needs the lab"]
fn a_script_that_fails_gives_production_its_writers_back_and_a_corrected_one_starts_over() {
    let (_namespace, _healed, _) = ready_group();
    apply(&applications(NAMESPACE, ["v1", "v2"]));
    let mut writer = Writer::start();
    apply(&upgrade().replace("CREATE TABLE dbo.invoice (id bigint NOT NULL PRIMARY KEY);", "SELECT 1 / 0;"));
    let status = ends_in("RolledBack");
    tell(&status);
    assert_eq!(status["online"], "shop-v1");
    let failure = status["record"]["failure"].clone();
    assert_eq!(failure["reason"], "ScriptFailed", "{failure}");
    assert!(text(&failure, "/message").contains("8134"), "{failure}");
    writer.wait_for_more("writes on the old version again");
    apply(&upgrade());
    let status = ends_in("Succeeded");
    tell(&status);
    assert_eq!((status["attempt"].as_i64(), status["online"].as_str()), (Some(2), Some("shop-v2")));
    let report = writer.check("a second attempt", "orders-v2");
    println!("{} acknowledged on the old version, every one is on the new one", report["acknowledged"]);
    let moved = upgrade().replace("endpoint: shop-v2", "endpoint: shop-v3");
    let refused = try_apply(&moved).expect_err("an endpoint was changed");
    assert!(
        refused.contains("spec.production, spec.stage, spec.traffic and the slots of spec.geo cannot be changed"),
        "{refused}"
    );
}
