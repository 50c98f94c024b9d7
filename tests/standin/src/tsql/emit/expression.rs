//! Expressions.

use super::{Emitter, Piece, combine, ident, literal, quote};
use crate::{
    errors::{Message, SqlResult},
    tsql::{convert, kind, parse::not_supported},
    value::SqlType,
};
use sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Ident, UnaryOperator, Value};

/// Comparison of text: without case, blind to spaces at the end.
const COLLATE: &str = "COLLATE TSQL";

impl Emitter<'_> {
    /// An expression or condition.
    pub(super) fn expression(&mut self, expression: &Expr) -> SqlResult<Piece> {
        self.enter()?;
        let piece = self.one(expression);
        self.leave();
        piece
    }

    fn one(&mut self, expression: &Expr) -> SqlResult<Piece> {
        match expression {
            Expr::Identifier(ident) => self.identifier(ident),
            Expr::CompoundIdentifier(parts) => self.compound(parts),
            Expr::Value(value) => value_piece(&value.value),
            Expr::Nested(inner) => {
                let piece = self.expression(inner)?;
                Ok(Piece::new(format!("({})", piece.sql), piece.kind))
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::UnaryOp { op, expr } => self.unary(op, expr),
            Expr::Cast { kind, expr, data_type, .. } => self.cast(expr, data_type, *kind != CastKind::Cast, &[]),
            Expr::Convert { is_try, expr, data_type: Some(data_type), styles, .. } => {
                self.cast(expr, data_type, *is_try, styles)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Function(function) => self.function(function),
            Expr::Subquery(query) => {
                let (sql, columns) = self.query(query)?;
                Ok(Piece::new(format!("({sql})"), columns.first().and_then(|column| column.1)))
            }
            Expr::Collate { expr, .. } => self.expression(expr),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut arguments = vec![expr.as_ref()];
                arguments.extend(substring_from.as_deref());
                arguments.extend(substring_for.as_deref());
                self.call("substring", &arguments)
            }
            Expr::Trim { trim_where: None, trim_what: None, expr, trim_characters: None } => self.call("trim", &[expr]),
            Expr::Ceil { expr, .. } => self.call("ceiling", &[expr]),
            Expr::Floor { expr, .. } => self.call("floor", &[expr]),
            other => self.predicate(other),
        }
    }

    /// Conditions; everything else is not supported.
    fn predicate(&mut self, expression: &Expr) -> SqlResult<Piece> {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        let sql = match expression {
            Expr::IsNull(expr) => format!("({} IS NULL)", self.expression(expr)?.sql),
            Expr::IsNotNull(expr) => format!("({} IS NOT NULL)", self.expression(expr)?.sql),
            Expr::InList { expr, list, negated } => {
                let list = list.iter().map(|e| self.expression(e).map(|p| p.sql)).collect::<SqlResult<Vec<_>>>()?;
                format!("({} {COLLATE} {}IN ({}))", self.expression(expr)?.sql, not(negated), list.join(", "))
            }
            Expr::InSubquery { expr, subquery, negated } => {
                let (query, _) = self.query(subquery)?;
                format!("({} {COLLATE} {}IN ({query}))", self.expression(expr)?.sql, not(negated))
            }
            Expr::Between { expr, negated, low, high } => {
                let (expr, low, high) = (self.expression(expr)?, self.expression(low)?, self.expression(high)?);
                format!("({} {COLLATE} {}BETWEEN {} AND {})", expr.sql, not(negated), low.sql, high.sql)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let (expr, pattern) = (self.expression(expr)?, self.expression(pattern)?);
                let escape = match escape_char {
                    Some(escape) => self.expression(escape)?.sql,
                    None => "''".into(),
                };
                format!("({}tsql_like({}, {}, {escape}))", not(negated), expr.sql, pattern.sql)
            }
            Expr::Exists { subquery, negated } => {
                let (query, _) = self.query(subquery)?;
                format!("({}EXISTS ({query}))", not(negated))
            }
            other => {
                let text: String = other.to_string().chars().take(80).collect();
                return Err(not_supported(&format!("The expression '{text}'")));
            }
        };
        Ok(Piece::new(sql, None))
    }

    fn identifier(&mut self, name: &Ident) -> SqlResult<Piece> {
        let text = &name.value;
        if name.quote_style.is_none() && text.starts_with("@@") {
            let global = self.facts.global(&text.to_ascii_uppercase());
            let (value, kind) = global.ok_or_else(|| undeclared(text))?;
            return Ok(Piece::new(value_sql(&value, kind), Some(kind)));
        }
        if name.quote_style.is_none() && text.starts_with('@') {
            let variable = text.to_lowercase();
            let kind = self.facts.variable(&variable).ok_or_else(|| undeclared(text))?;
            return Ok(Piece::new(variable, Some(kind)));
        }
        if name.quote_style.is_none() && self.is_niladic(text) {
            return self.call(text, &[]);
        }
        if self.scopes.is_empty() {
            return Err(if name.quote_style.is_some() {
                Message::new(207, 16, format!("Invalid column name '{text}'."))
            } else {
                Message::new(
                    128,
                    15,
                    format!(
                        "The name \"{text}\" is not permitted in this context. Valid expressions are constants, constant expressions, and (in some contexts) variables. Column names are not permitted."
                    ),
                )
            });
        }
        Ok(Piece::new(ident(name), self.column(None, text)))
    }

    fn compound(&mut self, parts: &[Ident]) -> SqlResult<Piece> {
        let mut tail = parts.iter().rev();
        let (Some(column), Some(relation)) = (tail.next(), tail.next()) else {
            return Err(not_supported("A column with an empty name"));
        };
        let kind = self.column(Some(&relation.value), &column.value);
        if kind.is_none() {
            let known = self.scopes.iter().flatten().any(|r| r.alias.eq_ignore_ascii_case(&relation.value));
            if !known {
                let name: Vec<_> = parts.iter().map(|part| part.value.as_str()).collect();
                return Err(Message::new(
                    4104,
                    16,
                    format!("The multi-part identifier \"{}\" could not be bound.", name.join(".")),
                ));
            }
        }
        Ok(Piece::new(format!("{}.{}", quote(&relation.value), quote(&column.value)), kind))
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> SqlResult<Piece> {
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        let kind = combine(left.kind, right.kind);
        let call = |name: &str, kind| Ok(Piece::new(format!("{name}({}, {})", left.sql, right.sql), kind));
        let operator = match op {
            BinaryOperator::Plus => return call("tsql_add", added(left.kind, right.kind)),
            BinaryOperator::Minus => return call("tsql_subtract", kind),
            BinaryOperator::Multiply => return call("tsql_multiply", kind),
            BinaryOperator::Divide => return call("tsql_divide", kind),
            BinaryOperator::Modulo => return call("tsql_modulo", kind),
            BinaryOperator::BitwiseAnd => "&",
            BinaryOperator::BitwiseOr => "|",
            BinaryOperator::BitwiseXor => {
                return Ok(Piece::new(format!("(({0} | {1}) - ({0} & {1}))", left.sql, right.sql), kind));
            }
            BinaryOperator::And => return Ok(Piece::new(format!("({} AND {})", left.sql, right.sql), None)),
            BinaryOperator::Or => return Ok(Piece::new(format!("({} OR {})", left.sql, right.sql), None)),
            BinaryOperator::Eq => "=",
            BinaryOperator::NotEq => "<>",
            BinaryOperator::Lt => "<",
            BinaryOperator::LtEq => "<=",
            BinaryOperator::Gt => ">",
            BinaryOperator::GtEq => ">=",
            other => return Err(not_supported(&format!("The operator {other}"))),
        };
        if matches!(operator, "&" | "|") {
            return Ok(Piece::new(format!("({} {operator} {})", left.sql, right.sql), kind));
        }
        let (left, right) = comparable(left, right);
        Ok(Piece::new(format!("({left} {COLLATE} {operator} {right})"), None))
    }

    fn unary(&mut self, op: &UnaryOperator, expr: &Expr) -> SqlResult<Piece> {
        let piece = self.expression(expr)?;
        Ok(match op {
            UnaryOperator::Plus => piece,
            UnaryOperator::Minus => Piece::new(format!("(-{})", piece.sql), piece.kind),
            UnaryOperator::Not => Piece::new(format!("(NOT {})", piece.sql), None),
            UnaryOperator::BitwiseNot => Piece::new(format!("(~{})", piece.sql), piece.kind),
            other => return Err(not_supported(&format!("The operator {other}"))),
        })
    }

    fn cast(&mut self, expr: &Expr, data_type: &DataType, lenient: bool, styles: &[Expr]) -> SqlResult<Piece> {
        let piece = self.expression(expr)?;
        let target = kind::from_text(&data_type.to_string(), Some(30))?;
        let style = match styles.first() {
            Some(style) => self.expression(style)?.sql,
            None => "NULL".into(),
        };
        let function = if lenient { "tsql_try_cast" } else { "tsql_cast" };
        Ok(Piece::new(format!("{function}({}, {}, {style})", piece.sql, literal(&kind::text(target))), Some(target)))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[sqlparser::ast::CaseWhen],
        otherwise: Option<&Expr>,
    ) -> SqlResult<Piece> {
        let operand = operand.map(|operand| self.expression(operand)).transpose()?;
        let mut sql = String::from("CASE");
        let mut kinds = Vec::new();
        for when in conditions {
            let condition = self.expression(&when.condition)?.sql;
            let condition = match &operand {
                Some(operand) => format!("{} {COLLATE} = {condition}", operand.sql),
                None => condition,
            };
            let result = self.expression(&when.result)?;
            sql.push_str(&format!(" WHEN {condition} THEN {}", result.sql));
            if result.sql != "NULL" {
                kinds.push(result.kind);
            }
        }
        if let Some(otherwise) = otherwise {
            let result = self.expression(otherwise)?;
            sql.push_str(&format!(" ELSE {}", result.sql));
            if result.sql != "NULL" {
                kinds.push(result.kind);
            }
        }
        sql.push_str(" END");
        let kind = kinds.into_iter().reduce(combine).flatten();
        Ok(Piece::new(format!("({sql})"), kind))
    }
}

fn undeclared(name: &str) -> Message {
    Message::new(137, 15, format!("Must declare the scalar variable \"{name}\".")).state(2)
}

/// Dates and GUIDs compare with text after it is brought into their form.
fn comparable(left: Piece, right: Piece) -> (String, String) {
    let formed = |kind| matches!(kind, Some(SqlType::DateTime | SqlType::DateTime2(_) | SqlType::Guid));
    let loose = |kind: Option<SqlType>| kind.is_some_and(kind::is_text);
    let form = |piece: &Piece, kind: Option<SqlType>| {
        let kind = kind.map(kind::text).unwrap_or_default();
        format!("tsql_cast({}, {}, NULL)", piece.sql, literal(&kind))
    };
    match (formed(left.kind), formed(right.kind)) {
        (true, false) if loose(right.kind) => (left.sql, form(&right, left.kind)),
        (false, true) if loose(left.kind) => (form(&left, right.kind), right.sql),
        _ => (left.sql, right.sql),
    }
}

/// Type of `a + b`.
fn added(left: Option<SqlType>, right: Option<SqlType>) -> Option<SqlType> {
    let length = |kind| match kind {
        SqlType::NChar(n) | SqlType::NVarChar(n) | SqlType::VarChar(n) => Some(n),
        _ => None,
    };
    match (left?, right?) {
        (a, b) if kind::is_text(a) && kind::is_text(b) => {
            let wide = |k| matches!(k, SqlType::NChar(_) | SqlType::NVarChar(_) | SqlType::NVarCharMax);
            let sum = length(a).zip(length(b)).map(|(a, b)| a.saturating_add(b));
            Some(match (wide(a) || wide(b), sum) {
                (true, Some(sum)) => SqlType::NVarChar(sum.clamp(1, 4000)),
                (true, None) => SqlType::NVarCharMax,
                (false, Some(sum)) => SqlType::VarChar(sum.clamp(1, 8000)),
                (false, None) => SqlType::VarCharMax,
            })
        }
        (a, b) => combine(Some(a), Some(b)),
    }
}

/// A value as SQLite literal.
pub fn value_sql(value: &crate::value::Value, kind: SqlType) -> String {
    use rusqlite::types::Value as Lite;
    match convert::to_lite(value, kind) {
        Lite::Null => "NULL".into(),
        Lite::Integer(i) => i.to_string(),
        Lite::Real(r) => format!("{r:?}"),
        Lite::Text(text) => literal(&text),
        Lite::Blob(bytes) => format!("x'{}'", convert::to_hex(&bytes)),
    }
}

fn value_piece(value: &Value) -> SqlResult<Piece> {
    let length = |text: &str| u16::try_from(text.chars().count().max(1)).unwrap_or(u16::MAX);
    Ok(match value {
        Value::Number(text, _) => number(text),
        Value::SingleQuotedString(text) => {
            let n = length(text);
            Piece::new(literal(text), Some(if n > 8000 { SqlType::VarCharMax } else { SqlType::VarChar(n) }))
        }
        Value::NationalStringLiteral(text) => {
            let n = length(text);
            Piece::new(literal(text), Some(if n > 4000 { SqlType::NVarCharMax } else { SqlType::NVarChar(n) }))
        }
        Value::HexStringLiteral(text) => {
            let bytes = convert::hex(text).unwrap_or_default();
            let n = u16::try_from(bytes.len().max(1)).unwrap_or(u16::MAX);
            let kind = if n > 8000 { SqlType::VarBinaryMax } else { SqlType::VarBinary(n) };
            Piece::new(format!("x'{}'", convert::to_hex(&bytes)), Some(kind))
        }
        Value::Null => Piece::new("NULL", Some(SqlType::Int)),
        other => return Err(not_supported(&format!("The literal {other}"))),
    })
}

fn number(text: &str) -> Piece {
    if let Ok(integer) = text.parse::<i64>() {
        let kind = if i32::try_from(integer).is_ok() { SqlType::Int } else { SqlType::BigInt };
        return Piece::new(text, Some(kind));
    }
    if text.contains(['e', 'E']) {
        return Piece::new(text, Some(SqlType::Float));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| u8::try_from(text.len()).unwrap_or(38);
    let (whole, scale) = (digits(whole), digits(fraction));
    let precision = whole.saturating_add(scale).clamp(1, 38);
    let sql = if scale == 0 { literal(text) } else { text.to_string() };
    Piece::new(sql, Some(SqlType::Decimal { precision, scale: scale.min(38) }))
}
