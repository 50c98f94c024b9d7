//! SELECT.

use super::{Emitter, NamedKind, Piece, ident, object_name, quote};
use crate::{
    errors::{Message, SqlResult},
    tsql::parse::not_supported,
};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TopQuantity, Values,
};

/// Variables that the projection assigns, by column.
pub fn assignments(query: &Query) -> Vec<Option<String>> {
    let SetExpr::Select(select) = query.body.as_ref() else { return vec![] };
    let assigned = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } if is_assignment(alias) => Some(alias.value.to_lowercase()),
        _ => None,
    };
    select.projection.iter().map(assigned).collect()
}

fn is_assignment(alias: &sqlparser::ast::Ident) -> bool {
    alias.quote_style.is_none() && alias.value.starts_with('@')
}

impl Emitter<'_> {
    /// A query with its CTEs, order and limits.
    pub(super) fn query(&mut self, query: &Query) -> SqlResult<(String, Vec<NamedKind>)> {
        self.enter()?;
        if query.for_clause.is_some() {
            return Err(not_supported("FOR XML, FOR JSON"));
        }
        let known = self.ctes.len();
        let mut sql = String::new();
        if let Some(with) = &query.with {
            let mut parts = Vec::new();
            for cte in &with.cte_tables {
                let name = cte.alias.name.value.clone();
                let renamed: Vec<_> = cte.alias.columns.iter().map(|column| column.name.value.clone()).collect();
                let recursive = self.recursive_columns(&cte.query, &renamed);
                self.ctes.push((name.clone(), recursive));
                let (text, mut columns) = self.query(&cte.query)?;
                for (column, renamed) in columns.iter_mut().zip(&renamed) {
                    column.0.clone_from(renamed);
                }
                self.ctes.pop();
                let names: Vec<_> = columns.iter().map(|(name, _)| quote(name)).collect();
                parts.push(format!("{}({}) AS ({text})", quote(&name), names.join(", ")));
                self.ctes.push((name, columns));
            }
            sql = format!("WITH RECURSIVE {} ", parts.join(", "));
        }
        let (body, columns) = self.body(&query.body)?;
        sql.push_str(&body);
        // ORDER BY sees the relations of a plain SELECT: its scope is opened again there.
        let limits = self.limits(query)?;
        if let (Some(order), SetExpr::Select(select)) = (&query.order_by, query.body.as_ref()) {
            let relations = self.relations(&select.from)?;
            self.scopes.push(relations);
            let order = self.order(&order.kind)?;
            self.scopes.pop();
            sql.push_str(&order);
        } else if let Some(order) = &query.order_by {
            sql.push_str(&self.order(&order.kind)?);
        }
        sql.push_str(&limits);
        self.ctes.truncate(known);
        self.leave();
        Ok((sql, columns))
    }

    /// Columns of a CTE while it is being defined, so that it may refer to itself.
    fn recursive_columns(&self, query: &Query, renamed: &[String]) -> Vec<NamedKind> {
        if !renamed.is_empty() {
            return renamed.iter().map(|name| (name.clone(), None)).collect();
        }
        let mut body = query.body.as_ref();
        while let SetExpr::SetOperation { left, .. } = body {
            body = left;
        }
        let SetExpr::Select(select) = body else { return vec![] };
        select.projection.iter().map(|item| (item_name(item), None)).collect()
    }

    fn limits(&mut self, query: &Query) -> SqlResult<String> {
        let top = match query.body.as_ref() {
            SetExpr::Select(select) => select.top.as_ref(),
            _ => None,
        };
        if let Some(top) = top {
            if top.percent || top.with_ties {
                return Err(not_supported("TOP PERCENT and TOP WITH TIES"));
            }
            let quantity = match &top.quantity {
                Some(TopQuantity::Constant(n)) => n.to_string(),
                Some(TopQuantity::Expr(expr)) => self.expression(expr)?.sql,
                None => return Err(not_supported("TOP without a number")),
            };
            return Ok(format!(" LIMIT {quantity}"));
        }
        let mut limit = String::new();
        if let Some(fetch) = &query.fetch {
            let Some(quantity) = &fetch.quantity else { return Err(not_supported("FETCH without a number")) };
            limit = format!(" LIMIT {}", self.expression(quantity)?.sql);
        }
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: None, offset: Some(offset), limit_by }) if limit_by.is_empty() => {
                if limit.is_empty() {
                    limit = " LIMIT -1".into();
                }
                limit.push_str(&format!(" OFFSET {}", self.expression(&offset.value)?.sql));
            }
            Some(_) => return Err(Message::new(102, 15, "Incorrect syntax near 'LIMIT'.")),
        }
        Ok(limit)
    }

    fn order(&mut self, kind: &OrderByKind) -> SqlResult<String> {
        let OrderByKind::Expressions(expressions) = kind else { return Err(not_supported("ORDER BY ALL")) };
        Ok(format!(" ORDER BY {}", self.order_items(expressions)?))
    }

    pub(super) fn order_items(&mut self, items: &[OrderByExpr]) -> SqlResult<String> {
        let mut parts = Vec::new();
        for item in items {
            let piece = self.expression(&item.expr)?;
            parts.push(match item.options.sort {
                Some(sqlparser::ast::OrderBySort::Desc) => format!("{} DESC", piece.sql),
                _ => piece.sql,
            });
        }
        Ok(parts.join(", "))
    }

    fn body(&mut self, body: &SetExpr) -> SqlResult<(String, Vec<NamedKind>)> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => {
                let (sql, columns) = self.query(query)?;
                Ok((format!("SELECT * FROM ({sql})"), columns))
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (left, mut columns) = self.body(left)?;
                let (right, others) = self.body(right)?;
                if columns.len() != others.len() && !columns.is_empty() && !others.is_empty() {
                    return Err(Message::new(
                        205,
                        16,
                        "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
                    ));
                }
                for (column, other) in columns.iter_mut().zip(others) {
                    column.1 = super::combine(column.1, other.1);
                }
                let all = *set_quantifier == SetQuantifier::All;
                let op = match op {
                    SetOperator::Union if all => "UNION ALL",
                    SetOperator::Union => "UNION",
                    SetOperator::Except | SetOperator::Minus => "EXCEPT",
                    SetOperator::Intersect => "INTERSECT",
                };
                Ok((format!("{left} {op} {right}"), columns))
            }
            SetExpr::Values(values) => self.values(values),
            _ => Err(not_supported("This form of query")),
        }
    }

    pub(super) fn values(&mut self, values: &Values) -> SqlResult<(String, Vec<NamedKind>)> {
        let mut rows = Vec::new();
        let mut columns: Vec<NamedKind> = Vec::new();
        for row in &values.rows {
            let pieces = row.content.iter().map(|expr| self.expression(expr)).collect::<SqlResult<Vec<Piece>>>()?;
            if columns.is_empty() {
                columns = pieces.iter().enumerate().map(|(i, p)| (format!("column{}", i + 1), p.kind)).collect();
            } else {
                for (column, piece) in columns.iter_mut().zip(&pieces) {
                    column.1 = super::combine(column.1, piece.kind);
                }
            }
            rows.push(format!("({})", pieces.iter().map(|p| p.sql.as_str()).collect::<Vec<_>>().join(", ")));
        }
        Ok((format!("VALUES {}", rows.join(", ")), columns))
    }

    fn select(&mut self, select: &Select) -> SqlResult<(String, Vec<NamedKind>)> {
        if select.into.is_some() {
            return Err(not_supported("SELECT INTO"));
        }
        let relations = self.relations(&select.from)?;
        self.scopes.push(relations);
        let from = self.from(&select.from)?;
        let mut sql = String::from("SELECT ");
        match &select.distinct {
            Some(Distinct::Distinct) => sql.push_str("DISTINCT "),
            Some(Distinct::On(_)) => return Err(not_supported("DISTINCT ON")),
            Some(Distinct::All) | None => {}
        }
        let (items, columns) = self.projection(&select.projection)?;
        sql.push_str(&items.join(", "));
        if !from.is_empty() {
            sql.push_str(&format!(" FROM {from}"));
        }
        if let Some(selection) = &select.selection {
            sql.push_str(&format!(" WHERE {}", self.expression(selection)?.sql));
        }
        match &select.group_by {
            GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => {
                if !expressions.is_empty() {
                    let parts =
                        expressions.iter().map(|e| self.expression(e).map(|p| p.sql)).collect::<SqlResult<Vec<_>>>()?;
                    sql.push_str(&format!(" GROUP BY {}", parts.join(", ")));
                }
            }
            _ => return Err(not_supported("This form of GROUP BY")),
        }
        if let Some(having) = &select.having {
            sql.push_str(&format!(" HAVING {}", self.expression(having)?.sql));
        }
        self.scopes.pop();
        Ok((sql, columns))
    }

    pub(super) fn projection(&mut self, items: &[SelectItem]) -> SqlResult<(Vec<String>, Vec<NamedKind>)> {
        let (mut parts, mut columns) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let piece = self.expression(expr)?;
                    let name = item_name(item);
                    parts.push(if name.is_empty() { piece.sql } else { format!("{} AS {}", piece.sql, quote(&name)) });
                    columns.push((name, piece.kind));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let piece = self.expression(expr)?;
                    if is_assignment(alias) {
                        parts.push(piece.sql);
                        columns.push((String::new(), piece.kind));
                    } else {
                        parts.push(format!("{} AS {}", piece.sql, ident(alias)));
                        columns.push((alias.value.clone(), piece.kind));
                    }
                }
                SelectItem::Wildcard(_) => {
                    parts.push("*".into());
                    let all = self.scopes.last().into_iter().flatten();
                    columns.extend(all.flat_map(|relation| relation.columns.clone().unwrap_or_default()));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let name = object_name(name)?.name;
                    parts.push(format!("{}.*", quote(&name)));
                    let scope = self.scopes.last().into_iter().flatten();
                    let relation = scope.into_iter().find(|relation| relation.alias.eq_ignore_ascii_case(&name));
                    columns.extend(relation.and_then(|relation| relation.columns.clone()).unwrap_or_default());
                }
                _ => return Err(not_supported("This form of select list")),
            }
        }
        Ok((parts, columns))
    }
}

/// Name that SQL Server gives a column: a plain column keeps its name, an expression has none.
fn item_name(item: &SelectItem) -> String {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) if !ident.value.starts_with('@') => ident.value.clone(),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            parts.last().map(|ident| ident.value.clone()).unwrap_or_default()
        }
        SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
        _ => String::new(),
    }
}
