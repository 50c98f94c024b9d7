//! Values through both directions, and the parsers under any bytes.

use super::{
    bytes::{Malformed, Reader},
    declare, decode, encode, kind, login, prelogin, rpc, transaction,
};
use crate::value::{SqlType, Value};
use proptest::prelude::*;

/// What a column sends, read as a parameter: the two encodings are the same for every type but `sql_variant`'s base.
fn round_trip(kind: SqlType, value: &Value) -> Result<(Value, Option<SqlType>), Malformed> {
    let mut bytes = Vec::new();
    kind::type_info(&mut bytes, kind);
    encode::value(&mut bytes, kind, value).unwrap();
    let mut reader = Reader::new(&bytes);
    let read = decode::parameter(&mut reader)?;
    assert!(reader.is_empty());
    Ok(read)
}

fn read(bytes: &[u8]) -> Result<(Value, Option<SqlType>), Malformed> {
    decode::parameter(&mut Reader::new(bytes))
}

const NUMERIC: SqlType = SqlType::Decimal { precision: 38, scale: 4 };

#[test]
fn every_type_carries_its_extremes_and_null() {
    let text = || Value::Text("naïve €".into());
    let bytes = || Value::Binary(vec![0, 1, 255]);
    let cases = [
        (SqlType::Bit, vec![Value::Bit(true), Value::Bit(false)]),
        (SqlType::TinyInt, vec![Value::Int(0), Value::Int(255)]),
        (SqlType::SmallInt, vec![Value::Int(i16::MIN.into()), Value::Int(i16::MAX.into())]),
        (SqlType::Int, vec![Value::Int(i32::MIN.into()), Value::Int(i32::MAX.into())]),
        (SqlType::BigInt, vec![Value::Int(i64::MIN), Value::Int(i64::MAX)]),
        (SqlType::Float, vec![Value::Float(f64::MIN), Value::Float(5e-324)]),
        (NUMERIC, vec![Value::Decimal(10_i128.pow(38) - 1), Value::Decimal(1 - 10_i128.pow(38)), Value::Decimal(0)]),
        (SqlType::NVarChar(7), vec![text(), Value::Text(String::new())]),
        (SqlType::NVarCharMax, vec![text(), Value::Text("x".repeat(3 << 20)), Value::Text(String::new())]),
        (SqlType::VarChar(7), vec![text(), Value::Text(String::new())]),
        (SqlType::VarCharMax, vec![text()]),
        (SqlType::VarBinary(3), vec![bytes(), Value::Binary(vec![])]),
        (SqlType::VarBinaryMax, vec![bytes(), Value::Binary(vec![])]),
        (SqlType::Guid, vec![Value::Guid(uuid::Uuid::from_u128(0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10))]),
        (SqlType::DateTime, vec![Value::DateTime(0), Value::DateTime(-6_847_804_800_000_000)]),
        (
            SqlType::DateTime2(7),
            vec![Value::DateTime(-62_135_596_800_000_000), Value::DateTime(253_402_300_799_999_999)],
        ),
        (SqlType::DateTime2(0), vec![Value::DateTime(1_000_000)]),
        (SqlType::DateTime2(3), vec![Value::DateTime(1_001_000)]),
    ];
    for (kind, values) in cases {
        for value in values.into_iter().chain([Value::Null]) {
            let expected = (value.clone(), Some(kind));
            assert_eq!(round_trip(kind, &value), Ok(expected));
        }
    }
}

#[test]
fn a_variant_carries_the_type_of_its_value() {
    let guid = Value::Guid(uuid::Uuid::from_u128(7));
    for (value, kind) in [
        (Value::Null, SqlType::Variant),
        (Value::Bit(true), SqlType::Bit),
        (Value::Int(-7), SqlType::Int),
        (Value::Int(i64::MAX), SqlType::BigInt),
        (Value::Float(0.5), SqlType::Float),
        (Value::Decimal(-5), SqlType::Decimal { precision: 38, scale: 0 }),
        (Value::Text("yes ✓".into()), SqlType::NVarChar(4_000)),
        (Value::Binary(vec![1]), SqlType::VarBinary(8_000)),
        (guid, SqlType::Guid),
        (Value::DateTime(1), SqlType::DateTime2(7)),
    ] {
        assert_eq!(round_trip(SqlType::Variant, &value), Ok((value, Some(kind))));
    }
}

#[test]
fn guids_are_sent_with_their_first_three_parts_little_endian() {
    let mut bytes = Vec::new();
    let guid = Value::Text("01020304-0506-0708-090a-0b0c0d0e0f10".into());
    encode::value(&mut bytes, SqlType::Guid, &guid).unwrap();
    assert_eq!(bytes, [16, 4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16]);
}

#[test]
fn types_without_a_name_of_their_own_are_carried_by_their_nearest_relative() {
    let money = |precision| Some(SqlType::Decimal { precision, scale: 4 });
    let moment = |scale| Some(SqlType::DateTime2(scale));
    let day = 86_400_000_000;
    for (bytes, expected) in [
        (&[0x30, 7][..], (Value::Int(7), Some(SqlType::TinyInt))),
        (&[0x32, 1], (Value::Bit(true), Some(SqlType::Bit))),
        (&[0x34, 0xFF, 0xFF], (Value::Int(-1), Some(SqlType::SmallInt))),
        (&[0x3B, 0, 0, 0, 0x3F], (Value::Float(0.5), Some(SqlType::Float))),
        (&[0x6D, 4, 4, 0, 0, 0, 0x3F], (Value::Float(0.5), Some(SqlType::Float))),
        (&[0x3C, 0, 0, 0, 0, 0x10, 0x27, 0, 0], (Value::Decimal(10_000), money(19))),
        (&[0x6E, 4, 4, 0x10, 0x27, 0, 0], (Value::Decimal(10_000), money(10))),
        (&[0x6F, 4, 4, 0xDF, 0x63, 1, 0], (Value::DateTime(60_000_000), Some(SqlType::DateTime))),
        (&[0x28, 3, 0x3B, 0xF9, 0x0A], (Value::DateTime(day), moment(0))),
        (&[0x29, 0, 3, 1, 0, 0], (Value::DateTime(1_000_000 - 25_567 * day), moment(0))),
        // 00:00:01 in UTC, an hour ahead.
        (&[0x2B, 0, 8, 1, 0, 0, 0x3A, 0xF9, 0x0A, 60, 0], (Value::DateTime(3_601_000_000), moment(0))),
        (&[0x27, 9, 2, b'h', b'i'], (Value::Text("hi".into()), Some(SqlType::VarChar(9)))),
        (
            &[0x23, 9, 0, 0, 0, 9, 4, 0xD0, 0, 0x34, 1, 0, 0, 0, 0x80],
            (Value::Text("€".into()), Some(SqlType::VarCharMax)),
        ),
        (
            &[0x63, 9, 0, 0, 0, 9, 4, 0xD0, 0, 0x34, 2, 0, 0, 0, b'x', 0],
            (Value::Text("x".into()), Some(SqlType::NVarCharMax)),
        ),
        (&[0x22, 9, 0, 0, 0, 1, 0, 0, 0, 5], (Value::Binary(vec![5]), Some(SqlType::VarBinaryMax))),
        (&[0x1F], (Value::Null, None)),
    ] {
        assert_eq!(read(bytes), Ok(expected), "{bytes:?}");
    }
}

#[test]
fn varchar_under_a_utf_8_collation_is_utf_8() {
    let bytes = |content: [u8; 2]| [&[0xA7, 2, 0, 9, 4, 0xD0, 4, 0x34, 2, 0][..], &content].concat();
    assert_eq!(read(&bytes([0xC3, 0xA9])).unwrap().0, Value::Text("é".into()));
    assert!(read(&bytes([0xC3, 0xC3])).is_err());
}

#[test]
fn values_out_of_range_are_malformed() {
    for bytes in [
        &[0x6C, 5, 1, 0, 5, 1, 10, 0, 0, 0][..],
        &[0x6C, 17, 39, 0, 0],
        &[0x6C, 17, 2, 3, 0],
        &[0x6D, 4, 4, 0, 0, 0x80, 0x7F],
        &[0x28, 3, 0xFF, 0xFF, 0xFF],
        &[0x29, 8, 0],
        &[0x2A, 0, 6, 0xFF, 0xFF, 0xFF, 0, 0, 0],
        &[0x24, 16, 3, 0, 0, 0],
        &[0xE7, 2, 0, 9, 4, 0xD0, 0, 0x34, 4, 0, 1, 0, 1, 0],
        &[0xE7, 0xFE, 0xFF, 9, 4, 0xD0, 0, 0x34, 0, 0],
    ] {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_result_value_that_loses_something_does_not_fit() {
    for (kind, value) in [
        (SqlType::TinyInt, Value::Int(256)),
        (SqlType::Int, Value::Int(i64::MAX)),
        (SqlType::Int, Value::Text("seven".into())),
        (SqlType::Decimal { precision: 2, scale: 0 }, Value::Int(100)),
        (SqlType::Decimal { precision: 9, scale: 1 }, Value::Text("1.23".into())),
        (SqlType::Guid, Value::Text("no guid".into())),
        (SqlType::VarBinaryMax, Value::Text("text".into())),
        (SqlType::DateTime, Value::DateTime(i64::MIN)),
        (SqlType::Variant, Value::Text("x".repeat(5_000))),
    ] {
        assert!(encode::value(&mut Vec::new(), kind, &value).is_err(), "{kind:?} {value:?}");
    }
}

#[test]
fn decimals_may_come_as_text_integers_or_floats() {
    let kind = SqlType::Decimal { precision: 9, scale: 2 };
    for value in [Value::Text("-1.5".into()), Value::Float(-1.5), Value::Decimal(-150)] {
        assert_eq!(round_trip(kind, &value).unwrap().0, Value::Decimal(-150));
    }
    assert_eq!(round_trip(kind, &Value::Int(2)).unwrap().0, Value::Decimal(200));
}

proptest! {
    #[test]
    fn no_parser_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), code in any::<u8>()) {
        let _ = prelogin::parse(&bytes);
        let _ = login::parse(&bytes);
        let _ = rpc::next_call(&mut Reader::new(&bytes));
        let _ = transaction::parse(&bytes);
        let _ = declare::parse(&String::from_utf8_lossy(&bytes));
        let _ = read(&[&[code], &bytes[..]].concat());
    }

    #[test]
    fn a_damaged_login_is_read_or_refused(at in 0_usize..94, byte in any::<u8>()) {
        let mut message = login::tests::message(&login::tests::sa(), 0x7400_0004, 4_096);
        message[at] = byte;
        let _ = login::parse(&message);
    }

    #[test]
    fn text_of_any_kind_survives(text in any::<String>()) {
        let value = Value::Text(text);
        prop_assert_eq!(round_trip(SqlType::NVarCharMax, &value).unwrap().0, value);
    }

    #[test]
    fn every_microsecond_of_the_calendar_survives_datetime2(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
        let value = Value::DateTime(micros);
        prop_assert_eq!(round_trip(SqlType::DateTime2(7), &value).unwrap().0, value);
    }
}
