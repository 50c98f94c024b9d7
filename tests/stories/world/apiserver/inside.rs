//! The store as the controllers of the world use it: at once, without a network and without faults.

use super::{
    ApiServer,
    request::{Request, Verb},
    status::Failure,
    store::Key,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

impl ApiServer {
    fn inner_request(&self, verb: Verb, plural: &str, namespace: &str, name: &str, body: Value) -> Request {
        let kind = self.store().kind_named(plural);
        Request {
            verb,
            group: kind.group.clone(),
            version: kind.version.clone(),
            plural: kind.plural.clone(),
            namespace: namespace.into(),
            name: name.into(),
            subresource: "*".into(),
            query: BTreeMap::new(),
            metadata_only: false,
            body,
        }
    }

    /// One object, if it exists.
    pub fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let store = self.store();
        let kind = store.kind_named(plural);
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        store
            .objects
            .get(&Key { resource: kind.full_name(), namespace, name: name.into() })
            .map(|stored| stored.object.clone())
    }

    /// All objects of a kind, in the order of their names; an empty namespace means all.
    pub fn all(&self, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let store = self.store();
        let kind = store.kind_named(plural);
        store.all(&kind, namespace).cloned().collect()
    }

    /// Creates an object, status and all. It must not exist.
    pub fn make(&self, who: &str, object: Value) -> Arc<Value> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let plural = {
            let store = self.store();
            store.kinds.iter().find(|k| k.kind == kind).unwrap_or_else(|| panic!("no kind {kind}")).plural.clone()
        };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let request = self.inner_request(Verb::Create, &plural, &namespace, "", object);
        self.perform(who, &request).unwrap_or_else(|failure| panic!("{request}: {}", failure.message)).body
    }

    /// Changes an object, status and all, if it exists.
    pub fn change(
        &self,
        who: &str,
        plural: &str,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let Some(before) = self.find(plural, namespace, name) else { return false };
        let mut object = Value::clone(&before);
        change(&mut object);
        if object == *before {
            return true;
        }
        let request = self.inner_request(Verb::Replace, plural, namespace, name, object);
        self.perform(who, &request).unwrap_or_else(|failure| panic!("{request}: {}", failure.message));
        true
    }

    /// Applies a manifest as a person does with `kubectl apply --server-side --force-conflicts`.
    pub fn kubectl_apply(&self, manifest: &Value) -> Result<Arc<Value>, Failure> {
        let kind = manifest["kind"].as_str().unwrap_or_default();
        let plural = {
            let store = self.store();
            store.kinds.iter().find(|k| k.kind == kind).ok_or_else(Failure::no_such_resource)?.plural.clone()
        };
        let text = |field: &str| manifest["metadata"][field].as_str().unwrap_or_default().to_owned();
        let mut request = self.inner_request(Verb::Apply, &plural, &text("namespace"), &text("name"), manifest.clone());
        request.subresource.clear();
        request.query = [("fieldManager", "kubectl"), ("force", "true"), ("fieldValidation", "Strict")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        self.perform("kubectl", &request).map(|outcome| outcome.body)
    }

    /// Deletes an object if it exists. `grace` overrides the grace period of a pod.
    pub fn remove(&self, who: &str, plural: &str, namespace: &str, name: &str, grace: Option<u64>) -> bool {
        let body = grace.map_or(Value::Null, |seconds| json!({"gracePeriodSeconds": seconds}));
        let request = self.inner_request(Verb::Delete, plural, namespace, name, body);
        self.perform(who, &request).is_ok()
    }
}
