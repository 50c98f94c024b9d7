//! What stands in FROM.

use super::{Emitter, NamedKind, Relation, ident, object_name, quote};
use crate::{
    errors::{Message, SqlResult},
    tsql::parse::not_supported,
    views,
};
use sqlparser::ast::{
    FunctionArg, FunctionArgExpr, Join, JoinConstraint, JoinOperator, ObjectName as Name, TableAlias, TableFactor,
    TableFunctionArgs, TableWithJoins,
};

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
            JoinOperator::CrossApply => return self.apply("JOIN", &join.relation),
            JoinOperator::OuterApply => return self.apply("LEFT JOIN", &join.relation),
            _ => return Err(not_supported("This form of join")),
        };
        let relation = self.factor(&join.relation)?;
        Ok(match constraint {
            Some(JoinConstraint::On(on)) => format!(" {word} {relation} ON {}", self.expression(on)?.sql),
            None => format!(" {word} {relation}"),
            Some(_) => return Err(not_supported("A join without ON")),
        })
    }

    /// APPLY of a function of a `database_id`: its rows for all databases, joined by the argument.
    fn apply(&mut self, word: &str, relation: &TableFactor) -> SqlResult<String> {
        let TableFactor::Table { name, alias, args: Some(arguments), .. } = relation else {
            return Err(not_supported("APPLY of anything but a system function"));
        };
        let (sql, default, of) = self.system_function(name, arguments)?;
        let alias = quote(alias.as_ref().map_or(&default, |alias| &alias.name.value));
        Ok(format!(" {word} {sql} AS {alias} ON {alias}.database_id = {of}"))
    }

    /// A system function in FROM: its table, its default alias, its argument.
    fn system_function(&mut self, name: &Name, arguments: &TableFunctionArgs) -> SqlResult<(String, String, String)> {
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = arguments.args.as_slice() else {
            return Err(not_supported(&format!("The table-valued function {name} with these arguments")));
        };
        if !self.is_function(name)? {
            return Err(not_supported(&format!("The table-valued function {name}")));
        }
        let (sql, default, _) = self.table(name)?;
        Ok((sql, default, self.expression(argument)?.sql))
    }

    fn is_function(&self, name: &Name) -> SqlResult<bool> {
        let object = object_name(name)?;
        let view = self.facts.system_view(&object.schema.unwrap_or_default(), &object.name);
        Ok(view.is_some_and(|(key, _)| views::is_function(key)))
    }

    pub(super) fn factor(&mut self, factor: &TableFactor) -> SqlResult<String> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                if self.is_function(name)? {
                    let text = format!("Parameters were not supplied for the function '{name}'.");
                    return Err(Message::new(216, 16, text));
                }
                let (sql, default, _) = self.table(name)?;
                Ok(format!("{sql} AS {}", quote(alias.as_ref().map_or(&default, |alias| &alias.name.value))))
            }
            TableFactor::Table { name, alias, args: Some(arguments), .. } => {
                let (sql, default, of) = self.system_function(name, arguments)?;
                let alias = quote(alias.as_ref().map_or(&default, |alias| &alias.name.value));
                Ok(format!("(SELECT * FROM {sql} WHERE database_id = {of}) AS {alias}"))
            }
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
