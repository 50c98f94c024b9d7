//! The reading verbs, and the log as watches see it.

use super::{
    kind::Kind,
    request::{Request, Verb},
    selector::Selector,
    status::Failure,
    store::{Change, Outcome, Sort, Store},
};
use serde_json::{Value, json};
use std::sync::Arc;

impl Store {
    /// Carries out a GET or LIST.
    pub fn read(&self, request: &Request) -> Result<Outcome, Failure> {
        let kind = self.kind_of(request)?;
        let body =
            if request.verb == Verb::Get { self.get(&kind, request)? } else { self.list(&kind, request)?.into() };
        Ok(Outcome { code: 200, body, diff: None })
    }

    fn get(&self, kind: &Kind, request: &Request) -> Result<Arc<Value>, Failure> {
        let key = self.key(kind, request);
        let stored = self.objects.get(&key).ok_or_else(|| Failure::not_found(kind, &key.name))?;
        Ok(view(&stored.object, request.metadata_only))
    }

    fn list(&self, kind: &Kind, request: &Request) -> Result<Value, Failure> {
        let selector = selector(request)?;
        let items: Vec<Value> = self
            .all(kind, &request.namespace)
            .filter(|object| selector.selects(object))
            .map(|object| Value::clone(&view(object, request.metadata_only)))
            .collect();
        let (api_version, list) = if request.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
        } else {
            (kind.api_version(), format!("{}List", kind.kind))
        };
        let metadata = json!({"resourceVersion": self.revision.to_string()});
        Ok(json!({"apiVersion": api_version, "kind": list, "metadata": metadata, "items": items}))
    }
}

/// The selector of a list or watch.
pub fn selector(request: &Request) -> Result<Selector, Failure> {
    let mut fields = request.parameter("fieldSelector").to_owned();
    if !request.name.is_empty() {
        fields = format!("metadata.name={}", request.name);
    }
    Selector::parse(request.parameter("labelSelector"), &fields)
}

/// An object as this reader wants it.
pub fn view(object: &Arc<Value>, metadata_only: bool) -> Arc<Value> {
    if metadata_only {
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]}).into()
    } else {
        object.clone()
    }
}

/// A change as one watch sees it: objects come into and fall out of its selection.
pub fn as_seen(change: &Change, selector: &Selector) -> Option<(&'static str, Arc<Value>)> {
    let before = change.sort != Sort::Added && change.before.as_ref().is_some_and(|object| selector.selects(object));
    let after = change.sort != Sort::Deleted && selector.selects(&change.object);
    match (before, after) {
        (false, true) => Some(("ADDED", change.object.clone())),
        (true, true) => Some(("MODIFIED", change.object.clone())),
        (true, false) => {
            let mut last = change.before.clone().unwrap_or_default();
            Arc::make_mut(&mut last)["metadata"]["resourceVersion"] = change.revision.to_string().into();
            Some(("DELETED", last))
        }
        (false, false) => None,
    }
}
