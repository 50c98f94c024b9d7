//! Volumes, resources and pod fields of a spec, by mode.

use super::{Court, counts};
use crate::{
    api::v1alpha1::{
        AvailabilityGroupSpec,
        pods::{PodTemplate, Resources, Storage},
    },
    model::{Mode, group::PodSettings, quantity},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Least memory that SQL Server starts with, MiB.
const LEAST_MEMORY_MIB: u64 = 2048;

/// The parts of one block: each in place of the group's, or the group's.
struct Block<'a> {
    at: &'a str,
    storage: &'a Storage,
    resources: &'a Resources,
    pod: Option<&'a PodTemplate>,
}

pub(super) fn by_mode(court: &mut Court, spec: &AvailabilityGroupSpec) -> BTreeMap<Mode, PodSettings> {
    let (s, a, c) = counts(spec);
    let mut found = BTreeMap::new();
    let mut add = |mode, count: i64, at, storage: Option<_>, resources: Option<_>, pod: Option<_>| {
        let block = Block {
            at,
            storage: storage.unwrap_or(&spec.storage),
            resources: resources.unwrap_or(&spec.resources),
            pod: pod.or(spec.pod.as_ref()),
        };
        if count > 0 {
            found.insert(mode, settings(court, mode, &block));
        }
    };
    let block = &spec.synchronous;
    let at = |own: bool, path| if own { path } else { "spec" };
    add(
        Mode::Synchronous,
        s,
        at(block.storage.is_some() || block.resources.is_some(), "spec.synchronous"),
        block.storage.as_ref(),
        block.resources.as_ref(),
        block.pod.as_ref(),
    );
    if let Some(block) = &spec.asynchronous {
        add(
            Mode::Asynchronous,
            a,
            at(block.storage.is_some() || block.resources.is_some(), "spec.asynchronous"),
            block.storage.as_ref(),
            block.resources.as_ref(),
            block.pod.as_ref(),
        );
    }
    if let Some(block) = &spec.configuration_only {
        add(
            Mode::ConfigurationOnly,
            c,
            at(block.storage.is_some() || block.resources.is_some(), "spec.configurationOnly"),
            block.storage.as_ref(),
            block.resources.as_ref(),
            block.pod.as_ref(),
        );
    }
    found
}

fn settings(court: &mut Court, mode: Mode, block: &Block<'_>) -> PodSettings {
    let at = block.at;
    size(court, &format!("{at}.storage.size"), &block.storage.size);
    if let Some(log) = &block.storage.log {
        size(court, &format!("{at}.storage.log.size"), &log.size);
    }
    let memory_limit_mib = memory(court, at, block.resources);
    let resources = serde_json::to_value(block.resources).unwrap_or_default();
    PodSettings {
        storage_size: block.storage.size.clone(),
        storage_class: block.storage.storage_class_name.clone(),
        // A configuration-only replica has no databases, so no logs worth a volume.
        log_size: block.storage.log.as_ref().filter(|_| mode.holds_data()).map(|log| log.size.clone()),
        resources,
        memory_limit_mib,
        pod: pod(court, at, block.pod),
        require_spread: block.pod.and_then(|pod| pod.require_spread).unwrap_or_default(),
    }
}

fn size(court: &mut Court, field: &str, text: &str) {
    let good = quantity::parse(text).is_some_and(|bytes| bytes > 0.0);
    court.require(good, field, &format!("is {text:?}, not a quantity above 0"), "write it as in 20Gi");
}

/// `limits.memory` in MiB; refuses what is no quantity, too little, or less than what is requested.
fn memory(court: &mut Court, at: &str, resources: &Resources) -> u64 {
    for (kind, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (name, amount) in amounts {
            let field = format!("{at}.resources.{kind}.{name}");
            court.require(
                quantity::parse(&amount.0).is_some(),
                &field,
                "is not a quantity",
                "write it as in 4Gi or 500m",
            );
            let limit = resources.limits.get(name).and_then(|limit| quantity::parse(&limit.0));
            let above = kind == "requests"
                && limit.zip(quantity::parse(&amount.0)).is_some_and(|(limit, request)| request > limit);
            court.require(!above, &field, "is more than the limit", "lower it, or raise the limit");
        }
    }
    let bytes = resources.limits.get("memory").and_then(|limit| quantity::parse(&limit.0)).unwrap_or(0.0);
    let mib = (bytes / 1024.0 / 1024.0) as u64;
    court.require(
        mib >= LEAST_MEMORY_MIB,
        &format!("{at}.resources.limits.memory"),
        "must be at least 2Gi: SQL Server does not start with less and must know its limit",
        "set it",
    );
    mib
}

/// Pod fields as the objects take them.
fn pod(court: &mut Court, at: &str, pod: Option<&PodTemplate>) -> serde_json::Map<String, Value> {
    let Some(pod) = pod else { return serde_json::Map::new() };
    for key in pod.labels.keys() {
        let ours = key.starts_with("app.kubernetes.io/") || key.starts_with("quorate.dev/");
        court.require(!ours, &format!("{at}.pod.labels[{key:?}]"), "is set by the operator", "remove it");
    }
    match serde_json::to_value(pod) {
        Ok(Value::Object(mut map)) => {
            map.remove("requireSpread");
            map.retain(|_, value| value.as_str() != Some(""));
            map
        }
        _ => serde_json::Map::new(),
    }
}
