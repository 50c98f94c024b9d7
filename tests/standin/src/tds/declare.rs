//! Parameter declarations of `sp_executesql` and `sp_prepare`: `@a int, @b decimal(10, 2) OUTPUT`.

use crate::value::SqlType;

/// One declared parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// With `@`.
    pub(super) name: String,
    /// `None` for types that the stand-in has no name for.
    pub(super) kind: Option<SqlType>,
    pub(super) output: bool,
}

/// Reads a list of declarations; what is not one is skipped, the statement itself will complain about it.
pub(super) fn parse(text: &str) -> Vec<Declared> {
    split(text).into_iter().filter_map(one).collect()
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.extend(text.get(start..index));
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

fn one(text: &str) -> Option<Declared> {
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace)?;
    if !name.starts_with('@') {
        return None;
    }
    let rest = rest.trim().to_ascii_lowercase();
    let rest = rest.strip_prefix("as ").unwrap_or(&rest).trim();
    let output = rest.split_whitespace().next_back().is_some_and(|word| matches!(word, "out" | "output"));
    let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let arguments = rest.split_once('(').and_then(|(_, tail)| tail.split_once(')')).map_or("", |(inside, _)| inside);
    Some(Declared { name: name.to_owned(), kind: kind(&word, arguments), output })
}

fn kind(word: &str, arguments: &str) -> Option<SqlType> {
    let mut numbers = arguments.split(',').map(str::trim);
    let first = numbers.next().unwrap_or("");
    let number = |text: &str, default: u16| text.parse().unwrap_or(default);
    let small = |text: &str, default: u8| text.parse().unwrap_or(default);
    let max = first == "max";
    Some(match word {
        "bit" => SqlType::Bit,
        "tinyint" => SqlType::TinyInt,
        "smallint" => SqlType::SmallInt,
        "int" | "integer" => SqlType::Int,
        "bigint" => SqlType::BigInt,
        "float" | "real" => SqlType::Float,
        "decimal" | "numeric" | "dec" => {
            SqlType::Decimal { precision: small(first, 18), scale: small(numbers.next().unwrap_or(""), 0) }
        }
        "money" => SqlType::Decimal { precision: 19, scale: 4 },
        "smallmoney" => SqlType::Decimal { precision: 10, scale: 4 },
        "nvarchar" if max => SqlType::NVarCharMax,
        "varchar" if max => SqlType::VarCharMax,
        "varbinary" if max => SqlType::VarBinaryMax,
        "ntext" | "xml" => SqlType::NVarCharMax,
        "text" => SqlType::VarCharMax,
        "image" => SqlType::VarBinaryMax,
        "nchar" => SqlType::NChar(number(first, 1)),
        "nvarchar" => SqlType::NVarChar(number(first, 1)),
        "sysname" => SqlType::NVarChar(128),
        "char" | "varchar" => SqlType::VarChar(number(first, 1)),
        "binary" | "varbinary" => SqlType::VarBinary(number(first, 1)),
        "uniqueidentifier" => SqlType::Guid,
        "datetime" | "smalldatetime" => SqlType::DateTime,
        "datetime2" | "datetimeoffset" | "time" => SqlType::DateTime2(small(first, 7)),
        "date" => SqlType::DateTime2(0),
        "sql_variant" => SqlType::Variant,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_give_names_types_and_direction() {
        let declared = parse("@P1 nvarchar(4000), @b decimal(10, 2) OUTPUT,@c AS varbinary(max) out , @d table_type");
        let one = |name: &str, kind, output| Declared { name: name.into(), kind, output };
        assert_eq!(
            declared,
            [
                one("@P1", Some(SqlType::NVarChar(4_000)), false),
                one("@b", Some(SqlType::Decimal { precision: 10, scale: 2 }), true),
                one("@c", Some(SqlType::VarBinaryMax), true),
                one("@d", None, false),
            ]
        );
    }

    #[test]
    fn what_is_no_declaration_is_skipped() {
        assert_eq!(parse(""), []);
        assert_eq!(parse(")))((,,,@,@a"), []);
    }
}
