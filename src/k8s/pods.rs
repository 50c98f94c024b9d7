//! Pods of a group: what their kubelets say, their labels, our readiness gate.

use super::{Error, Kube, apply::Outcome, manager};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::collections::BTreeMap;

/// A pod as Kubernetes knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// The main container runs.
    pub running: bool,
    /// Its kubelet, on a Ready node, says that the main container terminated and does not run.
    pub terminated: bool,
    /// How often the main container was restarted.
    pub restarts: i32,
    /// It is being deleted.
    pub deleting: bool,
    /// Our gate.
    pub gate: Option<bool>,
    /// Why it does not run; empty when it does.
    pub trouble: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its node.
    pub node: Option<String>,
}

impl Kube {
    /// Pods of a group by name. `container` is the one that runs SQL Server.
    pub async fn pods(
        &self,
        namespace: &str,
        selector: &str,
        container: &str,
        gate: &str,
    ) -> Result<BTreeMap<String, PodView>, Error> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let list =
            self.look(&format!("Pods in {namespace}"), api.list(&ListParams::default().labels(selector))).await?;
        Ok(list.items.iter().map(|pod| (pod.name_any(), view(pod, container, gate))).collect())
    }

    /// Whether a node is Ready. `false`: not, or unknown.
    pub async fn node_ready(&self, name: &str) -> Result<bool, Error> {
        let api: Api<Node> = Api::all(self.client());
        let node = self.look(&format!("Node {name}"), api.get_opt(name)).await?;
        let conditions = node.and_then(|node| node.status).and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
    }

    /// Labels a pod.
    pub async fn label(&self, namespace: &str, pod: &str, labels: &BTreeMap<String, String>) -> Result<Outcome, Error> {
        let fields = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": pod, "namespace": namespace, "labels": labels } });
        self.apply_fields(&fields, manager::ROUTE).await
    }

    /// Sets our readiness gate. `at`: RFC 3339, the moment of the flip.
    pub async fn gate(&self, namespace: &str, pod: &str, gate: &str, ready: bool, at: &str) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let status = if ready { "True" } else { "False" };
        let patch = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": pod, "namespace": namespace },
            "status": { "conditions": [{ "type": gate, "status": status, "lastTransitionTime": at }] },
        });
        let params = PatchParams::apply(manager::GATE).force().validation_strict();
        self.write(&format!("Pod {namespace}/{pod}"), api.patch_status(pod, &params, &Patch::Apply(&patch))).await?;
        Ok(())
    }
}

/// What a pod object says.
pub fn view(pod: &Pod, container: &str, gate: &str) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let conditions: Vec<PodCondition> = status.conditions.unwrap_or_default();
    let main = status.container_statuses.unwrap_or_default().into_iter().find(|status| status.name == container);
    let state = main.as_ref().and_then(|main| main.state.clone()).unwrap_or_default();
    let running = state.running.is_some();
    let terminated = state.terminated.clone().map(|end| format!("container ended with exit code {}", end.exit_code));
    let waiting = state.waiting.and_then(|waiting| waiting.reason);
    let unscheduled =
        conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let unscheduled = unscheduled.and_then(|condition| condition.message.clone());
    let trouble = if running {
        String::new()
    } else {
        terminated.or(waiting).or(unscheduled).unwrap_or_else(|| "starting".into())
    };
    PodView {
        running,
        // CrashLoopBackOff: waiting, and the last state is terminated.
        terminated: !running
            && main.as_ref().is_some_and(|main| {
                state.terminated.is_some() || main.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
            }),
        restarts: main.as_ref().map_or(0, |main| main.restart_count),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        gate: conditions.iter().find(|condition| condition.type_ == gate).map(|condition| condition.status == "True"),
        trouble,
        labels: pod.labels().clone(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
    }
}
