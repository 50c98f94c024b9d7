//! Dates: DATEADD, DATEDIFF, DATEPART and the styles of CONVERT.

use super::plain_text;
use crate::{
    errors::{Message, SqlResult},
    tsql::{
        convert::{self, Strictness},
        kind,
    },
    value::SqlType,
};
use jiff::{ToSpan, civil::DateTime, tz::TimeZone};
use rusqlite::types::Value;

fn civil(value: &Value) -> SqlResult<Option<DateTime>> {
    if *value == Value::Null {
        return Ok(None);
    }
    let micros = match value {
        Value::Integer(days) => convert::moment("1900-01-01").map(|zero| zero + days * 86_400_000_000),
        other => convert::moment(&plain_text(other)),
    };
    let parsed = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    parsed.map(|at| Some(TimeZone::UTC.to_datetime(at))).ok_or_else(|| {
        Message::new(241, 16, "Conversion failed when converting date and/or time from character string.")
    })
}

fn micros(at: DateTime) -> i64 {
    TimeZone::UTC.to_timestamp(at).map_or(0, |at| at.as_microsecond())
}

fn full_name(part: &str) -> Option<&'static str> {
    Some(match part {
        "year" | "yy" | "yyyy" => "year",
        "quarter" | "qq" | "q" => "quarter",
        "month" | "mm" | "m" => "month",
        "dayofyear" | "dy" | "y" => "dayofyear",
        "day" | "dd" | "d" => "day",
        "week" | "wk" | "ww" => "week",
        "weekday" | "dw" => "weekday",
        "hour" | "hh" => "hour",
        "minute" | "mi" | "n" => "minute",
        "second" | "ss" | "s" => "second",
        "millisecond" | "ms" => "millisecond",
        "microsecond" | "mcs" => "microsecond",
        "nanosecond" | "ns" => "nanosecond",
        _ => return None,
    })
}

fn unknown(part: &str, function: &str) -> Message {
    Message::new(155, 15, format!("'{part}' is not a recognized {function} option."))
}

/// Microseconds of the parts that have a fixed length.
fn length(part: &str) -> Option<i64> {
    Some(match part {
        "week" => 604_800_000_000,
        "day" | "dayofyear" | "weekday" => 86_400_000_000,
        "hour" => 3_600_000_000,
        "minute" => 60_000_000,
        "second" => 1_000_000,
        "millisecond" => 1_000,
        "microsecond" => 1,
        _ => return None,
    })
}

/// DATEPART
pub(super) fn part(part: &Value, value: &Value) -> SqlResult<Value> {
    let name = plain_text(part);
    let part = full_name(&name).ok_or_else(|| unknown(&name, "datepart"))?;
    let Some(at) = civil(value)? else { return Ok(Value::Null) };
    Ok(Value::Integer(match part {
        "year" => i64::from(at.year()),
        "quarter" => i64::from((at.month() - 1) / 3 + 1),
        "month" => i64::from(at.month()),
        "dayofyear" => i64::from(at.date().day_of_year()),
        "day" => i64::from(at.day()),
        "week" => (i64::from(at.date().day_of_year()) - 1) / 7 + 1,
        "weekday" => i64::from(at.weekday().to_sunday_one_offset()),
        "hour" => i64::from(at.hour()),
        "minute" => i64::from(at.minute()),
        "second" => i64::from(at.second()),
        "millisecond" => i64::from(at.millisecond()),
        "microsecond" => i64::from(at.subsec_nanosecond() / 1_000),
        _ => i64::from(at.subsec_nanosecond()),
    }))
}

/// DATEDIFF: boundaries crossed.
pub(super) fn difference(part: &Value, from: &Value, to: &Value) -> SqlResult<Value> {
    let name = plain_text(part);
    let part = full_name(&name).ok_or_else(|| unknown(&name, "datediff"))?;
    let (Some(from), Some(to)) = (civil(from)?, civil(to)?) else { return Ok(Value::Null) };
    let months = |at: DateTime| i64::from(at.year()) * 12 + i64::from(at.month()) - 1;
    Ok(Value::Integer(match part {
        "year" => i64::from(to.year()) - i64::from(from.year()),
        "quarter" => months(to).div_euclid(3) - months(from).div_euclid(3),
        "month" => months(to) - months(from),
        "nanosecond" => (micros(to) - micros(from)) * 1_000,
        part => {
            let length = length(part).ok_or_else(|| unknown(&name, "datediff"))?;
            micros(to).div_euclid(length) - micros(from).div_euclid(length)
        }
    }))
}

/// DATEADD
pub(super) fn add(part: &Value, number: &Value, value: &Value) -> SqlResult<Value> {
    let name = plain_text(part);
    let part = full_name(&name).ok_or_else(|| unknown(&name, "dateadd"))?;
    let (Value::Integer(number), Some(at)) =
        (convert::convert(number.clone(), SqlType::Int, Strictness::Explicit)?, civil(value)?)
    else {
        return Ok(Value::Null);
    };
    let overflow = || Message::new(517, 16, "Adding a value to a 'datetime' column caused an overflow.");
    let months = match part {
        "year" => Some(12),
        "quarter" => Some(3),
        "month" => Some(1),
        _ => None,
    };
    let result = match months {
        Some(months) => {
            let months = number.checked_mul(months).filter(|m| m.abs() < 200_000).ok_or_else(overflow)?;
            at.checked_add(months.months()).map(micros).map_err(|_| overflow())?
        }
        None => {
            let length = length(part).ok_or_else(|| unknown(&name, "dateadd"))?;
            let moved = number.checked_mul(length).and_then(|delta| micros(at).checked_add(delta));
            moved.filter(|m| jiff::Timestamp::from_microsecond(*m).is_ok()).ok_or_else(overflow)?
        }
    };
    Ok(Value::Text(convert::moment_text(result)))
}

/// CONVERT with a style: binary to and from hexadecimal text (1, 2), dates to text.
pub(super) fn styled(value: Value, kind: SqlType, style: i64) -> SqlResult<Value> {
    let binary = matches!(kind, SqlType::VarBinary(_) | SqlType::VarBinaryMax);
    match &value {
        Value::Blob(bytes) if kind::is_text(kind) && (style == 1 || style == 2) => {
            let prefix = if style == 1 { "0x" } else { "" };
            convert::convert(Value::Text(format!("{prefix}{}", convert::to_hex(bytes))), kind, Strictness::Explicit)
        }
        Value::Text(text) if binary && (style == 1 || style == 2) => {
            let digits = if style == 1 { text.strip_prefix("0x") } else { Some(text.as_str()) };
            let bytes = digits.and_then(convert::hex);
            bytes
                .map(Value::Blob)
                .ok_or_else(|| Message::new(8114, 16, "Error converting data type varchar to varbinary."))
        }
        Value::Text(text) if kind::is_text(kind) && convert::moment(text).is_some() => {
            let Some(at) = civil(&value)? else { return Ok(Value::Null) };
            let format = match style {
                20 | 120 => "%Y-%m-%d %H:%M:%S",
                21 | 121 | 25 => "%Y-%m-%d %H:%M:%S.%3f",
                126 | 127 => "%Y-%m-%dT%H:%M:%S.%3f",
                112 => "%Y%m%d",
                23 => "%Y-%m-%d",
                108 | 8 => "%H:%M:%S",
                101 => "%m/%d/%Y",
                _ => return convert::convert(value, kind, Strictness::Explicit),
            };
            convert::convert(Value::Text(at.strftime(format).to_string()), kind, Strictness::Explicit)
        }
        _ => convert::convert(value, kind, Strictness::Explicit),
    }
}
