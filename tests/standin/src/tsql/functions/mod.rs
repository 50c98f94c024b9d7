//! T-SQL's functions, operators and collation for SQLite. All are pure: a statement that is replayed on another replica
//! gives the same result.

mod arithmetic;
mod dates;
mod like;
mod text;

use super::{
    convert::{self, Strictness},
    kind,
};
use crate::errors::{Message, SqlResult};
use arithmetic::{arithmetic, average, round};
use rusqlite::{
    Connection, Error,
    functions::{Context, FunctionFlags},
    types::Value,
};
use sha1::Digest;
use std::cmp::Ordering;
use text::{character, charindex, quotename, replace, stuff, substring};

/// Marks a message inside the text of a SQLite error.
const MARK: &str = "tsql:";

/// A message as SQLite error; [`message`] gets it back.
pub fn raise(message: &Message) -> Error {
    let text = format!("{MARK}{}", serde_json::to_string(message).unwrap_or_default());
    Error::UserFunctionError(text.into())
}

/// The message inside the text of a SQLite error.
pub fn message(text: &str) -> Option<Message> {
    let json = &text.get(text.find(MARK)? + MARK.len()..)?;
    serde_json::Deserializer::from_str(json).into_iter().next()?.ok()
}

type Arguments<'a> = &'a [Value];
type Implementation = fn(Arguments<'_>) -> SqlResult<Value>;

const FUNCTIONS: &[(&str, Implementation)] = &[
    ("tsql_add", |a| arithmetic(a, "+")),
    ("tsql_subtract", |a| arithmetic(a, "-")),
    ("tsql_multiply", |a| arithmetic(a, "*")),
    ("tsql_divide", |a| arithmetic(a, "/")),
    ("tsql_modulo", |a| arithmetic(a, "%")),
    ("tsql_average", average),
    ("tsql_choose", choose),
    ("tsql_cast", |a| cast(a, false)),
    ("tsql_try_cast", |a| cast(a, true)),
    ("tsql_store", store),
    ("tsql_like", like::like),
    ("tsql_len", |a| text1(a, |t| Value::Integer(t.trim_end_matches(' ').chars().count() as i64))),
    ("tsql_datalength", |a| {
        Ok(match arg(a, 0) {
            Value::Null => Value::Null,
            Value::Blob(bytes) => Value::Integer(bytes.len() as i64),
            Value::Text(text) => Value::Integer(text.encode_utf16().count() as i64 * 2),
            Value::Integer(_) => Value::Integer(4),
            Value::Real(_) => Value::Integer(8),
        })
    }),
    ("tsql_charindex", charindex),
    ("tsql_left", |a| text2(a, |t, n| t.chars().take(count(n)).collect())),
    ("tsql_right", |a| text2(a, |t, n| t.chars().skip(t.chars().count().saturating_sub(count(n))).collect())),
    ("tsql_substring", substring),
    ("tsql_replace", replace),
    ("tsql_ltrim", |a| text1(a, |t| Value::Text(t.trim_start_matches(' ').into()))),
    ("tsql_rtrim", |a| text1(a, |t| Value::Text(t.trim_end_matches(' ').into()))),
    ("tsql_trim", |a| text1(a, |t| Value::Text(t.trim_matches(' ').into()))),
    ("tsql_upper", |a| text1(a, |t| Value::Text(t.to_uppercase()))),
    ("tsql_lower", |a| text1(a, |t| Value::Text(t.to_lowercase()))),
    ("tsql_reverse", |a| text1(a, |t| Value::Text(t.chars().rev().collect()))),
    ("tsql_replicate", |a| text2(a, |t, n| t.repeat(count(n).min(8000 / t.chars().count().max(1))))),
    ("tsql_space", |a| text1(a, |t| Value::Text(" ".repeat(t.parse().unwrap_or(0usize).min(8000))))),
    ("tsql_stuff", stuff),
    ("tsql_concat", |a| Ok(Value::Text(a.iter().map(plain_text).collect()))),
    ("tsql_concat_ws", |a| {
        let parts: Vec<_> = a.iter().skip(1).filter(|v| **v != Value::Null).map(plain_text).collect();
        Ok(Value::Text(parts.join(&plain_text(&arg(a, 0)))))
    }),
    ("tsql_quotename", quotename),
    ("tsql_ascii", |a| text1(a, |t| t.chars().next().map_or(Value::Null, |c| Value::Integer(i64::from(c as u32))))),
    ("tsql_unicode", |a| text1(a, |t| t.chars().next().map_or(Value::Null, |c| Value::Integer(i64::from(c as u32))))),
    ("tsql_char", character),
    ("tsql_nchar", character),
    ("tsql_isnumeric", |a| Ok(Value::Integer(i64::from(plain_text(&arg(a, 0)).trim().parse::<f64>().is_ok())))),
    ("tsql_isdate", |a| Ok(Value::Integer(i64::from(convert::moment(&plain_text(&arg(a, 0))).is_some())))),
    ("tsql_abs", |a| number(a, i64::abs, f64::abs)),
    ("tsql_ceiling", |a| number(a, |i| i, f64::ceil)),
    ("tsql_floor", |a| number(a, |i| i, f64::floor)),
    ("tsql_sign", |a| number(a, i64::signum, f64::signum)),
    ("tsql_sqrt", |a| Ok(float(&arg(a, 0)).map_or(Value::Null, |f| Value::Real(f.sqrt())))),
    ("tsql_round", round),
    ("tsql_power", |a| {
        let (Some(base), Some(exponent)) = (float(&arg(a, 0)), float(&arg(a, 1))) else { return Ok(Value::Null) };
        let result = base.powf(exponent);
        Ok(if matches!(arg(a, 0), Value::Integer(_)) { Value::Integer(result as i64) } else { Value::Real(result) })
    }),
    ("tsql_year", |a| dates::part(&Value::Text("year".into()), &arg(a, 0))),
    ("tsql_month", |a| dates::part(&Value::Text("month".into()), &arg(a, 0))),
    ("tsql_day", |a| dates::part(&Value::Text("day".into()), &arg(a, 0))),
    ("tsql_datepart", |a| dates::part(&arg(a, 0), &arg(a, 1))),
    ("tsql_datediff", |a| dates::difference(&arg(a, 0), &arg(a, 1), &arg(a, 2))),
    ("tsql_dateadd", |a| dates::add(&arg(a, 0), &arg(a, 1), &arg(a, 2))),
    ("tsql_hashbytes", hash),
    ("tsql_guid", row_guid),
    ("tsql_parsename", |a| text2(a, |t, n| t.rsplit('.').nth(count(n).saturating_sub(1)).unwrap_or_default().into())),
];

/// Registers everything on a connection, and the rules that the stand-in relies on.
pub fn install(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    for (name, implementation) in FUNCTIONS {
        let implementation = *implementation;
        connection.create_scalar_function(*name, -1, flags, move |context| run(context, implementation))?;
    }
    connection.create_scalar_function("tsql_newid", 0, FunctionFlags::SQLITE_UTF8, |_| {
        Ok(uuid::Uuid::new_v4().to_string().to_uppercase())
    })?;
    connection.create_collation("TSQL", compare)?;
    // Whoever finds the database locked waits on tokio's clock, not inside SQLite.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.execute_batch("PRAGMA foreign_keys = ON")
}

fn run(context: &Context<'_>, implementation: Implementation) -> rusqlite::Result<Value> {
    let arguments = (0..context.len()).map(|index| context.get(index)).collect::<rusqlite::Result<Vec<Value>>>()?;
    implementation(&arguments).map_err(|message| raise(&message))
}

/// The default collation: without case, blind to spaces at the end.
pub fn compare(left: &str, right: &str) -> Ordering {
    let fold = |text: &str| text.trim_end_matches(' ').chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (left, right) = (left.trim_end_matches(' '), right.trim_end_matches(' '));
    if left.is_ascii() && right.is_ascii() {
        let lower = |text: &str| text.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
        return lower(left).cmp(&lower(right));
    }
    fold(left).cmp(&fold(right))
}

pub(super) fn arg(arguments: Arguments<'_>, index: usize) -> Value {
    arguments.get(index).cloned().unwrap_or(Value::Null)
}

pub(super) fn plain_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(i) => i.to_string(),
        Value::Real(r) => convert::float_text(*r),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(i) => Some(*i as f64),
        Value::Real(r) => Some(*r),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(super) fn count(value: &Value) -> usize {
    float(value).map_or(0, |n| if n > 0.0 { n as usize } else { 0 })
}

pub(super) fn text1(arguments: Arguments<'_>, f: impl FnOnce(&str) -> Value) -> SqlResult<Value> {
    Ok(match arg(arguments, 0) {
        Value::Null => Value::Null,
        value => f(&plain_text(&value)),
    })
}

pub(super) fn text2(arguments: Arguments<'_>, f: impl FnOnce(&str, &Value) -> String) -> SqlResult<Value> {
    let second = arg(arguments, 1);
    if second == Value::Null {
        return Ok(Value::Null);
    }
    text1(arguments, |text| Value::Text(f(text, &second)))
}

pub(super) fn number(arguments: Arguments<'_>, int: fn(i64) -> i64, real: fn(f64) -> f64) -> SqlResult<Value> {
    Ok(match arg(arguments, 0) {
        Value::Integer(i64::MIN) | Value::Null => Value::Null,
        Value::Integer(i) => Value::Integer(int(i)),
        other => float(&other).map_or(Value::Null, |f| Value::Real(real(f))),
    })
}

fn choose(arguments: Arguments<'_>) -> SqlResult<Value> {
    Ok(match arg(arguments, 0) {
        Value::Integer(index) if index > 0 => arg(arguments, index as usize),
        _ => Value::Null,
    })
}

fn target(arguments: Arguments<'_>) -> SqlResult<crate::value::SqlType> {
    kind::from_text(&plain_text(&arg(arguments, 1)), None)
}

fn cast(arguments: Arguments<'_>, lenient: bool) -> SqlResult<Value> {
    let result = target(arguments).and_then(|kind| {
        let value = arg(arguments, 0);
        match (arg(arguments, 2), value) {
            (Value::Integer(style), value) => dates::styled(value, kind, style),
            (_, value) => convert::convert(value, kind, Strictness::Explicit),
        }
    });
    if lenient { Ok(result.unwrap_or(Value::Null)) } else { result }
}

fn store(arguments: Arguments<'_>) -> SqlResult<Value> {
    convert::convert(arg(arguments, 0), target(arguments)?, Strictness::Column).map_err(|mut message| {
        if message.number == 2628 {
            let column = plain_text(&arg(arguments, 2));
            message.text = message.text.replace("truncated.", &format!("truncated in column '{column}'."));
        }
        message
    })
}

/// A GUID of a row, from the one that its statement drew.
fn row_guid(arguments: Arguments<'_>) -> SqlResult<Value> {
    let seed = uuid::Uuid::parse_str(&plain_text(&arg(arguments, 0))).unwrap_or_default();
    let mixed =
        sha2::Sha256::new().chain_update(seed.as_bytes()).chain_update(plain_text(&arg(arguments, 1))).finalize();
    let bytes = mixed.iter().take(16).fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    let guid = uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid();
    Ok(Value::Text(guid.to_string().to_uppercase()))
}

fn hash(arguments: Arguments<'_>) -> SqlResult<Value> {
    let bytes = match arg(arguments, 1) {
        Value::Null => return Ok(Value::Null),
        Value::Blob(bytes) => bytes,
        other => plain_text(&other).encode_utf16().flat_map(u16::to_le_bytes).collect(),
    };
    Ok(match plain_text(&arg(arguments, 0)).to_ascii_uppercase().as_str() {
        "SHA1" | "SHA" => Value::Blob(sha1::Sha1::digest(&bytes).to_vec()),
        "SHA2_256" => Value::Blob(sha2::Sha256::digest(&bytes).to_vec()),
        "SHA2_512" => Value::Blob(sha2::Sha512::digest(&bytes).to_vec()),
        _ => Value::Null,
    })
}
