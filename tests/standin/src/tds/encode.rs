//! Result values to bytes, for every type a column can have.

use super::{
    bytes::Put,
    codepage,
    kind::{self, COLLATION, decimal_length},
    moment,
};
use crate::value::{SqlType, Value};

/// A value that its column's type cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// Writes one value as the row of a column of this type holds it.
pub(super) fn value(out: &mut Vec<u8>, kind: SqlType, value: &Value) -> Result<(), Unfit> {
    if *value == Value::Null {
        null(out, kind);
        return Ok(());
    }
    match kind {
        SqlType::Bit => small(out, &[u8::from(integer(value)? != 0)]),
        SqlType::TinyInt => small(out, &narrow::<u8>(value)?.to_le_bytes()),
        SqlType::SmallInt => small(out, &narrow::<i16>(value)?.to_le_bytes()),
        SqlType::Int => small(out, &narrow::<i32>(value)?.to_le_bytes()),
        SqlType::BigInt => small(out, &integer(value)?.to_le_bytes()),
        SqlType::Float => small(out, &float(value)?.to_le_bytes()),
        SqlType::Decimal { precision, scale } => small(out, &decimal(unscaled(value, scale)?, precision)?),
        SqlType::NChar(length) => short(out, &wide(&padded(text(value)?, length)))?,
        SqlType::NVarChar(_) => short(out, &wide(&text(value)?))?,
        SqlType::NVarCharMax => partial(out, &wide(&text(value)?)),
        SqlType::VarChar(_) => short(out, &codepage::encode(&text(value)?))?,
        SqlType::VarCharMax => partial(out, &codepage::encode(&text(value)?)),
        SqlType::VarBinary(_) => short(out, binary(value)?)?,
        SqlType::VarBinaryMax => partial(out, binary(value)?),
        SqlType::Guid => small(out, &guid(value)?.to_bytes_le()),
        SqlType::DateTime => small(out, &datetime(instant(value)?)?),
        SqlType::DateTime2(scale) => small(out, &datetime2(instant(value)?, scale)?),
        SqlType::Variant => variant(out, value)?,
    }
    Ok(())
}

fn null(out: &mut Vec<u8>, kind: SqlType) {
    match kind {
        SqlType::NChar(_) | SqlType::NVarChar(_) | SqlType::VarChar(_) | SqlType::VarBinary(_) => out.u16(u16::MAX),
        SqlType::NVarCharMax | SqlType::VarCharMax | SqlType::VarBinaryMax => out.u64(u64::MAX),
        SqlType::Variant => out.u32(0),
        _ => out.u8(0),
    }
}

/// A value with its length in one byte; the types that use it are never longer than 17 bytes.
fn small(out: &mut Vec<u8>, bytes: &[u8]) {
    out.u8(u8::try_from(bytes.len()).unwrap_or(0));
    out.bytes(bytes);
}

fn short(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Unfit> {
    let length = u16::try_from(bytes.len()).map_err(|_| Unfit)?;
    out.u16(length);
    out.bytes(bytes);
    Ok(())
}

/// Partially length-prefixed: the whole length, chunks, an empty chunk.
fn partial(out: &mut Vec<u8>, bytes: &[u8]) {
    out.u64(u64::try_from(bytes.len()).unwrap_or(0));
    for chunk in bytes.chunks(1 << 20) {
        out.u32(u32::try_from(chunk.len()).unwrap_or(0));
        out.bytes(chunk);
    }
    out.u32(0);
}

/// `sql_variant`: length, base type, its properties, the value without a length of its own.
fn variant(out: &mut Vec<u8>, value: &Value) -> Result<(), Unfit> {
    let mut body = Vec::new();
    match value {
        Value::Null => {}
        Value::Bit(bit) => body.bytes(&[kind::BIT, 0, u8::from(*bit)]),
        Value::Int(number) => match i32::try_from(*number) {
            Ok(number) => {
                body.bytes(&[kind::INT4, 0]);
                body.i32(number);
            }
            Err(_) => {
                body.bytes(&[kind::INT8, 0]);
                body.bytes(&number.to_le_bytes());
            }
        },
        Value::Float(number) => {
            body.bytes(&[kind::FLOAT8, 0]);
            body.bytes(&number.to_le_bytes());
        }
        Value::Decimal(number) => {
            body.bytes(&[kind::NUMERIC_N, 2, 38, 0]);
            body.bytes(&decimal(*number, 38)?);
        }
        Value::Text(text) => {
            body.bytes(&[kind::NVARCHAR, 7]);
            body.bytes(&COLLATION);
            body.u16(8_000);
            body.bytes(&wide(text));
        }
        Value::Binary(bytes) => {
            body.bytes(&[kind::VARBINARY, 2]);
            body.u16(8_000);
            body.bytes(bytes);
        }
        Value::Guid(guid) => {
            body.bytes(&[kind::GUID, 0]);
            body.bytes(&guid.to_bytes_le());
        }
        Value::DateTime(micros) => {
            body.bytes(&[kind::DATETIME2_N, 1, 7]);
            body.bytes(&datetime2(*micros, 7)?);
        }
    }
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= 8_009).ok_or(Unfit)?;
    out.u32(length);
    out.bytes(&body);
    Ok(())
}

/// Sign byte (1 is positive) and the magnitude, as long as the precision says.
fn decimal(number: i128, precision: u8) -> Result<Vec<u8>, Unfit> {
    let limit = 10_u128.checked_pow(u32::from(precision)).ok_or(Unfit)?;
    if number.unsigned_abs() >= limit {
        return Err(Unfit);
    }
    let mut bytes = vec![u8::from(number >= 0)];
    let magnitude = usize::from(decimal_length(precision)) - 1;
    bytes.extend(number.unsigned_abs().to_le_bytes().into_iter().take(magnitude));
    Ok(bytes)
}

fn datetime(micros: i64) -> Result<Vec<u8>, Unfit> {
    let (days, ticks) = moment::to_datetime(micros).ok_or(Unfit)?;
    let mut bytes = days.to_le_bytes().to_vec();
    bytes.u32(ticks);
    Ok(bytes)
}

fn datetime2(micros: i64, scale: u8) -> Result<Vec<u8>, Unfit> {
    let (units, days) = moment::to_datetime2(micros, scale).ok_or(Unfit)?;
    let mut bytes: Vec<u8> = units.to_le_bytes().into_iter().take(moment::time_length(scale)).collect();
    bytes.extend(days.to_le_bytes().into_iter().take(3));
    Ok(bytes)
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn padded(mut text: String, length: u16) -> String {
    let missing = usize::from(length).saturating_sub(text.encode_utf16().count());
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

// What SQLite hands over does not always have the type that the column declares: these conversions lose nothing.

fn integer(value: &Value) -> Result<i64, Unfit> {
    match value {
        Value::Bit(bit) => Ok(i64::from(*bit)),
        Value::Int(number) => Ok(*number),
        Value::Decimal(number) => i64::try_from(*number).map_err(|_| Unfit),
        Value::Text(text) => text.trim().parse().map_err(|_| Unfit),
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(*number as i64),
        _ => Err(Unfit),
    }
}

fn narrow<T: TryFrom<i64>>(value: &Value) -> Result<T, Unfit> {
    T::try_from(integer(value)?).map_err(|_| Unfit)
}

#[allow(clippy::cast_precision_loss)]
fn float(value: &Value) -> Result<f64, Unfit> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Text(text) => text.trim().parse().map_err(|_| Unfit),
        other => integer(other).map(|number| number as f64),
    }
}

fn unscaled(value: &Value, scale: u8) -> Result<i128, Unfit> {
    let factor = 10_i128.checked_pow(u32::from(scale)).ok_or(Unfit)?;
    match value {
        Value::Decimal(number) => Ok(*number),
        Value::Text(text) => digits(text.trim(), scale),
        Value::Float(number) => digits(&format!("{number:.*}", usize::from(scale)), scale),
        other => i128::from(integer(other)?).checked_mul(factor).ok_or(Unfit),
    }
}

/// A decimal number in digits, without more places than the scale has.
fn digits(text: &str, scale: u8) -> Result<i128, Unfit> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let room = usize::from(scale);
    if fraction.len() > room || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unfit);
    }
    format!("{whole}{fraction:0<room$}").parse().map_err(|_| Unfit)
}

fn text(value: &Value) -> Result<String, Unfit> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bit(bit) => Ok(u8::from(*bit).to_string()),
        Value::Int(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Decimal(number) => Ok(number.to_string()),
        Value::Guid(guid) => Ok(guid.to_string().to_uppercase()),
        _ => Err(Unfit),
    }
}

fn binary(value: &Value) -> Result<&[u8], Unfit> {
    match value {
        Value::Binary(bytes) => Ok(bytes),
        _ => Err(Unfit),
    }
}

fn guid(value: &Value) -> Result<uuid::Uuid, Unfit> {
    match value {
        Value::Guid(guid) => Ok(*guid),
        Value::Text(text) => uuid::Uuid::parse_str(text.trim()).map_err(|_| Unfit),
        Value::Binary(bytes) => bytes.as_slice().try_into().map(uuid::Uuid::from_bytes_le).map_err(|_| Unfit),
        _ => Err(Unfit),
    }
}

fn instant(value: &Value) -> Result<i64, Unfit> {
    match value {
        Value::DateTime(micros) => Ok(*micros),
        _ => Err(Unfit),
    }
}
