//! The writing verbs.

use super::{
    kind::Kind,
    merge::{give_up, merge},
    owners::{Owner, Owners, after_apply, after_update, difference, unowned_stripped},
    patch::{json_patch, merge_patch},
    request::{Request, Verb},
    shape::{Place, field_set},
    status::Failure,
    store::{Key, Outcome, Sort, Store, Stored},
    strategy::{check_update, complete, count_generation, restrict, tidy, unknown_fields},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

impl Store {
    /// Carries out a writing request of `client`.
    pub fn write(&mut self, client: &str, request: &Request) -> Result<Outcome, Failure> {
        let kind = self.kind_of(request)?;
        let served = match request.subresource.as_str() {
            "" | "*" => true,
            "status" => kind.status,
            _ => false,
        };
        if !served {
            return Err(Failure::no_such_resource());
        }
        self.check_body(&kind, request)?;
        let manager = if request.manager().is_empty() { client } else { request.manager() };
        let subresource = request.subresource.trim_matches('*');
        let who = Owner::new(manager, request.verb == Verb::Apply, subresource);
        match request.verb {
            Verb::Create => self.create(&kind, request, &who),
            Verb::Apply => self.apply(&kind, request, &who),
            Verb::Delete => self.delete(&kind, request),
            _ => self.update(&kind, request, &who),
        }
    }

    fn check_body(&self, kind: &Kind, request: &Request) -> Result<(), Failure> {
        if matches!(request.verb, Verb::Create | Verb::Replace | Verb::Apply) {
            let body = &request.body;
            if body["apiVersion"] != kind.api_version().as_str() || body["kind"] != kind.kind.as_str() {
                let found = format!("{} {}", body["apiVersion"], body["kind"]);
                return Err(Failure::bad_request(format!(
                    "{found} in the body is not {} in the path",
                    kind.full_name()
                )));
            }
            for (field, wanted) in [("name", &request.name), ("namespace", &request.namespace)] {
                let said = body["metadata"][field].as_str().unwrap_or_default();
                if !said.is_empty() && !wanted.is_empty() && said != wanted {
                    return Err(Failure::bad_request(format!("metadata.{field} does not match the path")));
                }
            }
            if request.parameter("fieldValidation") == "Strict" {
                let unknown = unknown_fields(kind, body);
                if !unknown.is_empty() {
                    let list: Vec<_> = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
                    return Err(Failure::bad_request(format!("strict decoding error: {}", list.join(", "))));
                }
            }
        }
        Ok(())
    }

    fn create(&mut self, kind: &Kind, request: &Request, who: &Owner) -> Result<Outcome, Failure> {
        let mut object = request.body.clone();
        if object["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if kind.status && request.subresource != "*" {
            object.as_object_mut().unwrap().remove("status");
        }
        self.admit_namespace(kind, &request.namespace)?;
        let name = complete(self, kind, &request.namespace, &mut object)?;
        let key = Key { name: name.clone(), ..self.key(kind, request) };
        if self.objects.contains_key(&key) {
            return Err(Failure::already_exists(kind, &name));
        }
        let owners = after_update(&Owners::default(), who, &difference(kind, &json!({}), &object), &self.clock.stamp());
        Ok(self.commit(kind, &key, Sort::Added, Stored { object: object.into(), owners }))
    }

    fn admit_namespace(&self, kind: &Kind, namespace: &str) -> Result<(), Failure> {
        if !kind.namespaced {
            return Ok(());
        }
        let namespaces = self.kind_named("namespaces");
        let key = Key { resource: "namespaces".into(), namespace: String::new(), name: namespace.into() };
        self.objects.get(&key).map(|_| ()).ok_or_else(|| Failure::not_found(&namespaces, namespace))
    }

    fn current(&self, kind: &Kind, key: &Key) -> Result<Stored, Failure> {
        self.objects.get(key).cloned().ok_or_else(|| Failure::not_found(kind, &key.name))
    }

    /// PUT, merge patch and JSON patch.
    fn update(&mut self, kind: &Kind, request: &Request, who: &Owner) -> Result<Outcome, Failure> {
        let key = self.key(kind, request);
        let current = self.current(kind, &key)?;
        let proposed = match request.verb {
            Verb::Replace => {
                let version = request.body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                if version.is_empty() && kind.versioned_update && request.subresource != "*" {
                    let why = "Invalid value: 0: must be specified for an update";
                    return Err(Failure::invalid(kind, &key.name, "metadata.resourceVersion", why));
                }
                request.body.clone()
            }
            Verb::MergePatch => {
                let mut object = Value::clone(&current.object);
                merge_patch(&mut object, &request.body);
                object
            }
            _ => {
                let mut object = Value::clone(&current.object);
                json_patch(&mut object, &request.body)?;
                object
            }
        };
        self.check_preconditions(kind, &key, &current.object, &proposed["metadata"])?;
        let mut after = restrict(kind, &request.subresource, &current.object, proposed);
        tidy(kind, &mut after);
        let owners =
            after_update(&current.owners, who, &difference(kind, &current.object, &after), &self.clock.stamp());
        self.finish(kind, &key, &current, after, owners)
    }

    /// The version and UID in `metadata` must be those of the object, when they are given.
    fn check_preconditions(&self, kind: &Kind, key: &Key, object: &Value, metadata: &Value) -> Result<(), Failure> {
        for field in ["uid", "resourceVersion"] {
            let wanted = metadata[field].as_str().unwrap_or_default();
            if wanted.is_empty() || object["metadata"][field] == wanted {
                continue;
            }
            return Err(if field == "uid" {
                let found = &object["metadata"]["uid"];
                Failure::conflict(
                    kind,
                    &key.name,
                    &format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"),
                )
            } else {
                Failure::stale(kind, &key.name)
            });
        }
        Ok(())
    }

    /// Server-side apply.
    fn apply(&mut self, kind: &Kind, request: &Request, who: &Owner) -> Result<Outcome, Failure> {
        if request.manager().is_empty() {
            return Err(Failure::new(
                422,
                "Invalid",
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value",
            ));
        }
        let key = self.key(kind, request);
        let applied = applicable(kind, &request.subresource, &request.body);
        let Some(current) = self.objects.get(&key).cloned() else {
            return self.create_by_apply(kind, request, who, &key, &applied);
        };
        self.check_preconditions(kind, &key, &current.object, &request.body["metadata"])?;
        let place = Place::root(kind);
        let fields = field_set(&place, &applied);
        let mut merged = merge(&place, &current.object, &applied, true);
        let others = current.owners.fields_of_others(who);
        give_up(&place, &mut merged, &current.owners.fields_of(who), &fields, &others).map_err(|map| {
            let why = format!("{map}: Invalid value: \"null\": must be of type object: \"null\"");
            Failure::new(422, "Invalid", format!("{} {:?} is invalid: {why}", kind.kind, key.name))
        })?;
        let mut after = restrict(kind, &request.subresource, &current.object, merged);
        tidy(kind, &mut after);
        let difference = difference(kind, &current.object, &after);
        let force = request.parameter("force") == "true";
        let owners = after_apply(&current.owners, who, fields, &difference, force, &self.clock.stamp())?;
        self.finish(kind, &key, &current, after, owners)
    }

    fn create_by_apply(
        &mut self,
        kind: &Kind,
        request: &Request,
        who: &Owner,
        key: &Key,
        applied: &Value,
    ) -> Result<Outcome, Failure> {
        if !request.subresource.is_empty() {
            return Err(Failure::not_found(kind, &key.name));
        }
        let said = |field: &str| request.body["metadata"][field].as_str().is_some_and(|value| !value.is_empty());
        if said("uid") || said("resourceVersion") {
            return Err(Failure::conflict(kind, &key.name, "uid mismatch: no existing object was found"));
        }
        self.admit_namespace(kind, &request.namespace)?;
        let mut object = applied.clone();
        object["metadata"]["name"] = key.name.clone().into();
        complete(self, kind, &request.namespace, &mut object)?;
        let mut owners = Owners::default();
        let fields = field_set(&Place::root(kind), applied);
        owners.assign(who, fields, &super::fieldset::FieldSet::default(), &self.clock.stamp());
        Ok(self.commit(kind, key, Sort::Added, Stored { object: object.into(), owners }))
    }

    /// Stores an update unless it changes nothing.
    fn finish(
        &mut self,
        kind: &Kind,
        key: &Key,
        current: &Stored,
        mut after: Value,
        owners: Owners,
    ) -> Result<Outcome, Failure> {
        check_update(kind, &key.name, &current.object, &after)?;
        count_generation(kind, &current.object, &mut after);
        if after == *current.object && owners == current.owners {
            return Ok(Outcome { code: 200, body: current.object.clone(), diff: None });
        }
        let stored = Stored { object: after.into(), owners };
        let sort = if may_go(kind, &stored.object) { Sort::Deleted } else { Sort::Modified };
        Ok(self.commit(kind, key, sort, stored))
    }

    fn delete(&mut self, kind: &Kind, request: &Request) -> Result<Outcome, Failure> {
        let key = self.key(kind, request);
        let mut current = self.current(kind, &key)?;
        let option = |name: &str| match &request.body[name] {
            Value::Null => {
                request.query.get(name).map(|text| serde_json::from_str(text).unwrap_or(Value::from(text.clone())))
            }
            value => Some(value.clone()),
        };
        self.check_preconditions(kind, &key, &current.object, &option("preconditions").unwrap_or_default())?;
        let before = current.clone();
        let grace = grace(kind, &current.object, option("gracePeriodSeconds").and_then(|seconds| seconds.as_u64()));
        let add_finalizer = match option("propagationPolicy").as_ref().and_then(Value::as_str) {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        let metadata = Arc::make_mut(&mut current.object)["metadata"].as_object_mut().unwrap();
        if let Some(finalizer) = add_finalizer {
            let list = metadata.entry("finalizers").or_insert_with(|| json!([])).as_array_mut().unwrap();
            if !list.iter().any(|known| known == finalizer) {
                list.push(finalizer.into());
            }
        }
        let sooner = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_u64).is_none_or(|set| grace < set);
        if !metadata.contains_key("deletionTimestamp") || sooner {
            let at = self.clock.stamp_after(Duration::from_secs(grace));
            metadata.insert("deletionTimestamp".into(), at.into());
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
            if kind.generation {
                let generation = metadata.get("generation").and_then(Value::as_u64).unwrap_or_default() + 1;
                metadata.insert("generation".into(), generation.into());
            }
        }
        if may_go(kind, &current.object) {
            let uid = current.object["metadata"]["uid"].clone();
            let outcome =
                self.commit(kind, &key, Sort::Deleted, Stored { object: before.object, owners: before.owners });
            let details = json!({"name": key.name, "group": kind.group, "kind": kind.plural, "uid": uid});
            let body =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            return Ok(Outcome { body: body.into(), ..outcome });
        }
        if current == before {
            return Ok(Outcome { code: 200, body: before.object, diff: None });
        }
        Ok(self.commit(kind, &key, Sort::Modified, current))
    }
}

/// What of an applied object counts at this door.
fn applicable(kind: &Kind, subresource: &str, body: &Value) -> Value {
    let mut applied = unowned_stripped(body);
    let fields = applied.as_object_mut().unwrap();
    match subresource {
        "status" => fields.retain(|name, _| name == "status"),
        _ if kind.status => {
            fields.remove("status");
        }
        _ => {}
    }
    applied
}

/// Grace period of a deletion, in seconds: pods on a node have one, everything else goes at once.
fn grace(kind: &Kind, object: &Value, asked: Option<u64>) -> u64 {
    if kind.kind != "Pod" || object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return 0;
    }
    asked.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30)
}

/// Whether a deletion that was asked for can be completed.
fn may_go(kind: &Kind, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let graceful =
        kind.kind == "Pod" && metadata["deletionGracePeriodSeconds"].as_u64().is_some_and(|seconds| seconds > 0);
    let finalized = metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
    metadata["deletionTimestamp"].is_string() && finalized && !graceful
}
