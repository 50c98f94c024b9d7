//! What stands in FROM.

use super::{Emitter, NamedKind, Relation, ident, object_name, quote};
use crate::{
    errors::{Message, SqlResult},
    tsql::parse::not_supported,
};
use sqlparser::ast::{Join, JoinConstraint, JoinOperator, ObjectName as Name, TableAlias, TableFactor, TableWithJoins};

impl Emitter<'_> {
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

    pub(super) fn from(&mut self, from: &[TableWithJoins]) -> SqlResult<String> {
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
