//! Type names.

use super::parse::not_supported;
use crate::{
    errors::{Message, SqlResult},
    value::SqlType,
};

/// Length of a type of text or bytes; 1 when none is given. Error 131.
fn length(name: &str, arguments: &[String], most: u16) -> SqlResult<u16> {
    let Some(text) = arguments.first() else { return Ok(1) };
    match text.parse::<u16>() {
        Ok(length) if (1..=most).contains(&length) => Ok(length),
        _ => Err(Message::new(
            131,
            15,
            format!(
                "The size ({text}) given to the type '{name}' exceeds the maximum allowed for any data type (8000)."
            ),
        )
        .state(3)),
    }
}

/// Precision or scale; `None` when it is out of range.
fn small(arguments: &[String], index: usize, default: u8, most: u8) -> Option<u8> {
    let value = arguments.get(index).map_or(Ok(default), |text| text.parse::<u8>());
    value.ok().filter(|value| *value <= most)
}

/// Type from its name and arguments.
pub fn from_parts(name: &str, arguments: &[String]) -> SqlResult<SqlType> {
    let max = arguments.first().is_some_and(|argument| argument.eq_ignore_ascii_case("max"));
    Ok(match name.to_ascii_lowercase().as_str() {
        "bit" => SqlType::Bit,
        "tinyint" => SqlType::TinyInt,
        "smallint" => SqlType::SmallInt,
        "int" | "integer" => SqlType::Int,
        "bigint" => SqlType::BigInt,
        "float" | "real" | "double" => SqlType::Float,
        "decimal" | "numeric" | "dec" => {
            let (Some(precision), Some(scale)) = (small(arguments, 0, 18, 38), small(arguments, 1, 0, 38)) else {
                return Err(Message::new(1007, 15, format!("The number given to the type '{name}' is out of range.")));
            };
            SqlType::Decimal { precision, scale }
        }
        "money" => SqlType::Decimal { precision: 19, scale: 4 },
        "smallmoney" => SqlType::Decimal { precision: 10, scale: 4 },
        "nchar" => SqlType::NChar(length(name, arguments, 4000)?),
        "sysname" => SqlType::NVarChar(128),
        "nvarchar" if max => SqlType::NVarCharMax,
        "nvarchar" => SqlType::NVarChar(length(name, arguments, 4000)?),
        "varchar" if max => SqlType::VarCharMax,
        "varchar" | "char" | "character" => SqlType::VarChar(length(name, arguments, 8000)?),
        "ntext" | "xml" => SqlType::NVarCharMax,
        "text" => SqlType::VarCharMax,
        "varbinary" if max => SqlType::VarBinaryMax,
        "varbinary" | "binary" => SqlType::VarBinary(length(name, arguments, 8000)?),
        "image" => SqlType::VarBinaryMax,
        "uniqueidentifier" => SqlType::Guid,
        "datetime" | "smalldatetime" => SqlType::DateTime,
        "datetime2" => SqlType::DateTime2(small(arguments, 0, 7, 7).unwrap_or(7)),
        "sql_variant" => SqlType::Variant,
        "date" | "time" | "datetimeoffset" | "rowversion" | "timestamp" | "hierarchyid" | "geometry" | "geography" => {
            return Err(not_supported(&format!("The data type {name}")));
        }
        _ => {
            return Err(Message::new(
                2715,
                16,
                format!("Column, parameter, or variable #1: Cannot find data type {name}."),
            )
            .state(6));
        }
    })
}

/// Type from text such as `NVARCHAR(36)`; CAST without a length means 30.
pub fn from_text(text: &str, default_length: Option<u16>) -> SqlResult<SqlType> {
    let (name, rest) = text.split_once('(').map_or((text, ""), |(name, rest)| (name, rest.trim_end_matches(')')));
    let mut arguments: Vec<String> = rest.split(',').map(|a| a.trim().to_string()).filter(|a| !a.is_empty()).collect();
    let mut name = name.trim().trim_matches(['[', ']', '"']);
    // SQLite's column types have no (max).
    if let Some(bare) = name.strip_suffix(" max") {
        name = bare;
        arguments.push("max".into());
    }
    let varies = ["char", "nchar", "varchar", "nvarchar", "varbinary", "binary"];
    if let Some(length) = default_length
        && arguments.is_empty()
        && varies.iter().any(|v| v.eq_ignore_ascii_case(name))
    {
        arguments.push(length.to_string());
    }
    from_parts(name, &arguments)
}

/// Declared type as SQL Server writes it; SQLite keeps it as a column's type and derives its affinity from it.
pub fn text(kind: SqlType) -> String {
    match kind {
        SqlType::Bit => "bit".into(),
        SqlType::TinyInt => "tinyint".into(),
        SqlType::SmallInt => "smallint".into(),
        SqlType::Int => "int".into(),
        SqlType::BigInt => "bigint".into(),
        SqlType::Float => "float".into(),
        SqlType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        SqlType::NChar(n) => format!("nchar({n})"),
        SqlType::NVarChar(n) => format!("nvarchar({n})"),
        SqlType::NVarCharMax => "nvarchar(max)".into(),
        SqlType::VarChar(n) => format!("varchar({n})"),
        SqlType::VarCharMax => "varchar(max)".into(),
        SqlType::VarBinary(n) => format!("varbinary({n})"),
        SqlType::VarBinaryMax => "varbinary(max)".into(),
        SqlType::Guid => "uniqueidentifier".into(),
        SqlType::DateTime => "datetime".into(),
        SqlType::DateTime2(scale) => format!("datetime2({scale})"),
        SqlType::Variant => "sql_variant".into(),
    }
}

/// Type as SQLite's CREATE TABLE takes it.
pub fn declared(kind: SqlType) -> String {
    text(kind).replace("(max)", " max")
}

/// Whether it holds characters.
pub fn is_text(kind: SqlType) -> bool {
    matches!(
        kind,
        SqlType::NChar(_) | SqlType::NVarChar(_) | SqlType::NVarCharMax | SqlType::VarChar(_) | SqlType::VarCharMax
    )
}

/// `system_type_id`, `user_type_id` and `max_length` in `sys.columns`.
pub fn catalog(kind: SqlType) -> (i64, i64) {
    match kind {
        SqlType::Bit => (104, 1),
        SqlType::TinyInt => (48, 1),
        SqlType::SmallInt => (52, 2),
        SqlType::Int => (56, 4),
        SqlType::BigInt => (127, 8),
        SqlType::Float => (62, 8),
        SqlType::Decimal { precision, .. } => (
            106,
            if precision <= 9 {
                5
            } else if precision <= 19 {
                9
            } else {
                17
            },
        ),
        SqlType::NChar(n) => (239, i64::from(n) * 2),
        SqlType::NVarChar(n) => (231, i64::from(n) * 2),
        SqlType::NVarCharMax => (231, -1),
        SqlType::VarChar(n) => (167, i64::from(n)),
        SqlType::VarCharMax => (167, -1),
        SqlType::VarBinary(n) => (165, i64::from(n)),
        SqlType::VarBinaryMax => (165, -1),
        SqlType::Guid => (36, 16),
        SqlType::DateTime => (61, 8),
        SqlType::DateTime2(_) => (42, 8),
        SqlType::Variant => (98, 8016),
    }
}
