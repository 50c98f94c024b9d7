//! CREATE, ALTER, DROP of tables, indexes, views, procedures and schemas; TRUNCATE.

mod index;
mod table;
mod view;

use super::{
    ast::{Definition, ObjectName, ObjectStatement, ProcedureParameter},
    emit::{quote, resolve},
    kind,
    parse::not_supported,
    read::SessionFacts,
    schema::Schema,
    session::{Out, Session},
    write::{invalid_object, setup},
};
use crate::errors::{Message, SqlResult};
use rusqlite::types::Value as Lite;

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

/// 3705
fn other_kind(what: &str, name: &str, kind: char) -> Message {
    let is = match kind {
        'U' => "table",
        'V' => "view",
        _ => "procedure",
    };
    let (verb, right) = (what.to_uppercase(), is.to_uppercase());
    Message::new(
        3705,
        16,
        format!("Cannot use DROP {verb} with '{name}' because '{name}' is a {is}. Use DROP {right}."),
    )
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
            ObjectStatement::DropColumn { table, columns } => self.drop_columns(table, columns).await,
            ObjectStatement::CreateIndex { name, table, unique, columns } => {
                self.create_index(name, table, *unique, columns).await
            }
            ObjectStatement::DropIndex { name, table, if_exists } => self.drop_index(name, table, *if_exists).await,
            ObjectStatement::CreateView { name, how, query } => self.create_view(name, *how, query).await,
            ObjectStatement::CreateProcedure { name, how, parameters, text } => {
                self.create_procedure(name, *how, parameters, text).await
            }
            ObjectStatement::Truncate(table) => self.truncate(table).await,
            ObjectStatement::CreateSchema(name) => self.create_schema(name).await,
        }
    }

    async fn create_procedure(
        &mut self,
        name: &ObjectName,
        how: Definition,
        parameters: &[ProcedureParameter],
        text: &str,
    ) -> SqlResult<()> {
        let (database, procedure) = self.new_object(name, "CREATE PROCEDURE", how, 'P')?;
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

    /// Whoever creates it owns it.
    async fn create_schema(&mut self, name: &str) -> SqlResult<()> {
        let database = self.database.clone();
        self.may_define("CREATE SCHEMA", &database)?;
        let (_, owner) = self.security(&database)?;
        let mut statements = setup();
        let insert = format!("INSERT INTO main.`~schemas` (name, owner) VALUES (@name, {owner})");
        statements.push((insert, named(&[("@name", name)])));
        let done = self.write_all(&database, &statements).await;
        done.map_err(|message| if message.number == 2627 { taken(name) } else { message })
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

    /// Where a new object goes: 262, 2714, 2760; 208 when it is to be altered and not there.
    fn new_object(
        &self,
        name: &ObjectName,
        permission: &str,
        how: Definition,
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
            && !schema.schemas.iter().any(|(known, _)| known.eq_ignore_ascii_case(wanted))
        {
            return Err(Message::new(
                2760,
                16,
                format!(
                    "The specified schema name \"{wanted}\" either does not exist or you do not have permission to use it."
                ),
            ));
        }
        match schema.object(&object) {
            Some(found) if how == Definition::Create || found.kind != kind => return Err(taken(&name.name)),
            None if how == Definition::Alter => return Err(invalid_object(name)),
            _ => {}
        }
        Ok((database, object))
    }

    async fn drop_object(&mut self, what: &str, if_exists: bool, name: &ObjectName) -> SqlResult<()> {
        let (database, object) = resolve(&SessionFacts::new(self), name);
        let schema = self.on_connection(&database, |connection| Schema::load(connection))?;
        let kind = match what {
            "table" => 'U',
            "view" => 'V',
            _ => 'P',
        };
        let known = schema.object(&object);
        if let Some(other) = known.filter(|found| found.kind != kind) {
            return Err(other_kind(what, &name.name, other.kind));
        }
        let Some(found) = known else {
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
