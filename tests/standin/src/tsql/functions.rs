//! T-SQL's functions, operators and collation for SQLite. All are pure: a statement that is replayed on another replica
//! gives the same result.

use super::{
    convert::{self, Strictness},
    kind,
};
use crate::errors::{Message, SqlResult};
use rusqlite::{
    Connection, Error,
    functions::{Context, FunctionFlags},
    types::Value,
};
use sha1::Digest;
use std::cmp::Ordering;

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
    ("tsql_like", like),
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
    ("tsql_year", |a| super::functions_dates::part(&Value::Text("year".into()), &arg(a, 0))),
    ("tsql_month", |a| super::functions_dates::part(&Value::Text("month".into()), &arg(a, 0))),
    ("tsql_day", |a| super::functions_dates::part(&Value::Text("day".into()), &arg(a, 0))),
    ("tsql_datepart", |a| super::functions_dates::part(&arg(a, 0), &arg(a, 1))),
    ("tsql_datediff", |a| super::functions_dates::difference(&arg(a, 0), &arg(a, 1), &arg(a, 2))),
    ("tsql_dateadd", |a| super::functions_dates::add(&arg(a, 0), &arg(a, 1), &arg(a, 2))),
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

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(i) => Some(*i as f64),
        Value::Real(r) => Some(*r),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn count(value: &Value) -> usize {
    float(value).map_or(0, |n| if n > 0.0 { n as usize } else { 0 })
}

fn text1(arguments: Arguments<'_>, f: impl FnOnce(&str) -> Value) -> SqlResult<Value> {
    Ok(match arg(arguments, 0) {
        Value::Null => Value::Null,
        value => f(&plain_text(&value)),
    })
}

fn text2(arguments: Arguments<'_>, f: impl FnOnce(&str, &Value) -> String) -> SqlResult<Value> {
    let second = arg(arguments, 1);
    if second == Value::Null {
        return Ok(Value::Null);
    }
    text1(arguments, |text| Value::Text(f(text, &second)))
}

fn number(arguments: Arguments<'_>, int: fn(i64) -> i64, real: fn(f64) -> f64) -> SqlResult<Value> {
    Ok(match arg(arguments, 0) {
        Value::Integer(i64::MIN) | Value::Null => Value::Null,
        Value::Integer(i) => Value::Integer(int(i)),
        other => float(&other).map_or(Value::Null, |f| Value::Real(real(f))),
    })
}

fn overflow() -> Message {
    Message::new(8115, 16, "Arithmetic overflow error converting expression to data type bigint.").state(2)
}

/// Brings text to the number beside it, as SQL Server's precedence of types demands.
fn numeric(value: &Value) -> SqlResult<Value> {
    let Value::Text(text) = value else { return Ok(value.clone()) };
    let int = text.trim().parse().map(Value::Integer);
    int.or_else(|_| text.trim().parse().map(Value::Real)).map_err(|_| {
        Message::new(245, 16, format!("Conversion failed when converting the varchar value '{text}' to data type int."))
    })
}

fn arithmetic(arguments: Arguments<'_>, operator: &str) -> SqlResult<Value> {
    let (left, right) = (arg(arguments, 0), arg(arguments, 1));
    match (&left, &right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Text(a), Value::Text(b)) if operator == "+" => return Ok(Value::Text(format!("{a}{b}"))),
        (Value::Blob(a), Value::Blob(b)) if operator == "+" => return Ok(Value::Blob([a.as_slice(), b].concat())),
        _ => {}
    }
    let (left, right) = (numeric(&left)?, numeric(&right)?);
    let zero = matches!(&right, Value::Integer(0)) || matches!(&right, Value::Real(r) if *r == 0.0);
    if zero && matches!(operator, "/" | "%") {
        return Err(Message::new(8134, 16, "Divide by zero error encountered."));
    }
    if let (Value::Integer(a), Value::Integer(b)) = (&left, &right) {
        let result = match operator {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "/" => a.checked_div(*b),
            _ => a.checked_rem(*b),
        };
        return result.map(Value::Integer).ok_or_else(overflow);
    }
    let (Some(a), Some(b)) = (float(&left), float(&right)) else {
        return Err(Message::new(402, 16, format!("The data types are incompatible in the {operator} operator.")));
    };
    Ok(Value::Real(match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => a % b,
    }))
}

/// AVG of integers is an integer.
fn average(arguments: Arguments<'_>) -> SqlResult<Value> {
    Ok(match (arg(arguments, 0), arg(arguments, 1)) {
        (_, Value::Integer(0)) | (Value::Null, _) => Value::Null,
        (Value::Integer(sum), Value::Integer(count)) => Value::Integer(sum / count),
        (sum, count) => float(&sum).zip(float(&count)).map_or(Value::Null, |(sum, count)| Value::Real(sum / count)),
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
            (Value::Integer(style), value) => super::functions_dates::styled(value, kind, style),
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

fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn like(arguments: Arguments<'_>) -> SqlResult<Value> {
    let (text, pattern) = (arg(arguments, 0), arg(arguments, 1));
    if text == Value::Null || pattern == Value::Null {
        return Ok(Value::Null);
    }
    let escape = fold(&plain_text(&arg(arguments, 2))).first().copied();
    let matched = matches(&fold(&plain_text(&text)), &fold(&plain_text(&pattern)), escape);
    Ok(Value::Integer(i64::from(matched)))
}

/// LIKE by backtracking to the last `%` only, so that no pattern takes exponential time.
fn matches(text: &[char], pattern: &[char], escape: Option<char>) -> bool {
    let (mut at, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'%') && escape != Some('%') {
            p += 1;
            retry = Some((p, at));
            continue;
        }
        if p >= pattern.len() && at >= text.len() {
            return true;
        }
        if let Some(c) = text.get(at)
            && let Some(next) = single(*c, pattern, p, escape)
        {
            at += 1;
            p = next;
            continue;
        }
        // Spaces at the end of the text do not count.
        if p >= pattern.len() && text.get(at..).unwrap_or_default().iter().all(|c| *c == ' ') {
            return true;
        }
        match retry {
            Some((pattern_at, text_at)) if text_at < text.len() => {
                retry = Some((pattern_at, text_at + 1));
                p = pattern_at;
                at = text_at + 1;
            }
            _ => return false,
        }
    }
}

/// Whether one pattern element at `p` takes `c`; where the next one is.
fn single(c: char, pattern: &[char], p: usize, escape: Option<char>) -> Option<usize> {
    let first = *pattern.get(p)?;
    if Some(first) == escape {
        return (pattern.get(p + 1) == Some(&c)).then_some(p + 2);
    }
    match first {
        '_' => Some(p + 1),
        '[' => {
            let close = p + 1 + pattern.get(p + 1..)?.iter().position(|c| *c == ']')?;
            let class = pattern.get(p + 1..close)?;
            let (negated, class) = class.strip_prefix(&['^']).map_or((false, class), |rest| (true, rest));
            let mut found = false;
            let mut at = 0;
            while let Some(low) = class.get(at) {
                if class.get(at + 1) == Some(&'-')
                    && let Some(high) = class.get(at + 2)
                {
                    found |= (*low..=*high).contains(&c);
                    at += 3;
                } else {
                    found |= *low == c;
                    at += 1;
                }
            }
            (found != negated).then_some(close + 1)
        }
        other => (other == c).then_some(p + 1),
    }
}

fn charindex(arguments: Arguments<'_>) -> SqlResult<Value> {
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

fn substring(arguments: Arguments<'_>) -> SqlResult<Value> {
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

fn replace(arguments: Arguments<'_>) -> SqlResult<Value> {
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

fn stuff(arguments: Arguments<'_>) -> SqlResult<Value> {
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

fn quotename(arguments: Arguments<'_>) -> SqlResult<Value> {
    let quote = plain_text(&arg(arguments, 1));
    text1(arguments, |text| match quote.as_str() {
        "" | "[" | "]" => Value::Text(format!("[{}]", text.replace(']', "]]"))),
        "'" | "\"" => Value::Text(format!("{quote}{}{quote}", text.replace(&quote, &quote.repeat(2)))),
        _ => Value::Null,
    })
}

fn character(arguments: Arguments<'_>) -> SqlResult<Value> {
    let code = u32::try_from(count(&arg(arguments, 0))).ok().and_then(char::from_u32);
    Ok(code.map_or(Value::Null, |c| Value::Text(c.to_string())))
}

fn round(arguments: Arguments<'_>) -> SqlResult<Value> {
    let digits = float(&arg(arguments, 1)).unwrap_or(0.0).clamp(-18.0, 18.0) as i32;
    number(arguments, |i| i, |f| f).map(|value| {
        let scale = 10f64.powi(digits);
        match value {
            Value::Real(r) => Value::Real((r * scale).round() / scale),
            Value::Integer(i) if digits < 0 => Value::Integer(((i as f64 * scale).round() / scale) as i64),
            other => other,
        }
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
