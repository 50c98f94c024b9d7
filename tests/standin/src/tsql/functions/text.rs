//! Functions on text.

use super::{Arguments, arg, count, float, plain_text, text1};
use crate::errors::{Message, SqlResult};
use rusqlite::types::Value;

/// Text that is compared without case.
pub(super) fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

pub(super) fn charindex(arguments: Arguments<'_>) -> SqlResult<Value> {
    if arg(arguments, 0) == Value::Null || arg(arguments, 1) == Value::Null {
        return Ok(Value::Null);
    }
    let (needle, text) = (fold(&plain_text(&arg(arguments, 0))), fold(&plain_text(&arg(arguments, 1))));
    let start = count(&arg(arguments, 2)).saturating_sub(1);
    if needle.is_empty() {
        return Ok(Value::Integer(0));
    }
    let found = text.windows(needle.len()).enumerate().skip(start).find(|(_, window)| *window == needle);
    Ok(Value::Integer(found.map_or(0, |(index, _)| index as i64 + 1)))
}

pub(super) fn substring(arguments: Arguments<'_>) -> SqlResult<Value> {
    let (value, start, length) = (arg(arguments, 0), float(&arg(arguments, 1)), float(&arg(arguments, 2)));
    let (Some(start), Some(length)) = (start, length) else { return Ok(Value::Null) };
    if length < 0.0 {
        return Err(Message::new(537, 16, "Invalid length parameter passed to the LEFT or SUBSTRING function."));
    }
    let begin = (start - 1.0).max(0.0) as usize;
    let end = (start - 1.0 + length).max(0.0) as usize;
    Ok(match value {
        Value::Null => Value::Null,
        Value::Blob(bytes) => Value::Blob(bytes.into_iter().take(end).skip(begin).collect()),
        other => Value::Text(plain_text(&other).chars().take(end).skip(begin).collect()),
    })
}

pub(super) fn replace(arguments: Arguments<'_>) -> SqlResult<Value> {
    if arguments.contains(&Value::Null) {
        return Ok(Value::Null);
    }
    let (text, from, to) =
        (plain_text(&arg(arguments, 0)), fold(&plain_text(&arg(arguments, 1))), plain_text(&arg(arguments, 2)));
    let chars: Vec<char> = text.chars().collect();
    let (mut result, mut at) = (String::new(), 0);
    while let Some(c) = chars.get(at) {
        let window: String = chars.get(at..at + from.len()).unwrap_or_default().iter().collect();
        if !from.is_empty() && fold(&window) == from {
            result.push_str(&to);
            at += from.len();
        } else {
            result.push(*c);
            at += 1;
        }
    }
    Ok(Value::Text(result))
}

pub(super) fn stuff(arguments: Arguments<'_>) -> SqlResult<Value> {
    let (Value::Integer(start), Value::Integer(length)) = (arg(arguments, 1), arg(arguments, 2)) else {
        return Ok(Value::Null);
    };
    let insert = plain_text(&arg(arguments, 3));
    text1(arguments, |text| {
        let total = text.chars().count() as i64;
        if start < 1 || start > total || length < 0 {
            return Value::Null;
        }
        let head: String = text.chars().take((start - 1) as usize).collect();
        let tail: String = text.chars().skip((start - 1 + length) as usize).collect();
        Value::Text(format!("{head}{insert}{tail}"))
    })
}

pub(super) fn quotename(arguments: Arguments<'_>) -> SqlResult<Value> {
    let quote = plain_text(&arg(arguments, 1));
    text1(arguments, |text| match quote.as_str() {
        "" | "[" | "]" => Value::Text(format!("[{}]", text.replace(']', "]]"))),
        "'" | "\"" => Value::Text(format!("{quote}{}{quote}", text.replace(&quote, &quote.repeat(2)))),
        _ => Value::Null,
    })
}

pub(super) fn character(arguments: Arguments<'_>) -> SqlResult<Value> {
    let code = u32::try_from(count(&arg(arguments, 0))).ok().and_then(char::from_u32);
    Ok(code.map_or(Value::Null, |c| Value::Text(c.to_string())))
}
