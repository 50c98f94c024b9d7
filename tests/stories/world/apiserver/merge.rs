//! The value side of server-side apply: merging what is applied, removing what was given up.

use super::{
    fieldset::{FieldSet, Path, Step, render},
    shape::{Place, Shape, key_step},
};
use serde_json::Value;

/// `live` with everything that `applied` says.
pub fn merge(place: &Place<'_>, live: &Value, applied: &Value, at_root: bool) -> Value {
    match (place.shape(applied), live, applied) {
        (Shape::Fields, Value::Object(old), Value::Object(new)) => {
            let mut merged = old.clone();
            for (name, value) in new {
                let below = place.into(&Step::Field(name.clone()), at_root);
                let before = old.get(name).unwrap_or(&Value::Null);
                merged.insert(name.clone(), merge(&below, before, value, false));
            }
            Value::Object(merged)
        }
        (Shape::ListMap(keys), Value::Array(old), Value::Array(new)) => {
            let step = |item: &Value| key_step(&keys, item);
            let merged_item = |item: &Value| {
                let before = old.iter().find(|candidate| step(candidate) == step(item)).unwrap_or(&Value::Null);
                merge(&place.into(&step(item), false), before, item, false)
            };
            Value::Array(interleave(old, new, step, merged_item))
        }
        (Shape::Set, Value::Array(old), Value::Array(new)) => {
            Value::Array(interleave(old, new, |item| Step::Item(item.to_string()), Clone::clone))
        }
        _ => applied.clone(),
    }
}

/// Elements of both lists: the shared ones in the applied order, the others where they stood, new ones after the
/// element they follow.
fn interleave(
    old: &[Value],
    new: &[Value],
    step: impl Fn(&Value) -> Step,
    merged: impl Fn(&Value) -> Value,
) -> Vec<Value> {
    let has = |list: &[Value], item: &Value| list.iter().any(|other| step(other) == step(item));
    let mut shared = new.iter().filter(|item| has(old, item));
    let mut out: Vec<Value> = old
        .iter()
        .map(
            |item| {
                if has(new, item) { shared.next().map(&merged).unwrap_or_else(|| item.clone()) } else { item.clone() }
            },
        )
        .collect();
    for (index, item) in new.iter().enumerate().filter(|(_, item)| !has(old, item)) {
        let after = new[..index].last().and_then(|before| out.iter().position(|other| step(other) == step(before)));
        let at =
            if index == 0 && out.iter().any(|other| has(new, other)) { 0 } else { after.map_or(out.len(), |i| i + 1) };
        out.insert(at, merged(item));
    }
    out
}

/// Removes what was owned before, is not applied now, and belongs to nobody else. Error: the map that is null then and must not
/// be.
pub fn give_up(
    place: &Place<'_>,
    object: &mut Value,
    before: &FieldSet,
    now: &FieldSet,
    others: &FieldSet,
) -> Result<(), String> {
    let kept = now.union(others);
    for path in &before.minus(now).0 {
        if kept.reaches_below(path) {
            continue;
        }
        if !matches!(path.last(), Some(Step::Key(_))) && is_key_of_kept_element(path, &kept) {
            continue;
        }
        remove(place, object, path, true);
        let emptied = (1..path.len()).map(|steps| &path[..steps]).find(|map| kept.0.contains(*map));
        if let Some(map) = emptied {
            leave_null(place, object, map, true).map_err(|()| render(&map.to_vec()))?;
        }
    }
    Ok(())
}

/// A map that is still applied, and empty now, is null (structured-merge-diff, `removingWalker.doMap`). A custom resource takes
/// that only where its schema names no type. Seen on Kubernetes 1.34.
fn leave_null(place: &Place<'_>, object: &mut Value, path: &[Step], at_root: bool) -> Result<(), ()> {
    let (Some((first @ Step::Field(name), rest)), Value::Object(fields)) = (path.split_first(), object) else {
        return Ok(());
    };
    let below = place.into(first, at_root);
    match (&below, rest.is_empty()) {
        (_, false) => fields.get_mut(name).map_or(Ok(()), |child| leave_null(&below, child, rest, false)),
        (Place::Builtin(_), true) => Ok(()),
        (Place::Custom(node), true) if node["type"] == "object" => Err(()),
        (Place::Custom(_), true) => {
            fields.entry(name.clone()).or_insert(Value::Null);
            Ok(())
        }
    }
}

fn is_key_of_kept_element(path: &Path, kept: &FieldSet) -> bool {
    let Some((Step::Field(name), element)) = path.split_last() else { return false };
    let Some(Step::Key(keys)) = element.last() else { return false };
    let keys: Value = serde_json::from_str(keys).unwrap_or_default();
    keys.get(name).is_some() && kept.reaches_below(&element.to_vec())
}

/// Removes one field; a map or list that becomes empty goes with it.
fn remove(place: &Place<'_>, value: &mut Value, path: &[Step], at_root: bool) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let below = place.into(first, at_root);
    match (first, &mut *value) {
        (Step::Field(name), Value::Object(fields)) => {
            if let Some(child) = fields.get_mut(name)
                && remove(&below, child, rest, false)
            {
                fields.remove(name);
            }
            fields.is_empty()
        }
        (step, Value::Array(items)) => {
            let shape = place.shape(&Value::Array(items.clone()));
            let at = items.iter().position(|item| match &shape {
                Shape::ListMap(keys) => key_step(keys, item) == *step,
                _ => Step::Item(item.to_string()) == *step,
            });
            if let Some(at) = at
                && remove(&below, &mut items[at], rest, false)
            {
                items.remove(at);
            }
            items.is_empty()
        }
        _ => false,
    }
}
