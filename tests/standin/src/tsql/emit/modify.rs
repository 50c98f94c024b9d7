//! INSERT, UPDATE, DELETE. Values are brought into the form of their columns here (`tsql_store`), so that a replica
//! that replays the statement stores the same bytes.

use super::{Emitter, NamedKind, Relation, Used, literal, object_name, quote};
use crate::{
    errors::{Message, SqlResult},
    tsql::{ast::ObjectName, kind, parse::not_supported},
    value::SqlType,
};
use sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, JoinConstraint, JoinOperator, OutputClause, SelectItem,
    SetExpr, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
};

/// The table that is changed, as its database knows it.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Columns in order.
    pub columns: Vec<(String, SqlType)>,
    /// Column with IDENTITY, its next value and increment.
    pub identity: Option<(String, i64, i64)>,
    /// Defaults that are evaluated anew for each statement.
    pub defaults: Vec<(String, Expr)>,
}

/// A change in SQLite's language.
#[derive(Clone, Debug)]
pub struct Modification {
    /// Database.
    pub database: String,
    /// Table in SQLite.
    pub table: String,
    /// SQLite text.
    pub sql: String,
    /// Columns of OUTPUT, if any.
    pub output: Option<Vec<NamedKind>>,
    /// What it touches.
    pub used: Used,
    /// INSERT gave out identity values.
    pub gives_identity: bool,
}

/// The table named by INSERT, UPDATE or DELETE.
pub fn target_of_insert(insert: &Insert) -> SqlResult<ObjectName> {
    match &insert.table {
        TableObject::TableName(name) => object_name(name),
        _ => Err(not_supported("INSERT into anything but a table")),
    }
}

/// Tells the rows of a SELECT apart.
const ROW_NUMBER: &str = "row_number() OVER ()";

fn store(sql: &str, column: &str, kind: SqlType) -> String {
    format!("tsql_store({sql}, {}, {})", literal(&kind::text(kind)), literal(column))
}

fn invalid_column(name: &str) -> Message {
    Message::new(207, 16, format!("Invalid column name '{name}'."))
}

/// The columns that get values, by the list of the statement or, without one, all that take one.
fn columns_of_insert(insert: &Insert, target: &Target, identity_insert: bool) -> SqlResult<Vec<(String, SqlType)>> {
    let find = |name: &str| target.columns.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
    let identity = target.identity.as_ref();
    let is_identity = |name: &str| identity.is_some_and(|(column, ..)| column.eq_ignore_ascii_case(name));
    if insert.columns.is_empty() {
        let all = target.columns.iter().filter(|(name, _)| identity_insert || !is_identity(name));
        return Ok(all.cloned().collect());
    }
    let mut columns = Vec::new();
    for column in &insert.columns {
        let name = object_name(column)?.name;
        columns.push(find(&name).cloned().ok_or_else(|| invalid_column(&name))?);
    }
    Ok(columns)
}

/// SQLite's INSERT. `inner`: names of the columns of `source`; `values`: what goes into `names`.
fn insert_text(
    table: &str,
    source: &str,
    inner: &[String],
    names: &[String],
    values: &[String],
    returning: &str,
) -> String {
    if names.is_empty() || (inner.is_empty() && values.is_empty()) {
        format!("INSERT INTO main.{} DEFAULT VALUES{returning}", quote(table))
    } else if inner.is_empty() {
        format!("INSERT INTO main.{} ({}) SELECT {}{returning}", quote(table), names.join(", "), values.join(", "))
    } else {
        format!(
            "WITH source({}) AS ({source}) INSERT INTO main.{} ({}) SELECT {} FROM source WHERE true{returning}",
            inner.join(", "),
            quote(table),
            names.join(", "),
            values.join(", ")
        )
    }
}

impl Emitter<'_> {
    /// INSERT. `identity_insert`: SET IDENTITY_INSERT is ON for the table.
    pub fn insert(mut self, insert: &Insert, target: &Target, identity_insert: bool) -> SqlResult<Modification> {
        let name = target_of_insert(insert)?;
        let (database, table) = self.resolve(&name);
        let find = |name: &str| target.columns.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
        let identity = target.identity.as_ref();
        let is_identity = |name: &str| identity.is_some_and(|(column, ..)| column.eq_ignore_ascii_case(name));
        let columns = columns_of_insert(insert, target, identity_insert)?;
        let explicit = columns.iter().any(|(name, _)| is_identity(name));
        if explicit && !identity_insert {
            return Err(Message::new(
                544,
                16,
                format!(
                    "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                    name.name
                ),
            ));
        }
        let (source, width) = self.source(insert)?;
        if width.is_some_and(|width| width != columns.len()) {
            return Err(Message::new(
                if insert.columns.is_empty() { 213 } else { 109 },
                16,
                "Column name or number of supplied values does not match table definition.",
            ));
        }
        let inner: Vec<_> = (0..columns.len()).map(|index| format!("c{index}")).collect();
        let mut names: Vec<_> = columns.iter().map(|(name, _)| quote(name)).collect();
        let mut values: Vec<_> =
            columns.iter().zip(&inner).map(|((name, kind), inner)| store(inner, name, *kind)).collect();
        if let Some((column, next, increment)) = identity.filter(|_| !explicit) {
            names.push(quote(column));
            values.push(format!("{next} + (row_number() OVER () - 1) * {increment}"));
        }
        self.row = Some(ROW_NUMBER.into());
        for (column, default) in &target.defaults {
            if !columns.iter().any(|(name, _)| name.eq_ignore_ascii_case(column)) {
                let kind = find(column).map_or(SqlType::Variant, |(_, kind)| *kind);
                names.push(quote(column));
                values.push(store(&self.expression(default)?.sql, column, kind));
            }
        }
        let (returning, output) = self.output(insert.output.as_ref(), target, "inserted")?;
        let sql = insert_text(&table, &source, &inner, &names, &values, &returning);
        self.used.databases.insert(database.clone());
        let gives_identity = identity.is_some();
        Ok(Modification { database, table, sql, output, used: self.used, gives_identity })
    }

    /// The rows of INSERT and their width, when it is known.
    fn source(&mut self, insert: &Insert) -> SqlResult<(String, Option<usize>)> {
        let Some(source) = &insert.source else { return Ok((String::new(), Some(0))) };
        let (sql, columns) = match source.body.as_ref() {
            SetExpr::Values(values) => {
                for expr in values.rows.iter().flat_map(|row| row.content.iter()) {
                    if matches!(expr, Expr::Identifier(Ident { value, quote_style: None, .. }) if value.eq_ignore_ascii_case("default"))
                    {
                        return Err(not_supported("DEFAULT inside VALUES"));
                    }
                }
                self.values(values)?
            }
            _ => {
                self.row = Some(ROW_NUMBER.into());
                self.query(source)?
            }
        };
        let width = if columns.is_empty() { None } else { Some(columns.len()) };
        Ok((sql, width))
    }

    /// UPDATE.
    pub fn update(mut self, update: &Update, target: &Target) -> SqlResult<Modification> {
        if update.limit.is_some() || !update.order_by.is_empty() {
            return Err(not_supported("UPDATE TOP"));
        }
        let (name, alias, others, conditions) = update_tables(update)?;
        let (database, table) = self.resolve(&name);
        let own = Relation {
            alias: alias.clone(),
            columns: Some(target.columns.iter().map(|(name, kind)| (name.clone(), Some(*kind))).collect()),
        };
        let mut relations = vec![own];
        let others: Vec<_> = others.into_iter().map(|relation| TableWithJoins { relation, joins: vec![] }).collect();
        relations.extend(self.relations(&others)?);
        self.scopes.push(relations);
        self.row = Some(format!("{}.rowid", quote(&alias)));
        let mut assignments = Vec::new();
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(column) = &assignment.target else {
                return Err(not_supported("This form of SET"));
            };
            let column = object_name(column)?.name;
            if column.starts_with('@') {
                return Err(not_supported("UPDATE that assigns a variable"));
            }
            let found = target.columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column));
            let (found, kind) = found.ok_or_else(|| invalid_column(&column))?;
            if target.identity.as_ref().is_some_and(|(identity, ..)| identity.eq_ignore_ascii_case(&column)) {
                return Err(Message::new(8102, 16, format!("Cannot update identity column '{found}'.")));
            }
            let value = self.expression(&assignment.value)?.sql;
            assignments.push(format!("{} = {}", quote(found), store(&value, found, *kind)));
        }
        let mut sql = format!("UPDATE main.{} AS {} SET {}", quote(&table), quote(&alias), assignments.join(", "));
        if !others.is_empty() {
            let tables = others.iter().map(|table| self.factor(&table.relation)).collect::<SqlResult<Vec<_>>>()?;
            sql.push_str(&format!(" FROM {}", tables.join(", ")));
        }
        let conditions = conditions.into_iter().chain(update.selection.as_ref());
        let conditions = conditions.map(|c| self.expression(c).map(|p| p.sql)).collect::<SqlResult<Vec<_>>>()?;
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        let (returning, output) = self.output(update.output.as_ref(), target, "inserted")?;
        sql.push_str(&returning);
        self.used.databases.insert(database.clone());
        Ok(Modification { database, table, sql, output, used: self.used, gives_identity: false })
    }

    /// DELETE.
    pub fn delete(mut self, delete: &Delete, target: &Target) -> SqlResult<Modification> {
        let (name, alias) = delete_table(delete)?;
        let (database, table) = self.resolve(&name);
        let columns = target.columns.iter().map(|(name, kind)| (name.clone(), Some(*kind))).collect();
        self.scopes.push(vec![Relation { alias: alias.clone(), columns: Some(columns) }]);
        let mut sql = format!("DELETE FROM main.{} AS {}", quote(&table), quote(&alias));
        if let Some(selection) = &delete.selection {
            sql.push_str(&format!(" WHERE {}", self.expression(selection)?.sql));
        }
        let (returning, output) = self.output(delete.output.as_ref(), target, "deleted")?;
        sql.push_str(&returning);
        self.used.databases.insert(database.clone());
        Ok(Modification { database, table, sql, output, used: self.used, gives_identity: false })
    }

    /// OUTPUT as RETURNING. `row`: the pseudo table that it may name.
    fn output(
        &mut self,
        clause: Option<&OutputClause>,
        target: &Target,
        row: &str,
    ) -> SqlResult<(String, Option<Vec<NamedKind>>)> {
        let Some(OutputClause::Output { select_items, into_table: None, .. }) = clause else {
            return match clause {
                None => Ok((String::new(), None)),
                Some(_) => Err(not_supported("OUTPUT INTO")),
            };
        };
        let (mut parts, mut columns) = (Vec::new(), Vec::new());
        for item in select_items {
            let (expr, alias) = match item {
                SelectItem::UnnamedExpr(expr) => (expr, None),
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
                SelectItem::QualifiedWildcard(..) => {
                    parts.extend(target.columns.iter().map(|(name, _)| quote(name)));
                    columns.extend(target.columns.iter().map(|(name, kind)| (name.clone(), Some(*kind))));
                    continue;
                }
                _ => return Err(not_supported("This form of OUTPUT")),
            };
            let Expr::CompoundIdentifier(names) = expr else {
                return Err(not_supported("OUTPUT of anything but a column"));
            };
            let (Some(table), Some(column)) = (names.first(), names.get(1)) else {
                return Err(not_supported("OUTPUT of anything but a column"));
            };
            if !table.value.eq_ignore_ascii_case(row) {
                return Err(not_supported(&format!("OUTPUT {}", table.value)));
            }
            let found = target.columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column.value));
            let (found, kind) = found.ok_or_else(|| invalid_column(&column.value))?;
            parts.push(quote(found));
            columns.push((alias.unwrap_or_else(|| column.value.clone()), Some(*kind)));
        }
        Ok((format!(" RETURNING {}", parts.join(", ")), Some(columns)))
    }
}

fn plain_table(table: &TableWithJoins) -> SqlResult<(ObjectName, Option<String>)> {
    match &table.relation {
        TableFactor::Table { name, alias, args: None, .. } => {
            Ok((object_name(name)?, alias.as_ref().map(|alias| alias.name.value.clone())))
        }
        _ => Err(not_supported("UPDATE or DELETE of anything but a table")),
    }
}

type UpdateTables<'q> = (ObjectName, String, Vec<TableFactor>, Vec<&'q Expr>);

/// Target, its alias, the other tables and the conditions that join them.
fn update_tables(update: &Update) -> SqlResult<UpdateTables<'_>> {
    let (name, alias) = plain_table(&update.table)?;
    let alias = alias.unwrap_or_else(|| name.name.clone());
    let from = match &update.from {
        None => return Ok((name, alias, vec![], vec![])),
        Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => from,
    };
    let (mut target, mut others, mut conditions) = (None, Vec::new(), Vec::new());
    for table in from {
        let factors = std::iter::once((&table.relation, None))
            .chain(table.joins.iter().map(|join| (&join.relation, Some(&join.join_operator))));
        for (factor, join) in factors {
            match join {
                None => {}
                Some(JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on))) => {
                    conditions.push(on);
                }
                Some(_) => return Err(not_supported("An outer join in UPDATE")),
            }
            let is_target = match factor {
                TableFactor::Table { name: table, alias: Some(a), .. } => {
                    a.name.value.eq_ignore_ascii_case(&alias).then(|| object_name(table))
                }
                TableFactor::Table { name: table, alias: None, .. } => {
                    let table = object_name(table)?;
                    table.name.eq_ignore_ascii_case(&alias).then_some(Ok(table))
                }
                _ => None,
            };
            match is_target {
                Some(found) if target.is_none() => target = Some(found?),
                _ => others.push(factor.clone()),
            }
        }
    }
    Ok((target.unwrap_or(name), alias, others, conditions))
}

/// The table of UPDATE.
pub fn target_of_update(update: &Update) -> SqlResult<ObjectName> {
    update_tables(update).map(|(name, ..)| name)
}

fn delete_table(delete: &Delete) -> SqlResult<(ObjectName, String)> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [table] = from.as_slice() else { return Err(not_supported("DELETE from several tables")) };
    if !delete.tables.is_empty() || !table.joins.is_empty() || delete.using.is_some() {
        return Err(not_supported("DELETE with a join"));
    }
    let (name, alias) = plain_table(table)?;
    let alias = alias.unwrap_or_else(|| name.name.clone());
    Ok((name, alias))
}

/// The table of DELETE.
pub fn target_of_delete(delete: &Delete) -> SqlResult<ObjectName> {
    delete_table(delete).map(|(name, _)| name)
}

impl Emitter<'_> {
    /// The condition of a CHECK constraint.
    pub fn check(mut self, condition: &Expr, table: &str, columns: Vec<(String, SqlType)>) -> SqlResult<String> {
        let columns = columns.into_iter().map(|(name, kind)| (name, Some(kind))).collect();
        self.scopes.push(vec![Relation { alias: table.into(), columns: Some(columns) }]);
        let piece = self.expression(condition)?;
        if self.used.state || !self.used.databases.is_empty() {
            return Err(not_supported("A query or a function of the server in CHECK"));
        }
        Ok(piece.sql)
    }
}
