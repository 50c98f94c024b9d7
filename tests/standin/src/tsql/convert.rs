//! Values between SQL Server's types, SQLite and text.
//!
//! In SQLite: integers and bits INTEGER, floats and decimals REAL (decimals that are whole numbers INTEGER or, when
//! they are large, TEXT), characters TEXT, binary BLOB, `uniqueidentifier` TEXT in upper case, dates TEXT
//! `2026-01-31 10:00:00.000000`.

use super::kind;
use crate::{
    errors::{Message, SqlResult},
    value::{SqlType, Value},
};
use rusqlite::types::Value as Lite;

/// Bytes of hexadecimal text.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let text = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_string() };
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    Some(digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// Upper-case hexadecimal text.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Text of a moment in microseconds since 1970.
pub fn moment_text(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(at) => jiff::tz::TimeZone::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        Err(_) => String::new(),
    }
}

/// Microseconds since 1970 of a date in one of the usual spellings.
pub fn moment(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches('Z');
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y%m%d %H:%M:%S%.f"];
    let parsed =
        formats.iter().find_map(|format| jiff::civil::DateTime::strptime(format, text).ok()).or_else(|| {
            let dates = ["%Y-%m-%d", "%Y%m%d", "%m/%d/%Y"];
            dates
                .iter()
                .find_map(|format| jiff::civil::Date::strptime(format, text).ok())
                .map(|date| date.at(0, 0, 0, 0))
        })?;
    jiff::tz::TimeZone::UTC.to_timestamp(parsed).ok().map(|at| at.as_microsecond())
}

/// A `datetime` counts in 1/300 s.
fn round_to_datetime(micros: i64) -> i64 {
    let second = micros.div_euclid(1_000_000);
    let ticks = (micros.rem_euclid(1_000_000) * 300 + 500_000) / 1_000_000;
    second * 1_000_000 + (ticks * 1_000_000 + 150) / 300
}

/// What a value of type `kind` looks like in SQLite.
pub fn to_lite(value: &Value, kind: SqlType) -> Lite {
    match value {
        Value::Null => Lite::Null,
        Value::Bit(bit) => Lite::Integer(i64::from(*bit)),
        Value::Int(int) => Lite::Integer(*int),
        Value::Float(float) => Lite::Real(*float),
        Value::Decimal(unscaled) => {
            let scale = if let SqlType::Decimal { scale, .. } = kind { scale } else { 0 };
            decimal_lite(*unscaled, scale)
        }
        Value::Text(text) => Lite::Text(text.clone()),
        Value::Binary(bytes) => Lite::Blob(bytes.clone()),
        Value::Guid(guid) => Lite::Text(guid.to_string().to_uppercase()),
        Value::DateTime(micros) => Lite::Text(moment_text(*micros)),
    }
}

fn decimal_lite(unscaled: i128, scale: u8) -> Lite {
    if scale > 0 {
        return Lite::Real(unscaled as f64 / 10f64.powi(i32::from(scale)));
    }
    i64::try_from(unscaled).map_or_else(|_| Lite::Text(unscaled.to_string()), Lite::Integer)
}

/// SQLite's value as a column of type `kind` shows it.
pub fn from_lite(value: Lite, kind: SqlType) -> Value {
    match (kind, value) {
        (_, Lite::Null) => Value::Null,
        (SqlType::Bit, Lite::Integer(i)) => Value::Bit(i != 0),
        (SqlType::Decimal { scale, .. }, lite) => decimal(&lite, scale).map_or(Value::Null, Value::Decimal),
        (SqlType::Float, Lite::Integer(i)) => Value::Float(i as f64),
        (SqlType::Guid, Lite::Text(text)) => uuid::Uuid::parse_str(&text).map_or(Value::Text(text), Value::Guid),
        (SqlType::DateTime | SqlType::DateTime2(_), Lite::Text(text)) => {
            moment(&text).map_or(Value::Text(text), Value::DateTime)
        }
        (kind, Lite::Integer(i)) if kind::is_text(kind) => Value::Text(i.to_string()),
        (kind, Lite::Real(r)) if kind::is_text(kind) => Value::Text(float_text(r)),
        (SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt, Lite::Real(r)) => Value::Int(r as i64),
        (_, Lite::Integer(i)) => Value::Int(i),
        (_, Lite::Real(r)) => Value::Float(r),
        (_, Lite::Text(text)) => Value::Text(text),
        (_, Lite::Blob(bytes)) => Value::Binary(bytes),
    }
}

fn decimal(value: &Lite, scale: u8) -> Option<i128> {
    match value {
        Lite::Integer(i) => i128::from(*i).checked_mul(10i128.checked_pow(u32::from(scale))?),
        Lite::Real(r) => Some((r * 10f64.powi(i32::from(scale))).round() as i128),
        Lite::Text(text) => {
            let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
            let scale = usize::from(scale);
            let mut digits: String = fraction.chars().chain(std::iter::repeat('0')).take(scale).collect();
            digits.insert_str(0, whole);
            digits.parse().ok()
        }
        _ => None,
    }
}

/// A float as SQL Server prints it.
pub fn float_text(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value}") }
}

/// How a value may be lost: implicit conversion refuses what CAST cuts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// CAST: text that is too long is cut.
    Explicit,
    /// Stored in a column: text that is too long is error 2628.
    Column,
}

/// Converts SQLite's value to `kind`. Errors: 245, 8114, 8115, 241, 8169, 2628.
pub fn convert(value: Lite, kind: SqlType, strictness: Strictness) -> SqlResult<Lite> {
    if value == Lite::Null {
        return Ok(Lite::Null);
    }
    match kind {
        SqlType::Bit => match integer(&value, kind)? {
            0 => Ok(Lite::Integer(0)),
            _ => Ok(Lite::Integer(1)),
        },
        SqlType::TinyInt => ranged(&value, kind, 0, 255),
        SqlType::SmallInt => ranged(&value, kind, i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int => ranged(&value, kind, i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::BigInt => ranged(&value, kind, i64::MIN, i64::MAX),
        SqlType::Float => match &value {
            Lite::Integer(i) => Ok(Lite::Real(*i as f64)),
            Lite::Text(text) => text.trim().parse().map(Lite::Real).map_err(|_| cannot_convert(kind)),
            _ => Ok(value),
        },
        SqlType::Decimal { precision, scale } => {
            let unscaled = decimal(&value, scale).ok_or_else(|| cannot_convert(kind))?;
            if unscaled.unsigned_abs() >= 10u128.checked_pow(u32::from(precision)).unwrap_or(u128::MAX) {
                return Err(Message::new(
                    8115,
                    16,
                    "Arithmetic overflow error converting numeric to data type numeric.",
                )
                .state(8));
            }
            Ok(decimal_lite(unscaled, scale))
        }
        SqlType::Guid => guid(&value),
        SqlType::DateTime | SqlType::DateTime2(_) => {
            let micros = match &value {
                Lite::Text(text) => moment(text),
                Lite::Integer(days) => moment("1900-01-01").map(|zero| zero + days * 86_400_000_000),
                _ => None,
            };
            let micros = micros.ok_or_else(|| {
                Message::new(241, 16, "Conversion failed when converting date and/or time from character string.")
            })?;
            let micros = if kind == SqlType::DateTime { round_to_datetime(micros) } else { micros };
            Ok(Lite::Text(moment_text(micros)))
        }
        SqlType::VarBinary(length) => match binary(value) {
            Lite::Blob(bytes) if bytes.len() > usize::from(length) && strictness == Strictness::Column => {
                Err(truncated(""))
            }
            Lite::Blob(mut bytes) => {
                bytes.truncate(usize::from(length));
                Ok(Lite::Blob(bytes))
            }
            other => Ok(other),
        },
        SqlType::VarBinaryMax => Ok(binary(value)),
        SqlType::Variant => Ok(value),
        _ => text(value, kind, strictness),
    }
}

fn binary(value: Lite) -> Lite {
    match value {
        Lite::Text(text) => Lite::Blob(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        Lite::Integer(i) => {
            Lite::Blob(i32::try_from(i).map_or_else(|_| i.to_be_bytes().to_vec(), |i| i.to_be_bytes().to_vec()))
        }
        other => other,
    }
}

fn guid(value: &Lite) -> SqlResult<Lite> {
    let parsed = match value {
        Lite::Text(text) => uuid::Uuid::parse_str(text.trim().trim_matches(['{', '}'])).ok(),
        Lite::Blob(bytes) => bytes.as_slice().try_into().ok().map(uuid::Uuid::from_bytes_le),
        _ => None,
    };
    let parsed = parsed.ok_or_else(|| {
        Message::new(8169, 16, "Conversion failed when converting from a character string to uniqueidentifier.")
            .state(2)
    })?;
    Ok(Lite::Text(parsed.to_string().to_uppercase()))
}

fn integer(value: &Lite, kind: SqlType) -> SqlResult<i64> {
    match value {
        Lite::Integer(i) => Ok(*i),
        Lite::Real(r) if r.is_finite() && r.abs() < 9.3e18 => Ok(r.trunc() as i64),
        Lite::Text(text) if text.trim().is_empty() => Ok(0),
        Lite::Text(text) => {
            let digits = text.trim();
            if kind == SqlType::Bit && digits.eq_ignore_ascii_case("true") {
                return Ok(1);
            }
            if kind == SqlType::Bit && digits.eq_ignore_ascii_case("false") {
                return Ok(0);
            }
            digits.parse().map_err(|_| {
                Message::new(
                    245,
                    16,
                    format!(
                        "Conversion failed when converting the nvarchar value '{text}' to data type {}.",
                        kind::text(kind)
                    ),
                )
            })
        }
        Lite::Blob(bytes) if bytes.len() <= 8 => {
            let value = bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            Ok(if bytes.len() <= 4 { i64::from(value as u32 as i32) } else { value as i64 })
        }
        _ => Err(cannot_convert(kind)),
    }
}

fn ranged(value: &Lite, kind: SqlType, least: i64, most: i64) -> SqlResult<Lite> {
    let integer = integer(value, kind)?;
    if (least..=most).contains(&integer) {
        return Ok(Lite::Integer(integer));
    }
    Err(Message::new(
        8115,
        16,
        format!("Arithmetic overflow error converting expression to data type {}.", kind::text(kind)),
    )
    .state(2))
}

fn cannot_convert(kind: SqlType) -> Message {
    Message::new(8114, 16, format!("Error converting data type nvarchar to {}.", kind::text(kind))).state(5)
}

/// 2628
pub fn truncated(value: &str) -> Message {
    Message::new(2628, 16, format!("String or binary data would be truncated. Truncated value: '{value}'."))
}

fn text(value: Lite, kind: SqlType, strictness: Strictness) -> SqlResult<Lite> {
    let mut text = match value {
        Lite::Text(text) => text,
        Lite::Integer(i) => i.to_string(),
        Lite::Real(r) => float_text(r),
        Lite::Blob(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Lite::Null => return Ok(Lite::Null),
    };
    let length = match kind {
        SqlType::NChar(n) | SqlType::NVarChar(n) | SqlType::VarChar(n) => usize::from(n),
        _ => return Ok(Lite::Text(text)),
    };
    if text.chars().count() > length {
        let cut: String = text.chars().take(length).collect();
        if strictness == Strictness::Column && text.trim_end().chars().count() > length {
            return Err(truncated(&cut));
        }
        text = cut;
    }
    if let SqlType::NChar(n) = kind {
        let missing = usize::from(n).saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n(' ', missing));
    }
    Ok(Lite::Text(text))
}
