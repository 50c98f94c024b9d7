//! CREATE and ALTER TABLE; TRUNCATE.

use super::{Statements, named};
use crate::{
    errors::{Message, SqlResult},
    tsql::{
        ast::{ColumnDefinition, Constraint, ConstraintKind, Definition, ObjectName},
        emit::{Emitter, quote, resolve},
        kind,
        parse::not_supported,
        read::SessionFacts,
        session::Session,
        write::setup,
    },
};
use rusqlite::types::Value as Lite;
use sqlparser::ast::{Expr, UnaryOperator};

/// Defaults that SQLite evaluates the same everywhere; others are evaluated by each INSERT.
fn is_constant(expression: &Expr) -> bool {
    match expression {
        Expr::Value(_) => true,
        Expr::Nested(inner) => is_constant(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => is_constant(expr),
        _ => false,
    }
}

impl Session {
    pub(super) async fn create_table(
        &mut self,
        name: &ObjectName,
        columns: &[ColumnDefinition],
        constraints: &[Constraint],
    ) -> SqlResult<()> {
        let (database, table) = self.new_object(name, "CREATE TABLE", Definition::Create, 'U')?;
        let mut statements = setup();
        let mut parts = Vec::new();
        for column in columns {
            if columns.iter().filter(|other| other.name.eq_ignore_ascii_case(&column.name)).count() > 1 {
                return Err(Message::new(
                    2705,
                    16,
                    format!(
                        "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                        column.name, name.name
                    ),
                ));
            }
            let key = constraints.iter().any(|constraint| match &constraint.kind {
                ConstraintKind::PrimaryKey(names) => names.iter().any(|n| n.eq_ignore_ascii_case(&column.name)),
                _ => false,
            });
            parts.push(self.column_text(column, key)?);
            statements.extend(column_row(&table, column));
        }
        for (index, constraint) in constraints.iter().enumerate() {
            parts.push(self.constraint_text(&name.name, columns, constraint, index)?);
        }
        statements.push((format!("CREATE TABLE main.{} ({})", quote(&table), parts.join(", ")), vec![]));
        if name.name.starts_with('#') {
            self.temporary.insert(table);
        }
        self.write_all(&database, &statements).await
    }

    fn column_text(&self, column: &ColumnDefinition, key: bool) -> SqlResult<String> {
        let mut text = format!("{} {}", quote(&column.name), kind::declared(column.kind));
        if kind::is_text(column.kind) {
            text.push_str(" COLLATE TSQL");
        }
        if column.not_null || key {
            text.push_str(" NOT NULL");
        }
        if let Some(default) = column.default.as_ref().filter(|default| is_constant(default)) {
            let facts = SessionFacts::new(self);
            let emitted = Emitter::new(&facts, true).whole_expression(default)?;
            text.push_str(&format!(" DEFAULT ({})", emitted.sql.trim_start_matches("SELECT ")));
        }
        Ok(text)
    }

    fn constraint_text(
        &self,
        table: &str,
        columns: &[ColumnDefinition],
        constraint: &Constraint,
        index: usize,
    ) -> SqlResult<String> {
        let list = |names: &[String]| names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let text = match &constraint.kind {
            ConstraintKind::PrimaryKey(names) => format!("PRIMARY KEY ({})", list(names)),
            ConstraintKind::Unique(names) => format!("UNIQUE ({})", list(names)),
            ConstraintKind::ForeignKey(own, other, theirs) => {
                let (_, other) = resolve(&SessionFacts::new(self), other);
                let theirs = if theirs.is_empty() { String::new() } else { format!(" ({})", list(theirs)) };
                format!("FOREIGN KEY ({}) REFERENCES {}{theirs}", list(own), quote(&other))
            }
            ConstraintKind::Check(check) => {
                let facts = SessionFacts::new(self);
                let known = columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
                format!("CHECK ({})", Emitter::new(&facts, true).check(check, table, known)?)
            }
        };
        let name = constraint.name.clone().unwrap_or_else(|| format!("CK__{table}__{index}"));
        Ok(format!("CONSTRAINT {} {text}", quote(&name)))
    }

    pub(super) async fn add_column(&mut self, table: &ObjectName, column: &ColumnDefinition) -> SqlResult<()> {
        let (database, table, _) = self.existing(table, "ALTER")?;
        if column.identity.is_some() || column.default.as_ref().is_some_and(|default| !is_constant(default)) {
            return Err(not_supported("ALTER TABLE ADD with IDENTITY or a default that is not a constant"));
        }
        if column.not_null && column.default.is_none() {
            return Err(Message::new(
                4901,
                16,
                format!(
                    "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified; column '{}' does not satisfy these conditions.",
                    column.name
                ),
            ));
        }
        let sql = format!("ALTER TABLE main.{} ADD COLUMN {}", quote(&table), self.column_text(column, false)?);
        self.write_all(&database, &[(sql, vec![])]).await
    }

    pub(super) async fn drop_columns(&mut self, table: &ObjectName, columns: &[String]) -> SqlResult<()> {
        let (database, table, _) = self.existing(table, "ALTER")?;
        let drop =
            |column: &String| (format!("ALTER TABLE main.{} DROP COLUMN {}", quote(&table), quote(column)), vec![]);
        self.write_all(&database, &columns.iter().map(drop).collect::<Vec<_>>()).await
    }

    pub(super) async fn truncate(&mut self, table: &ObjectName) -> SqlResult<()> {
        let (database, table, _) = self.existing(table, "ALTER")?;
        let mut statements = setup();
        statements.push((format!("DELETE FROM main.{}", quote(&table)), vec![]));
        statements.push((
            "UPDATE main.`~columns` SET next = seed WHERE tab = @tab AND seed IS NOT NULL".into(),
            named(&[("@tab", &table)]),
        ));
        self.write_all(&database, &statements).await
    }
}

/// What the stand-in keeps of a column beside SQLite's own words.
fn column_row(table: &str, column: &ColumnDefinition) -> Statements {
    let default = column.default.as_ref().filter(|default| !is_constant(default)).map(ToString::to_string);
    if column.identity.is_none() && default.is_none() {
        return vec![];
    }
    let mut parameters = named(&[("@tab", table), ("@col", &column.name)]);
    let number = |value: Option<i64>| value.map_or(Lite::Null, Lite::Integer);
    parameters.push(("@seed".into(), number(column.identity.map(|(seed, _)| seed))));
    parameters.push(("@increment".into(), number(column.identity.map(|(_, increment)| increment))));
    parameters.push(("@value".into(), default.map_or(Lite::Null, Lite::Text)));
    vec![(
        "INSERT OR REPLACE INTO main.`~columns` (tab, col, seed, increment, next, value) VALUES (@tab, @col, @seed, @increment, @seed, @value)".into(),
        parameters,
    )]
}
