//! SELECT and what stands in FROM.

use super::{Emitter, NamedKind, Piece, Relation, ident, object_name, quote};
use crate::{
    errors::{Message, SqlResult},
    tsql::parse::not_supported,
};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause, ObjectName as Name, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier,
    TableAlias, TableFactor, TableWithJoins, TopQuantity, Values,
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

    /// The relations of FROM with their columns.
    pub(super) fn relations(&mut self, from: &[TableWithJoins]) -> SqlResult<Vec<Relation>> {
        let mut relations = Vec::new();
        for table in from {
            for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
                self.relation(factor, &mut relations)?;
            }
        }
        Ok(relations)
    }

    fn relation(&mut self, factor: &TableFactor, relations: &mut Vec<Relation>) -> SqlResult<()> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                let (_, default, columns) = self.table(name)?;
                let alias = alias.as_ref().map_or(default, |alias| alias.name.value.clone());
                relations.push(Relation { alias, columns });
            }
            TableFactor::Derived { subquery, alias: Some(alias), .. } => {
                let (_, mut columns) = self.query(subquery)?;
                rename(&mut columns, alias);
                relations.push(Relation { alias: alias.name.value.clone(), columns: Some(columns) });
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                relations.extend(self.relations(std::slice::from_ref(table_with_joins))?);
            }
            _ => {}
        }
        Ok(())
    }

    fn from(&mut self, from: &[TableWithJoins]) -> SqlResult<String> {
        let tables = from.iter().map(|table| self.with_joins(table)).collect::<SqlResult<Vec<_>>>()?;
        Ok(tables.join(", "))
    }

    fn with_joins(&mut self, table: &TableWithJoins) -> SqlResult<String> {
        let mut sql = self.factor(&table.relation)?;
        for join in &table.joins {
            sql.push_str(&self.join(join)?);
        }
        Ok(sql)
    }

    pub(super) fn join(&mut self, join: &Join) -> SqlResult<String> {
        let (word, constraint) = match &join.join_operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) => ("JOIN", Some(c)),
            JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => ("LEFT JOIN", Some(c)),
            JoinOperator::Right(c) | JoinOperator::RightOuter(c) => ("RIGHT JOIN", Some(c)),
            JoinOperator::FullOuter(c) => ("FULL JOIN", Some(c)),
            JoinOperator::CrossJoin(_) => ("CROSS JOIN", None),
            JoinOperator::CrossApply | JoinOperator::OuterApply => return Err(not_supported("APPLY")),
            _ => return Err(not_supported("This form of join")),
        };
        let relation = self.factor(&join.relation)?;
        Ok(match constraint {
            Some(JoinConstraint::On(on)) => format!(" {word} {relation} ON {}", self.expression(on)?.sql),
            None => format!(" {word} {relation}"),
            Some(_) => return Err(not_supported("A join without ON")),
        })
    }

    pub(super) fn factor(&mut self, factor: &TableFactor) -> SqlResult<String> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let (sql, default, _) = self.table(name)?;
                Ok(format!("{sql} AS {}", quote(alias.as_ref().map_or(&default, |alias| &alias.name.value))))
            }
            TableFactor::Table { name, .. } => Err(not_supported(&format!("The table-valued function {name}"))),
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                let (sql, columns) = self.query(subquery)?;
                let Some(alias) = alias else { return Err(not_supported("A derived table without a name")) };
                if alias.columns.is_empty() {
                    return Ok(format!("({sql}) AS {}", ident(&alias.name)));
                }
                // SQLite renames columns in a CTE only.
                let renamed: Vec<_> = alias.columns.iter().map(|column| quote(&column.name.value)).collect();
                let inner: Vec<_> = columns.iter().map(|(name, _)| name).collect();
                if inner.len() != renamed.len() {
                    return Err(Message::new(
                        8158,
                        16,
                        format!("'{}' has more columns than were specified in the column list.", alias.name.value),
                    ));
                }
                Ok(format!("(WITH q({}) AS ({sql}) SELECT * FROM q) AS {}", renamed.join(", "), ident(&alias.name)))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                Ok(format!("({})", self.with_joins(table_with_joins)?))
            }
            _ => Err(not_supported("This form of table in FROM")),
        }
    }

    /// A table's SQLite text, its default alias and its columns.
    fn table(&mut self, name: &Name) -> SqlResult<(String, String, Option<Vec<NamedKind>>)> {
        let object = object_name(name)?;
        if object.schema.is_none()
            && let Some((name, columns)) = self.ctes.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(&object.name))
        {
            return Ok((quote(name), object.name.clone(), Some(columns.clone())));
        }
        let schema = object.schema.clone().unwrap_or_default();
        if let Some((key, columns)) = self.facts.system_view(&schema, &object.name) {
            let database = object.database.clone().unwrap_or_else(|| self.facts.database().to_string());
            self.used.views.insert((key, database.to_lowercase()));
            let columns = columns.into_iter().map(|(name, kind)| (name, Some(kind))).collect();
            return Ok((format!("temp.{}", quote(key)), object.name, Some(columns)));
        }
        let (database, table) = self.resolve(&object);
        let columns = self.facts.columns(&database, &table);
        let columns = columns.map(|columns| columns.into_iter().map(|(name, kind)| (name, Some(kind))).collect());
        if columns.is_none() {
            let parts: Vec<_> =
                name.0.iter().map(|part| part.to_string().trim_matches(['[', ']', '"']).to_string()).collect();
            return Err(Message::new(208, 16, format!("Invalid object name '{}'.", parts.join("."))));
        }
        self.used.databases.insert(database.clone());
        self.used.tables.insert((database, table.clone()));
        Ok((format!("main.{}", quote(&table)), object.name, columns))
    }
}

fn rename(columns: &mut [NamedKind], alias: &TableAlias) {
    for (column, renamed) in columns.iter_mut().zip(&alias.columns) {
        column.0.clone_from(&renamed.name.value);
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
