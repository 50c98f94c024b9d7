//! CREATE, ALTER, DROP of tables, indexes, views, procedures and schemas; TRUNCATE.

use super::{
    ast::{ColumnDefinition, Constraint, ConstraintKind, ObjectName, ObjectStatement},
    emit::{Emitter, quote, resolve},
    kind,
    parse::not_supported,
    read::SessionFacts,
    schema::Schema,
    session::{Out, Session},
    write::{invalid_object, setup},
};
use crate::errors::{Message, SqlResult};
use rusqlite::types::Value as Lite;
use sqlparser::ast::{Expr, UnaryOperator};

type Statements = Vec<(String, Vec<(String, Lite)>)>;

fn named(pairs: &[(&str, &str)]) -> Vec<(String, Lite)> {
    pairs.iter().map(|(name, value)| ((*name).to_string(), Lite::Text((*value).to_string()))).collect()
}

/// 2714
fn taken(name: &str) -> Message {
    Message::new(2714, 16, format!("There is already an object named '{name}' in the database.")).state(6)
}

/// 3701
fn missing(what: &str, name: &str) -> Message {
    Message::new(
        3701,
        11,
        format!("Cannot drop the {what} '{name}', because it does not exist or you do not have permission."),
    )
    .state(5)
}

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
    pub(super) async fn object_statement(&mut self, statement: &ObjectStatement, _out: Out<'_>) -> SqlResult<()> {
        match statement {
            ObjectStatement::CreateTable { name, columns, constraints } => {
                self.create_table(name, columns, constraints).await
            }
            ObjectStatement::Drop { what, if_exists, names } => {
                for name in names {
                    self.drop_object(what, *if_exists, name).await?;
                }
                Ok(())
            }
            ObjectStatement::AddColumn { table, column } => self.add_column(table, column).await,
            ObjectStatement::DropColumn { table, columns } => {
                let (database, table, _) = self.existing(table, "ALTER")?;
                let drop = |column: &String| {
                    (format!("ALTER TABLE main.{} DROP COLUMN {}", quote(&table), quote(column)), vec![])
                };
                self.write_all(&database, &columns.iter().map(drop).collect::<Vec<_>>()).await
            }
            ObjectStatement::CreateIndex { name, table, unique, columns } => {
                let (database, table, schema) = self.existing(table, "ALTER")?;
                let object = schema.object(&table);
                for column in columns {
                    if !object.is_some_and(|o| o.columns.iter().any(|c| c.name.eq_ignore_ascii_case(column))) {
                        return Err(Message::new(
                            1911,
                            16,
                            format!("Column name '{column}' does not exist in the target table or view."),
                        ));
                    }
                }
                let columns: Vec<_> = columns.iter().map(|column| quote(column)).collect();
                let unique = if *unique { "UNIQUE " } else { "" };
                let sql =
                    format!("CREATE {unique}INDEX main.{} ON {} ({})", quote(name), quote(&table), columns.join(", "));
                self.write_all(&database, &[(sql, vec![])]).await.map_err(|message| {
                    if message.text.contains("already exists") {
                        Message::new(1913, 16, format!("The operation failed because an index or statistics with name '{name}' already exists on table '{table}'."))
                    } else if [2601, 2627].contains(&message.number) {
                        Message::new(1505, 16, format!("The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.{table}' and the index name '{name}'."))
                    } else {
                        message
                    }
                })
            }
            ObjectStatement::DropIndex { name, table, if_exists } => {
                let (database, _, _) = self.existing(table, "ALTER")?;
                let sql = format!("DROP INDEX {}main.{}", if *if_exists { "IF EXISTS " } else { "" }, quote(name));
                self.write_all(&database, &[(sql, vec![])]).await.map_err(|_| missing("index", name))
            }
            ObjectStatement::CreateView { name, or_alter, query, .. } => {
                let (database, view) = self.new_object(name, "CREATE VIEW", *or_alter, 'V')?;
                let facts = SessionFacts::new(self);
                let emitted = Emitter::new(&facts, true).whole_query(query).map_err(|message| facts.decide(message))?;
                if !emitted.used.views.is_empty()
                    || emitted.used.state
                    || emitted.used.databases.iter().any(|d| *d != database)
                {
                    return Err(not_supported("A view over system views, other databases or functions of the server"));
                }
                let sql = emitted.sql.replace("main.`", "`");
                let statements = vec![
                    (format!("DROP VIEW IF EXISTS main.{}", quote(&view)), vec![]),
                    (format!("CREATE VIEW main.{} AS {sql}", quote(&view)), vec![]),
                ];
                self.write_all(&database, &statements).await
            }
            ObjectStatement::CreateProcedure { name, or_alter, parameters, text } => {
                let (database, procedure) = self.new_object(name, "CREATE PROCEDURE", *or_alter, 'P')?;
                let declared: Vec<String> = parameters
                    .iter()
                    .map(|p| {
                        let default = p.default.as_ref().map(|d| format!(" = {d}")).unwrap_or_default();
                        format!("{} {}{default}{}", p.name, kind::text(p.kind), if p.output { " OUTPUT" } else { "" })
                    })
                    .collect();
                let mut statements = setup();
                let body = format!("{}\n{text}", declared.join(", "));
                statements.push((
                    "INSERT OR REPLACE INTO main.`~modules` (name, kind, text) VALUES (@name, 'P', @text)".into(),
                    named(&[("@name", &procedure), ("@text", &body)]),
                ));
                self.write_all(&database, &statements).await
            }
            ObjectStatement::Truncate(table) => {
                let (database, table, _) = self.existing(table, "ALTER")?;
                let mut statements = setup();
                statements.push((format!("DELETE FROM main.{}", quote(&table)), vec![]));
                statements.push((
                    "UPDATE main.`~columns` SET next = seed WHERE tab = @tab AND seed IS NOT NULL".into(),
                    named(&[("@tab", &table)]),
                ));
                self.write_all(&database, &statements).await
            }
            ObjectStatement::CreateSchema(name) => {
                self.may_define("CREATE SCHEMA", &self.database.clone())?;
                let mut statements = setup();
                statements
                    .push(("INSERT INTO main.`~schemas` (name) VALUES (@name)".into(), named(&[("@name", name)])));
                self.write_all(&self.database.clone(), &statements)
                    .await
                    .map_err(|message| if message.number == 2627 { taken(name) } else { message })
            }
        }
    }

    /// A table that is there, after the permission on it was checked.
    fn existing(&self, name: &ObjectName, permission: &str) -> SqlResult<(String, String, Schema)> {
        let (database, table) = resolve(&SessionFacts::new(self), name);
        let schema = self.on_connection(&database, |connection| Schema::load(connection))?;
        let found = schema.object(&table).filter(|object| object.kind == 'U').map(|object| object.name.clone());
        let Some(found) = found else {
            let mut message = invalid_object(name);
            if permission == "ALTER" {
                message = Message::new(
                    4902,
                    16,
                    format!(
                        "Cannot find the object \"{}\" because it does not exist or you do not have permissions.",
                        name.name
                    ),
                );
            }
            return Err(message);
        };
        if database != "tempdb" {
            self.may(permission, &database, &found)?;
        }
        Ok((database, found, schema))
    }

    /// Where a new object goes: 262, 2714, 2760.
    fn new_object(
        &self,
        name: &ObjectName,
        permission: &str,
        replace: bool,
        kind: char,
    ) -> SqlResult<(String, String)> {
        let (database, object) = resolve(&SessionFacts::new(self), name);
        if object.starts_with('~') {
            return Err(not_supported("A name that begins with ~"));
        }
        if database != "tempdb" {
            self.may_define(permission, &database)?;
        }
        let schema = self.on_connection(&database, |connection| Schema::load(connection))?;
        if let Some(wanted) = name.schema.as_ref().filter(|schema| !schema.eq_ignore_ascii_case("dbo"))
            && !schema.schemas.iter().any(|known| known.eq_ignore_ascii_case(wanted))
        {
            return Err(Message::new(
                2760,
                16,
                format!(
                    "The specified schema name \"{wanted}\" either does not exist or you do not have permission to use it."
                ),
            ));
        }
        if schema.object(&object).is_some_and(|found| !(replace && found.kind == kind)) {
            return Err(taken(&name.name));
        }
        Ok((database, object))
    }

    async fn create_table(
        &mut self,
        name: &ObjectName,
        columns: &[ColumnDefinition],
        constraints: &[Constraint],
    ) -> SqlResult<()> {
        let (database, table) = self.new_object(name, "CREATE TABLE", false, 'U')?;
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

    async fn add_column(&mut self, table: &ObjectName, column: &ColumnDefinition) -> SqlResult<()> {
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

    async fn drop_object(&mut self, what: &str, if_exists: bool, name: &ObjectName) -> SqlResult<()> {
        let (database, object) = resolve(&SessionFacts::new(self), name);
        let schema = self.on_connection(&database, |connection| Schema::load(connection))?;
        let kind = match what {
            "table" => 'U',
            "view" => 'V',
            _ => 'P',
        };
        let found = schema.object(&object).filter(|found| found.kind == kind);
        let Some(found) = found else {
            return if if_exists { Ok(()) } else { Err(missing(what, &name.name)) };
        };
        if database != "tempdb" {
            self.may("ALTER", &database, &found.name).map_err(|_| missing(what, &name.name))?;
        }
        let mut statements: Statements = setup();
        let object = found.name.clone();
        match kind {
            'U' => statements.push((format!("DROP TABLE main.{}", quote(&object)), vec![])),
            'V' => statements.push((format!("DROP VIEW main.{}", quote(&object)), vec![])),
            _ => {
                statements.push(("DELETE FROM main.`~modules` WHERE name = @name".into(), named(&[("@name", &object)])))
            }
        }
        for sql in [
            "DELETE FROM main.`~columns` WHERE tab = @name",
            "DELETE FROM main.`~permissions` WHERE class = 1 AND major = @name",
            "DELETE FROM main.`~properties` WHERE class = 1 AND major = @name",
        ] {
            statements.push((sql.into(), named(&[("@name", &object)])));
        }
        self.write_all(&database, &statements).await.map_err(|message| {
            if message.number == 547 {
                Message::new(
                    3726,
                    16,
                    format!(
                        "Could not drop object '{}' because it is referenced by a FOREIGN KEY constraint.",
                        name.name
                    ),
                )
            } else {
                message
            }
        })
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
