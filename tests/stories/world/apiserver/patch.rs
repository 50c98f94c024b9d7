//! Merge patches and JSON patches.

use super::status::Failure;
use serde_json::Value;

/// RFC 7386.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let object = target.as_object_mut().unwrap();
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge_patch(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902. A failed `test` is 422, as the API server answers it.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Failure> {
    let steps = patch.as_array().ok_or_else(|| Failure::bad_request("a JSON patch is a list"))?;
    for step in steps {
        let refused = |why: &str| {
            let message = format!("the server rejected our request due to an error in our request: {why}: {step}");
            Failure::new(422, "Invalid", message)
        };
        let path = step["path"].as_str().ok_or_else(|| refused("no path"))?;
        match step["op"].as_str() {
            Some("test") if target.pointer(path).unwrap_or(&Value::Null) == &step["value"] => {}
            Some("test") => return Err(refused("testing value failed")),
            Some("add") => add(target, path, step["value"].clone()).ok_or_else(|| refused("cannot add"))?,
            Some("remove") => {
                take(target, path).ok_or_else(|| refused("cannot remove"))?;
            }
            Some("replace") => {
                *target.pointer_mut(path).ok_or_else(|| refused("nothing there"))? = step["value"].clone()
            }
            Some(op @ ("move" | "copy")) => {
                let from = step["from"].as_str().ok_or_else(|| refused("no from"))?;
                let value = if op == "move" { take(target, from) } else { target.pointer(from).cloned() };
                add(target, path, value.ok_or_else(|| refused("nothing there"))?)
                    .ok_or_else(|| refused("cannot add"))?;
            }
            _ => return Err(refused("unknown operation")),
        }
    }
    Ok(())
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *target = value;
        return Some(());
    }
    let (parent, last) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at = last.parse::<usize>().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(fields) => fields.remove(&last),
        Value::Array(items) => {
            let at = last.parse::<usize>().ok().filter(|at| *at < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}
