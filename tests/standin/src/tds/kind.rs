//! Types on the wire: their codes and how a column or return value declares them.

use super::bytes::Put;
use crate::value::{SqlType, Value};

/// SQL_Latin1_General_CP1_CI_AS.
pub(super) const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

pub(super) const NULL: u8 = 0x1F;
pub(super) const IMAGE: u8 = 0x22;
pub(super) const TEXT: u8 = 0x23;
pub(super) const GUID: u8 = 0x24;
pub(super) const VARBINARY_OLD: u8 = 0x25;
pub(super) const INT_N: u8 = 0x26;
pub(super) const VARCHAR_OLD: u8 = 0x27;
pub(super) const DATE_N: u8 = 0x28;
pub(super) const TIME_N: u8 = 0x29;
pub(super) const DATETIME2_N: u8 = 0x2A;
pub(super) const DATETIMEOFFSET_N: u8 = 0x2B;
pub(super) const BINARY_OLD: u8 = 0x2D;
pub(super) const CHAR_OLD: u8 = 0x2F;
pub(super) const INT1: u8 = 0x30;
pub(super) const BIT: u8 = 0x32;
pub(super) const INT2: u8 = 0x34;
pub(super) const DECIMAL_OLD: u8 = 0x37;
pub(super) const INT4: u8 = 0x38;
pub(super) const SMALLDATETIME: u8 = 0x3A;
pub(super) const FLOAT4: u8 = 0x3B;
pub(super) const MONEY: u8 = 0x3C;
pub(super) const DATETIME: u8 = 0x3D;
pub(super) const FLOAT8: u8 = 0x3E;
pub(super) const NUMERIC_OLD: u8 = 0x3F;
pub(super) const VARIANT: u8 = 0x62;
pub(super) const NTEXT: u8 = 0x63;
pub(super) const BIT_N: u8 = 0x68;
pub(super) const DECIMAL_N: u8 = 0x6A;
pub(super) const NUMERIC_N: u8 = 0x6C;
pub(super) const FLOAT_N: u8 = 0x6D;
pub(super) const MONEY_N: u8 = 0x6E;
pub(super) const DATETIME_N: u8 = 0x6F;
pub(super) const SMALLMONEY: u8 = 0x7A;
pub(super) const INT8: u8 = 0x7F;
pub(super) const VARBINARY: u8 = 0xA5;
pub(super) const VARCHAR: u8 = 0xA7;
pub(super) const BINARY: u8 = 0xAD;
pub(super) const CHAR: u8 = 0xAF;
pub(super) const NVARCHAR: u8 = 0xE7;
pub(super) const NCHAR: u8 = 0xEF;
pub(super) const XML: u8 = 0xF1;

/// Longest value of a `sql_variant`, with its type information.
const VARIANT_LENGTH: u32 = 8_009;

/// Length of a DECIMALN value of this precision, with its sign byte.
pub(super) fn decimal_length(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

/// Writes TYPE_INFO.
pub(super) fn type_info(out: &mut Vec<u8>, kind: SqlType) {
    match kind {
        SqlType::Bit => out.bytes(&[BIT_N, 1]),
        SqlType::TinyInt => out.bytes(&[INT_N, 1]),
        SqlType::SmallInt => out.bytes(&[INT_N, 2]),
        SqlType::Int => out.bytes(&[INT_N, 4]),
        SqlType::BigInt => out.bytes(&[INT_N, 8]),
        SqlType::Float => out.bytes(&[FLOAT_N, 8]),
        SqlType::Decimal { precision, scale } => out.bytes(&[NUMERIC_N, decimal_length(precision), precision, scale]),
        SqlType::NChar(length) => characters(out, NCHAR, length.saturating_mul(2)),
        SqlType::NVarChar(length) => characters(out, NVARCHAR, length.saturating_mul(2)),
        SqlType::NVarCharMax => characters(out, NVARCHAR, u16::MAX),
        SqlType::VarChar(length) => characters(out, VARCHAR, length),
        SqlType::VarCharMax => characters(out, VARCHAR, u16::MAX),
        SqlType::VarBinary(length) => binary(out, length),
        SqlType::VarBinaryMax => binary(out, u16::MAX),
        SqlType::Guid => out.bytes(&[GUID, 16]),
        SqlType::DateTime => out.bytes(&[DATETIME_N, 8]),
        SqlType::DateTime2(scale) => out.bytes(&[DATETIME2_N, scale]),
        SqlType::Variant => {
            out.u8(VARIANT);
            out.u32(VARIANT_LENGTH);
        }
    }
}

fn characters(out: &mut Vec<u8>, code: u8, length: u16) {
    out.u8(code);
    out.u16(length);
    out.bytes(&COLLATION);
}

fn binary(out: &mut Vec<u8>, length: u16) {
    out.u8(VARBINARY);
    out.u16(length);
}

/// The type that can be declared for a column: lengths, precisions and scales within SQL Server's limits, and wide
/// enough for the values that follow, because clients allot buffers by the declaration.
pub(super) fn fitting<'a>(kind: SqlType, values: impl Iterator<Item = &'a Value>) -> SqlType {
    let longest = |least: u16, length: &dyn Fn(&Value) -> usize| {
        values.map(length).max().unwrap_or(0).max(usize::from(least)).max(1)
    };
    let utf16 = |value: &Value| match value {
        Value::Text(text) if text.is_ascii() => text.len(),
        Value::Text(text) => text.encode_utf16().count(),
        _ => 0,
    };
    let single = |value: &Value| if let Value::Text(text) = value { text.chars().count() } else { 0 };
    let octets = |value: &Value| if let Value::Binary(bytes) = value { bytes.len() } else { 0 };
    let sized = |length: usize, most: u16, some: fn(u16) -> SqlType, max: SqlType| match u16::try_from(length) {
        Ok(length) if length <= most => some(length),
        _ => max,
    };
    match kind {
        SqlType::NChar(length) => sized(longest(length, &utf16), 4_000, SqlType::NChar, SqlType::NVarCharMax),
        SqlType::NVarChar(length) => sized(longest(length, &utf16), 4_000, SqlType::NVarChar, SqlType::NVarCharMax),
        SqlType::VarChar(length) => sized(longest(length, &single), 8_000, SqlType::VarChar, SqlType::VarCharMax),
        SqlType::VarBinary(length) => sized(longest(length, &octets), 8_000, SqlType::VarBinary, SqlType::VarBinaryMax),
        SqlType::Decimal { precision, scale } => {
            let precision = precision.clamp(1, 38);
            SqlType::Decimal { precision, scale: scale.min(precision) }
        }
        SqlType::DateTime2(scale) => SqlType::DateTime2(scale.min(7)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_declared_wide_enough_for_its_longest_value() {
        let values = [Value::Text("abcd".into()), Value::Text("😀".into()), Value::Null];
        assert_eq!(fitting(SqlType::NVarChar(2), values.iter()), SqlType::NVarChar(4));
        assert_eq!(fitting(SqlType::NVarChar(10), values.iter()), SqlType::NVarChar(10));
        let long = [Value::Text("x".repeat(4_001))];
        assert_eq!(fitting(SqlType::NVarChar(10), long.iter()), SqlType::NVarCharMax);
        assert_eq!(fitting(SqlType::VarChar(10), long.iter()), SqlType::VarChar(4_001));
    }

    #[test]
    fn a_decimal_is_declared_with_the_length_its_precision_needs() {
        let mut out = Vec::new();
        type_info(&mut out, SqlType::Decimal { precision: 25, scale: 0 });
        assert_eq!(out, [0x6C, 13, 25, 0]);
        assert_eq!([9, 10, 19, 20, 28, 29, 38].map(decimal_length), [5, 9, 9, 13, 13, 17, 17]);
    }
}
