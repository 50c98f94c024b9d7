//! Parameter values from bytes, for every type that clients send. What [`SqlType`] has no name for is carried by its
//! nearest relative: `date`, `time` and `datetimeoffset` (its local time) as `datetime2`, `money` as `decimal(19,4)`,
//! `char` as `varchar`, `text` as `varchar(max)`.

use super::{
    bytes::{Malformed, Reader, utf16},
    codepage, kind, moment,
};
use crate::value::{SqlType, Value};

/// A value and the type it was sent as; no type with the NULL of no type.
pub(super) type Typed = (Value, Option<SqlType>);

const RANGE: Malformed = Malformed("a parameter value out of range");
const LENGTH: Malformed = Malformed("a parameter with an invalid data length");

/// Reads TYPE_INFO and the value after it.
pub(super) fn parameter(reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    let code = reader.u8()?;
    match code {
        kind::NULL => Ok((Value::Null, None)),
        kind::VARIANT => {
            reader.u32()?;
            variant(reader)
        }
        kind::DATE_N => {
            let length = usize::from(reader.u8()?);
            bare(code, [0; 2], reader.take(length)?)
        }
        kind::TIME_N | kind::DATETIME2_N | kind::DATETIMEOFFSET_N => {
            let scale = reader.u8()?;
            let length = usize::from(reader.u8()?);
            bare(code, [scale, 0], reader.take(length)?)
        }
        kind::DECIMAL_OLD | kind::NUMERIC_OLD | kind::DECIMAL_N | kind::NUMERIC_N => {
            let [_, precision, scale] = reader.array()?;
            let length = usize::from(reader.u8()?);
            bare(code, [precision, scale], reader.take(length)?)
        }
        kind::INT_N | kind::BIT_N | kind::FLOAT_N | kind::MONEY_N | kind::DATETIME_N | kind::GUID => {
            let width = reader.u8()?;
            let length = usize::from(reader.u8()?);
            bare(code, [width, 0], reader.take(length)?)
        }
        kind::VARBINARY_OLD | kind::VARCHAR_OLD | kind::BINARY_OLD | kind::CHAR_OLD => old(code, reader),
        kind::VARBINARY | kind::BINARY => binary(reader),
        kind::VARCHAR | kind::CHAR | kind::NVARCHAR | kind::NCHAR => characters(code, reader),
        kind::TEXT | kind::NTEXT | kind::IMAGE => long(code, reader),
        kind::XML => xml(reader),
        _ => match fixed_length(code) {
            Some(length) => bare(code, [0; 2], reader.take(length)?),
            None => Err(Malformed("a parameter of a type that is not supported")),
        },
    }
}

fn fixed_length(code: u8) -> Option<usize> {
    match code {
        kind::INT1 | kind::BIT => Some(1),
        kind::INT2 => Some(2),
        kind::INT4 | kind::SMALLDATETIME | kind::FLOAT4 | kind::SMALLMONEY => Some(4),
        kind::INT8 | kind::MONEY | kind::DATETIME | kind::FLOAT8 => Some(8),
        _ => None,
    }
}

/// A value whose length is known: fixed types, nullable types, and the content of a `sql_variant`. `property` is width,
/// scale, or precision and scale.
fn bare(code: u8, property: [u8; 2], bytes: &[u8]) -> Result<Typed, Malformed> {
    let [first, second] = property;
    match code {
        kind::INT1 | kind::INT2 | kind::INT4 | kind::INT8 | kind::INT_N => integer(first, bytes),
        kind::BIT | kind::BIT_N => match bytes {
            [] => Ok((Value::Null, Some(SqlType::Bit))),
            [bit] => Ok((Value::Bit(*bit != 0), Some(SqlType::Bit))),
            _ => Err(LENGTH),
        },
        kind::FLOAT4 | kind::FLOAT8 | kind::FLOAT_N => float(bytes),
        kind::MONEY | kind::SMALLMONEY | kind::MONEY_N => money(first, bytes),
        kind::DATETIME | kind::SMALLDATETIME | kind::DATETIME_N => datetime(bytes),
        kind::DATE_N => date(bytes),
        kind::TIME_N | kind::DATETIME2_N | kind::DATETIMEOFFSET_N => timed(code, first, bytes),
        kind::GUID => match bytes {
            [] => Ok((Value::Null, Some(SqlType::Guid))),
            _ => {
                let guid = bytes.try_into().map_err(|_| LENGTH)?;
                Ok((Value::Guid(uuid::Uuid::from_bytes_le(guid)), Some(SqlType::Guid)))
            }
        },
        _ => decimal(first, second, bytes),
    }
}

fn integer(width: u8, bytes: &[u8]) -> Result<Typed, Malformed> {
    let wide = match bytes {
        [] => None,
        [byte] => Some((i64::from(*byte), 1)),
        _ => match (<[u8; 2]>::try_from(bytes), <[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
            (Ok(two), _, _) => Some((i64::from(i16::from_le_bytes(two)), 2)),
            (_, Ok(four), _) => Some((i64::from(i32::from_le_bytes(four)), 4)),
            (_, _, Ok(eight)) => Some((i64::from_le_bytes(eight), 8)),
            _ => return Err(LENGTH),
        },
    };
    let width = wide.map_or(width, |(_, width)| width);
    let kind = match width {
        1 => SqlType::TinyInt,
        2 => SqlType::SmallInt,
        4 => SqlType::Int,
        8 => SqlType::BigInt,
        _ => return Err(LENGTH),
    };
    Ok((wide.map_or(Value::Null, |(number, _)| Value::Int(number)), Some(kind)))
}

fn float(bytes: &[u8]) -> Result<Typed, Malformed> {
    let number = match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
        _ if bytes.is_empty() => return Ok((Value::Null, Some(SqlType::Float))),
        (Ok(four), _) => f64::from(f32::from_le_bytes(four)),
        (_, Ok(eight)) => f64::from_le_bytes(eight),
        _ => return Err(LENGTH),
    };
    // SQL Server has neither infinities nor NaN.
    if !number.is_finite() {
        return Err(RANGE);
    }
    Ok((Value::Float(number), Some(SqlType::Float)))
}

fn money(width: u8, bytes: &[u8]) -> Result<Typed, Malformed> {
    let small = if bytes.is_empty() { width == 4 } else { bytes.len() == 4 };
    let kind = SqlType::Decimal { precision: if small { 10 } else { 19 }, scale: 4 };
    let value = match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
        _ if bytes.is_empty() => Value::Null,
        (Ok(four), _) => Value::Decimal(i128::from(i32::from_le_bytes(four))),
        // The high half comes first.
        (_, Ok([a, b, c, d, e, f, g, h])) => Value::Decimal(i64::from_le_bytes([e, f, g, h, a, b, c, d]).into()),
        _ => return Err(LENGTH),
    };
    Ok((value, Some(kind)))
}

fn decimal(precision: u8, scale: u8, bytes: &[u8]) -> Result<Typed, Malformed> {
    if !(1..=38).contains(&precision) || scale > precision {
        return Err(Malformed("a decimal with an invalid precision or scale"));
    }
    let kind = Some(SqlType::Decimal { precision, scale });
    let Some((sign, magnitude)) = bytes.split_first() else { return Ok((Value::Null, kind)) };
    if magnitude.len() > 16 || *sign > 1 {
        return Err(LENGTH);
    }
    let number = magnitude.iter().rev().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let limit = 10_u128.checked_pow(u32::from(precision)).ok_or(RANGE)?;
    if number >= limit {
        return Err(RANGE);
    }
    let number = i128::try_from(number).map_err(|_| RANGE)?;
    Ok((Value::Decimal(if *sign == 1 { number } else { -number }), kind))
}

fn datetime(bytes: &[u8]) -> Result<Typed, Malformed> {
    let mut reader = Reader::new(bytes);
    let micros = match bytes.len() {
        0 => return Ok((Value::Null, Some(SqlType::DateTime))),
        4 => moment::from_smalldatetime(reader.u16()?, reader.u16()?),
        8 => moment::from_datetime(i32::from_le_bytes(reader.array()?), reader.u32()?),
        _ => return Err(LENGTH),
    };
    Ok((Value::DateTime(micros.ok_or(RANGE)?), Some(SqlType::DateTime)))
}

fn date(bytes: &[u8]) -> Result<Typed, Malformed> {
    let kind = Some(SqlType::DateTime2(0));
    match bytes {
        [] => Ok((Value::Null, kind)),
        [a, b, c] => {
            let micros = moment::from_date(u32::from_le_bytes([*a, *b, *c, 0]), 0).ok_or(RANGE)?;
            Ok((Value::DateTime(micros), kind))
        }
        _ => Err(LENGTH),
    }
}

fn timed(code: u8, scale: u8, bytes: &[u8]) -> Result<Typed, Malformed> {
    let kind = Some(SqlType::DateTime2(scale));
    if scale > 7 {
        return Err(Malformed("a time with an invalid scale"));
    }
    if bytes.is_empty() {
        return Ok((Value::Null, kind));
    }
    let mut reader = Reader::new(bytes);
    let units =
        reader.take(moment::time_length(scale))?.iter().rev().fold(0, |units, byte| units << 8 | u64::from(*byte));
    let time = moment::from_time(units, scale).ok_or(RANGE)?;
    let micros = match code {
        kind::TIME_N => moment::on_first_of_1900(time),
        _ => {
            let [a, b, c] = reader.array()?;
            let stored = moment::from_date(u32::from_le_bytes([a, b, c, 0]), time).ok_or(RANGE)?;
            // datetimeoffset is stored in UTC, with the minutes that its zone is ahead.
            let ahead = if code == kind::DATETIMEOFFSET_N { i16::from_le_bytes(reader.array()?) } else { 0 };
            if ahead.unsigned_abs() > 14 * 60 {
                return Err(RANGE);
            }
            stored + i64::from(ahead) * 60_000_000
        }
    };
    if !reader.is_empty() {
        return Err(LENGTH);
    }
    Ok((Value::DateTime(micros), kind))
}

fn old(code: u8, reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    let most = u16::from(reader.u8()?).max(1);
    let length = usize::from(reader.u8()?);
    let bytes = reader.take(length)?;
    let binary = matches!(code, kind::VARBINARY_OLD | kind::BINARY_OLD);
    let kind = if binary { SqlType::VarBinary(most) } else { SqlType::VarChar(most) };
    let value = match (bytes, binary) {
        ([], _) => Value::Null,
        (_, true) => Value::Binary(bytes.to_vec()),
        (_, false) => Value::Text(codepage::decode(bytes)),
    };
    Ok((value, Some(kind)))
}

fn binary(reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    let most = reader.u16()?;
    let bytes = counted_or_chunked(most, reader)?;
    let kind = if most == u16::MAX { SqlType::VarBinaryMax } else { SqlType::VarBinary(most.max(1)) };
    Ok((bytes.map_or(Value::Null, Value::Binary), Some(kind)))
}

fn characters(code: u8, reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    let most = reader.u16()?;
    let collation = reader.array()?;
    let wide = matches!(code, kind::NVARCHAR | kind::NCHAR);
    let kind = match (most, wide) {
        (u16::MAX, true) => SqlType::NVarCharMax,
        (u16::MAX, false) => SqlType::VarCharMax,
        (_, true) if code == kind::NCHAR => SqlType::NChar((most / 2).max(1)),
        (_, true) => SqlType::NVarChar((most / 2).max(1)),
        (_, false) => SqlType::VarChar(most.max(1)),
    };
    let value = match counted_or_chunked(most, reader)? {
        None => Value::Null,
        Some(bytes) if wide => Value::Text(utf16(&bytes)?),
        Some(bytes) => Value::Text(narrow_text(collation, &bytes)?),
    };
    Ok((value, Some(kind)))
}

/// `varchar` is in code page 1252, or in UTF-8 when the collation says so.
fn narrow_text(collation: [u8; 5], bytes: &[u8]) -> Result<String, Malformed> {
    let [_, _, _, flags, _] = collation;
    if flags & 0x04 == 0 {
        return Ok(codepage::decode(bytes));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("text that is not UTF-8"))
}

/// The bytes of a value with a length of two bytes, or in chunks when its type is `max`.
fn counted_or_chunked(most: u16, reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    if most == u16::MAX {
        return chunked(reader);
    }
    if most > 8_000 {
        return Err(LENGTH);
    }
    match reader.u16()? {
        u16::MAX => Ok(None),
        length if length > most => Err(LENGTH),
        length => Ok(Some(reader.take(usize::from(length))?.to_vec())),
    }
}

/// Partially length-prefixed bytes: the announced length is not used to allot anything.
fn chunked(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    let announced = reader.u64()?;
    if announced == u64::MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        match reader.length()? {
            0 => break,
            length => bytes.extend_from_slice(reader.take(length)?),
        }
    }
    let unknown = announced == u64::MAX - 1;
    if unknown || u64::try_from(bytes.len()) == Ok(announced) { Ok(Some(bytes)) } else { Err(LENGTH) }
}

fn long(code: u8, reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    reader.u32()?;
    let collation = if code == kind::IMAGE { [0; 5] } else { reader.array()? };
    let kind = match code {
        kind::NTEXT => SqlType::NVarCharMax,
        kind::TEXT => SqlType::VarCharMax,
        _ => SqlType::VarBinaryMax,
    };
    let length = reader.u32()?;
    if length == u32::MAX {
        return Ok((Value::Null, Some(kind)));
    }
    let bytes = reader.take(usize::try_from(length).map_err(|_| LENGTH)?)?;
    let value = match code {
        kind::NTEXT => Value::Text(utf16(bytes)?),
        kind::TEXT => Value::Text(narrow_text(collation, bytes)?),
        _ => Value::Binary(bytes.to_vec()),
    };
    Ok((value, Some(kind)))
}

fn xml(reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    if reader.u8()? != 0 {
        reader.b_varchar()?;
        reader.b_varchar()?;
        let units = reader.u16()?;
        reader.text(usize::from(units))?;
    }
    let value = match chunked(reader)? {
        None => Value::Null,
        Some(bytes) => Value::Text(utf16(&bytes)?),
    };
    Ok((value, Some(SqlType::NVarCharMax)))
}

/// A `sql_variant`: its base type becomes the parameter's type.
fn variant(reader: &mut Reader<'_>) -> Result<Typed, Malformed> {
    let length = reader.length()?;
    if length == 0 {
        return Ok((Value::Null, Some(SqlType::Variant)));
    }
    let mut content = Reader::new(reader.take(length)?);
    let code = content.u8()?;
    let count = usize::from(content.u8()?);
    let mut properties = Reader::new(content.take(count)?);
    let bytes = content.rest();
    match code {
        kind::NVARCHAR | kind::NCHAR => Ok((Value::Text(utf16(bytes)?), Some(SqlType::NVarChar(4_000)))),
        kind::VARCHAR | kind::CHAR => {
            Ok((Value::Text(narrow_text(properties.array()?, bytes)?), Some(SqlType::VarChar(8_000))))
        }
        kind::VARBINARY | kind::BINARY => Ok((Value::Binary(bytes.to_vec()), Some(SqlType::VarBinary(8_000)))),
        kind::DECIMAL_N | kind::NUMERIC_N => bare(code, properties.array()?, bytes),
        kind::TIME_N | kind::DATETIME2_N | kind::DATETIMEOFFSET_N => bare(code, [properties.u8()?, 0], bytes),
        kind::DATE_N | kind::GUID => bare(code, [0; 2], bytes),
        _ if fixed_length(code) == Some(bytes.len()) => bare(code, [0; 2], bytes),
        _ => Err(Malformed("a sql_variant of a type that is not supported")),
    }
}
