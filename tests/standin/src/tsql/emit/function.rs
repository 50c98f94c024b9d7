//! Functions: aggregates and windows are SQLite's own, moments are constants of the statement, the rest is in
//! [`crate::tsql::functions`]; functions that ask the server go through `tsql_state`.

use super::{Emitter, Piece, combine, literal, object_name};
use crate::{
    errors::{Message, SqlResult},
    tsql::{convert, parse::not_supported},
    value::SqlType,
};
use sqlparser::ast::{DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, WindowType};

/// Functions that ask the server or the session, with their types.
const STATE: &[(&str, Option<SqlType>)] = &[
    ("serverproperty", Some(SqlType::Variant)),
    ("session_context", Some(SqlType::Variant)),
    ("databasepropertyex", Some(SqlType::Variant)),
    ("connectionproperty", Some(SqlType::Variant)),
    ("db_id", Some(SqlType::SmallInt)),
    ("db_name", Some(SqlType::NVarChar(128))),
    ("original_db_name", Some(SqlType::NVarChar(128))),
    ("suser_id", Some(SqlType::Int)),
    ("suser_sid", Some(SqlType::VarBinary(85))),
    ("suser_name", Some(SqlType::NVarChar(128))),
    ("suser_sname", Some(SqlType::NVarChar(128))),
    ("original_login", Some(SqlType::NVarChar(128))),
    ("system_user", Some(SqlType::NVarChar(128))),
    ("loginproperty", Some(SqlType::Variant)),
    ("user_id", Some(SqlType::Int)),
    ("database_principal_id", Some(SqlType::Int)),
    ("user_name", Some(SqlType::NVarChar(128))),
    ("current_user", Some(SqlType::NVarChar(128))),
    ("session_user", Some(SqlType::NVarChar(128))),
    ("user", Some(SqlType::NVarChar(128))),
    ("object_id", Some(SqlType::Int)),
    ("object_name", Some(SqlType::NVarChar(128))),
    ("schema_id", Some(SqlType::Int)),
    ("schema_name", Some(SqlType::NVarChar(128))),
    ("cert_id", Some(SqlType::Int)),
    ("certencoded", Some(SqlType::VarBinary(8000))),
    ("certprivatekey", Some(SqlType::VarBinary(8000))),
    ("has_perms_by_name", Some(SqlType::Int)),
    ("has_dbaccess", Some(SqlType::Int)),
    ("is_srvrolemember", Some(SqlType::Int)),
    ("is_member", Some(SqlType::Int)),
    ("is_rolemember", Some(SqlType::Int)),
    ("fn_hadr_is_primary_replica", Some(SqlType::Bit)),
    ("host_name", Some(SqlType::NVarChar(128))),
    ("app_name", Some(SqlType::NVarChar(128))),
    ("program_name", Some(SqlType::NVarChar(128))),
    ("xact_state", Some(SqlType::SmallInt)),
    ("scope_identity", Some(SqlType::Decimal { precision: 38, scale: 0 })),
    ("error_number", Some(SqlType::Int)),
    ("error_severity", Some(SqlType::Int)),
    ("error_state", Some(SqlType::Int)),
    ("error_line", Some(SqlType::Int)),
    ("error_message", Some(SqlType::NVarChar(4000))),
    ("error_procedure", Some(SqlType::NVarChar(128))),
    ("applock_mode", Some(SqlType::NVarChar(32))),
];

/// Plain functions, with their types; `None`: that of the first argument.
const SCALAR: &[(&str, Option<SqlType>)] = &[
    ("len", Some(SqlType::Int)),
    ("datalength", Some(SqlType::Int)),
    ("charindex", Some(SqlType::Int)),
    ("left", None),
    ("right", None),
    ("substring", None),
    ("replace", Some(SqlType::NVarChar(4000))),
    ("ltrim", None),
    ("rtrim", None),
    ("trim", None),
    ("upper", None),
    ("lower", None),
    ("reverse", None),
    ("replicate", Some(SqlType::NVarChar(4000))),
    ("space", Some(SqlType::VarChar(8000))),
    ("stuff", Some(SqlType::NVarChar(4000))),
    ("concat", Some(SqlType::NVarChar(4000))),
    ("concat_ws", Some(SqlType::NVarChar(4000))),
    ("quotename", Some(SqlType::NVarChar(258))),
    ("ascii", Some(SqlType::Int)),
    ("unicode", Some(SqlType::Int)),
    ("char", Some(SqlType::VarChar(1))),
    ("nchar", Some(SqlType::NVarChar(1))),
    ("isnumeric", Some(SqlType::Int)),
    ("isdate", Some(SqlType::Int)),
    ("abs", None),
    ("ceiling", None),
    ("floor", None),
    ("round", None),
    ("sign", None),
    ("power", None),
    ("sqrt", Some(SqlType::Float)),
    ("year", Some(SqlType::Int)),
    ("month", Some(SqlType::Int)),
    ("day", Some(SqlType::Int)),
    ("hashbytes", Some(SqlType::VarBinary(8000))),
    ("parsename", Some(SqlType::NVarChar(128))),
];

impl Emitter<'_> {
    /// Functions that are called without parentheses.
    pub(super) fn is_niladic(&self, name: &str) -> bool {
        ["current_timestamp", "system_user", "session_user", "current_user", "user"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// A function on expressions.
    pub(super) fn call(&mut self, name: &str, arguments: &[&Expr]) -> SqlResult<Piece> {
        let pieces = arguments.iter().map(|e| self.expression(e)).collect::<SqlResult<Vec<_>>>()?;
        self.plain(&name.to_ascii_lowercase(), pieces)
    }

    pub(super) fn function(&mut self, function: &Function) -> SqlResult<Piece> {
        let name = object_name(&function.name)?;
        if name.schema.as_ref().is_some_and(|schema| !schema.eq_ignore_ascii_case("sys")) {
            let schema = name.schema.unwrap_or_default();
            return Err(Message::new(
                4121,
                16,
                format!(
                    "Cannot find either column \"{schema}\" or the user-defined function or aggregate \"{schema}.{}\", or the name is ambiguous.",
                    name.name
                ),
            ));
        }
        let name = name.name.to_ascii_lowercase();
        let (distinct, arguments) = arguments(function)?;
        if let Some(piece) = self.aggregate(&name, distinct, &arguments, function)? {
            return Ok(piece);
        }
        if function.over.is_some() || distinct {
            return Err(not_supported(&format!("OVER or DISTINCT with {name}")));
        }
        let dated = ["datediff", "datediff_big", "dateadd", "datepart", "datename"].contains(&name.as_str());
        let mut pieces = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            let FunctionArgExpr::Expr(expr) = argument else {
                return Err(Message::new(102, 15, "Incorrect syntax near '*'."));
            };
            // The date part is a bare word.
            if dated && index == 0 {
                pieces.push(Piece::new(literal(&expr.to_string().to_lowercase()), None));
            } else {
                pieces.push(self.expression(expr)?);
            }
        }
        self.plain(&name, pieces)
    }

    fn aggregate(
        &mut self,
        name: &str,
        distinct: bool,
        arguments: &[&FunctionArgExpr],
        function: &Function,
    ) -> SqlResult<Option<Piece>> {
        let window = ["row_number", "rank", "dense_rank", "ntile", "lag", "lead", "first_value", "last_value"];
        let aggregate = ["count", "count_big", "sum", "min", "max", "avg", "string_agg"];
        if !window.contains(&name) && !aggregate.contains(&name) {
            return Ok(None);
        }
        let mut texts = Vec::new();
        let mut kind = None;
        for (index, argument) in arguments.iter().enumerate() {
            match argument {
                FunctionArgExpr::Expr(expr) => {
                    let piece = self.expression(expr)?;
                    if index == 0 {
                        kind = piece.kind;
                    }
                    texts.push(piece.sql);
                }
                FunctionArgExpr::Wildcard => texts.push("*".into()),
                _ => return Err(not_supported("This argument of an aggregate")),
            }
        }
        let kind = match name {
            "count" => Some(SqlType::Int),
            "count_big" | "row_number" | "rank" | "dense_rank" | "ntile" => Some(SqlType::BigInt),
            "sum" | "avg" => match kind {
                Some(SqlType::TinyInt | SqlType::SmallInt | SqlType::Bit) => Some(SqlType::Int),
                Some(SqlType::Decimal { scale, .. }) => {
                    Some(SqlType::Decimal { precision: 38, scale: if name == "avg" { scale.max(6) } else { scale } })
                }
                other => other,
            },
            "string_agg" => Some(SqlType::NVarChar(4000)),
            _ => kind,
        };
        let distinct = if distinct { "DISTINCT " } else { "" };
        let list = texts.join(", ");
        let over = self.over(function)?;
        let sql = match name {
            "count_big" => format!("count({distinct}{list}){over}"),
            "avg" => format!("tsql_average(sum({distinct}{list}){over}, count({distinct}{list}){over})"),
            "string_agg" => {
                let order = if function.within_group.is_empty() {
                    String::new()
                } else {
                    format!(" ORDER BY {}", self.order_items(&function.within_group)?)
                };
                format!("group_concat({list}{order}){over}")
            }
            _ => format!("{name}({distinct}{list}){over}"),
        };
        Ok(Some(Piece::new(sql, kind)))
    }

    fn over(&mut self, function: &Function) -> SqlResult<String> {
        let Some(over) = &function.over else { return Ok(String::new()) };
        let WindowType::WindowSpec(spec) = over else { return Err(not_supported("A named window")) };
        if spec.window_frame.is_some() {
            return Err(not_supported("A window frame"));
        }
        let mut sql = String::from(" OVER (");
        if !spec.partition_by.is_empty() {
            let parts =
                spec.partition_by.iter().map(|e| self.expression(e).map(|p| p.sql)).collect::<SqlResult<Vec<_>>>()?;
            sql.push_str(&format!("PARTITION BY {}", parts.join(", ")));
        }
        if !spec.order_by.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", self.order_items(&spec.order_by)?));
        }
        sql.push(')');
        Ok(sql)
    }

    fn plain(&mut self, name: &str, arguments: Vec<Piece>) -> SqlResult<Piece> {
        if let Some(piece) = self.moment(name) {
            return Ok(piece);
        }
        if let Some((least, most)) = taken(name)
            && !(least..=most).contains(&arguments.len())
        {
            return Err(Message::new(174, 15, format!("The {name} function requires {least} argument(s).")));
        }
        let list = arguments.iter().map(|piece| piece.sql.as_str()).collect::<Vec<_>>().join(", ");
        if let Some(piece) = choice(name, &list, &arguments).or_else(|| date(name, &list, &arguments)) {
            return Ok(piece);
        }
        if let Some((_, kind)) = STATE.iter().find(|(known, _)| *known == name) {
            self.used.state = true;
            let separator = if list.is_empty() { "" } else { ", " };
            return Ok(Piece::new(format!("tsql_state({}{separator}{list})", literal(name)), *kind));
        }
        if let Some((_, kind)) = SCALAR.iter().find(|(known, _)| *known == name) {
            let first = arguments.first().and_then(|piece| piece.kind);
            return Ok(Piece::new(format!("tsql_{name}({list})"), kind.or(first)));
        }
        if name == "eventdata" {
            return Err(not_supported("EVENTDATA, as XML is not,"));
        }
        Err(Message::new(195, 15, format!("'{name}' is not a recognized built-in function name.")).state(10))
    }

    /// Moments and random values: constants of the statement, as SQL Server has it for moments; GUIDs are drawn per
    /// row unless the statement is replayed elsewhere.
    fn moment(&mut self, name: &str) -> Option<Piece> {
        let now = literal(&convert::moment_text(self.facts.now()));
        let piece = match name {
            "getdate" | "getutcdate" | "current_timestamp" => {
                Piece::new(format!("tsql_cast({now}, 'datetime', NULL)"), Some(SqlType::DateTime))
            }
            "sysdatetime" | "sysutcdatetime" => Piece::new(now, Some(SqlType::DateTime2(7))),
            // A replayed statement draws one GUID; its rows get different ones from it, the same everywhere.
            "newid" | "newsequentialid" if self.replayed && self.row.is_some() => {
                let row = self.row.as_deref().unwrap_or("0");
                let drawn = literal(&self.facts.uuid().to_string());
                Piece::new(format!("tsql_guid({drawn}, {row})"), Some(SqlType::Guid))
            }
            "newid" | "newsequentialid" if self.replayed => {
                Piece::new(literal(&self.facts.uuid().to_string().to_uppercase()), Some(SqlType::Guid))
            }
            "newid" | "newsequentialid" => Piece::new("tsql_newid()", Some(SqlType::Guid)),
            "rand" => {
                let value = (self.facts.uuid().as_u128() >> 75) as f64 / (1u64 << 53) as f64;
                Piece::new(format!("{value:?}"), Some(SqlType::Float))
            }
            _ => return None,
        };
        self.used.drawn = true;
        Some(piece)
    }
}

/// How many arguments a function takes, at least and at most, where SQLite would not tell.
fn taken(name: &str) -> Option<(usize, usize)> {
    match name {
        "isnull" | "nullif" | "datepart" | "datename" => Some((2, 2)),
        "coalesce" | "choose" => Some((2, 250)),
        "iif" | "datediff" | "datediff_big" | "dateadd" => Some((3, 3)),
        _ => None,
    }
}

/// Functions that give one of their arguments.
fn choice(name: &str, list: &str, arguments: &[Piece]) -> Option<Piece> {
    let mut kinds = arguments.iter().filter(|piece| piece.sql != "NULL").map(|piece| piece.kind);
    Some(match name {
        "isnull" => Piece::new(format!("ifnull({list})"), kinds.next().flatten()),
        "coalesce" => Piece::new(format!("coalesce({list})"), kinds.reduce(combine).flatten()),
        "nullif" => Piece::new(format!("nullif({list})"), kinds.next().flatten()),
        "iif" => Piece::new(format!("iif({list})"), kinds.skip(1).reduce(combine).flatten()),
        "choose" => Piece::new(format!("tsql_choose({list})"), kinds.skip(1).reduce(combine).flatten()),
        _ => return None,
    })
}

/// Functions of dates.
fn date(name: &str, list: &str, arguments: &[Piece]) -> Option<Piece> {
    Some(match name {
        "datediff" => Piece::new(format!("tsql_datediff({list})"), Some(SqlType::Int)),
        "datediff_big" => Piece::new(format!("tsql_datediff({list})"), Some(SqlType::BigInt)),
        "dateadd" => {
            let kind = arguments.get(2).and_then(|piece| piece.kind);
            let dated = matches!(kind, Some(SqlType::DateTime2(_)));
            Piece::new(format!("tsql_dateadd({list})"), if dated { kind } else { Some(SqlType::DateTime) })
        }
        "datepart" => Piece::new(format!("tsql_datepart({list})"), Some(SqlType::Int)),
        "datename" => Piece::new(format!("CAST(tsql_datepart({list}) AS TEXT)"), Some(SqlType::NVarChar(30))),
        _ => return None,
    })
}

fn arguments(function: &Function) -> SqlResult<(bool, Vec<&FunctionArgExpr>)> {
    match &function.args {
        FunctionArguments::None => Ok((false, vec![])),
        FunctionArguments::Subquery(_) => Err(not_supported("A query as argument")),
        FunctionArguments::List(list) => {
            if !list.clauses.is_empty() {
                return Err(not_supported("A clause inside a function call"));
            }
            let arguments = list.args.iter().map(|argument| match argument {
                FunctionArg::Unnamed(argument) => Ok(argument),
                _ => Err(not_supported("A named argument of a function")),
            });
            let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            Ok((distinct, arguments.collect::<SqlResult<_>>()?))
        }
    }
}
