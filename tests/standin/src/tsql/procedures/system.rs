//! System procedures that change or show something of the session, the database or the server.

use super::given::Given;
use crate::{
    errors::{Message, SqlResult},
    store::database::rows,
    tsql::{
        ast::SecurityStatement,
        convert,
        parse::not_supported,
        session::{Out, Session},
        write::setup,
    },
    value::{Column, Output, SqlType, Value},
};
use rusqlite::types::Value as Lite;
use std::time::Duration;

/// `sp_server_diagnostics` collects for so long, whatever was asked (SQL Server docs).
const DIAGNOSTICS: Duration = Duration::from_secs(5);

impl Session {
    pub(super) fn set_context(&mut self, given: &Given<'_>) -> SqlResult<()> {
        let key = given.needed("@key")?;
        if key.is_empty() || key.encode_utf16().count() > 128 {
            return Err(Message::new(
                15_666,
                16,
                "Cannot set key in the session context. The key must be 1 to 128 characters.",
            ));
        }
        let lower = key.to_lowercase();
        if self.context.get(&lower).is_some_and(|(_, read_only)| *read_only) {
            return Err(Message::new(
                15_664,
                16,
                format!(
                    "Cannot set key '{key}' in the session context. The key has been set as read_only for this session."
                ),
            ));
        }
        let read_only = given.integer("@read_only").unwrap_or(0) != 0
            || matches!(given.value("@read_only"), Some(Value::Bit(true)));
        self.context.insert(lower, (given.value("@value").cloned().unwrap_or(Value::Null), read_only));
        Ok(())
    }

    /// The old names of ALTER SERVER ROLE and ALTER ROLE.
    pub(super) async fn add_member(&mut self, given: &Given<'_>) -> SqlResult<()> {
        let role = given.needed("@rolename")?;
        let statement = if given.procedure == "sp_addrolemember" {
            SecurityStatement::AlterRole(role, given.needed("@membername")?, true)
        } else {
            SecurityStatement::AlterServerRole(role, given.needed("@loginame")?, true)
        };
        self.security_statement(&statement).await
    }

    /// 15233 and 15217: a property that is there cannot be added, and one that is not cannot be changed.
    pub(super) async fn change_property(&mut self, given: &Given<'_>) -> SqlResult<()> {
        let change = property(given)?;
        let database = self.database.clone();
        self.may_define("ALTER", &database)?;
        let key: Vec<_> = change.1.iter().filter(|(name, _)| name != "@value").cloned().collect();
        let there = self.on_connection(&database, |connection| {
            // Without its table nothing was ever added.
            let sql = format!("SELECT 1 FROM main.`~properties` WHERE {PROPERTY}");
            Ok(rows(connection, &sql, &key).is_ok_and(|found| !found.rows.is_empty()))
        })?;
        let adds = given.procedure == "sp_addextendedproperty";
        if there == adds {
            let on = given.text("@level1name").map_or("object specified".into(), |object| format!("dbo.{object}"));
            return Err(wrong_property(adds, &given.needed("@name")?, &on));
        }
        let mut statements = setup();
        statements.push(change);
        self.write_all(&database, &statements).await
    }

    /// One row per component; it does not look at databases.
    pub(super) async fn diagnostics(&mut self, out: Out<'_>) -> SqlResult<()> {
        self.need_server("VIEW SERVER STATE", || {
            Message::new(300, 14, "VIEW SERVER STATE permission was denied on object 'server', database 'master'.")
        })?;
        tokio::time::sleep(DIAGNOSTICS).await;
        let kinds = [
            ("create_time", SqlType::DateTime),
            ("component_type", SqlType::NVarChar(128)),
            ("component_name", SqlType::NVarChar(128)),
            ("state", SqlType::Int),
            ("state_desc", SqlType::NVarChar(128)),
            ("data", SqlType::VarCharMax),
        ];
        let columns = kinds.map(|(name, kind)| Column { name: name.into(), kind, nullable: true }).to_vec();
        let now = self.server.now();
        let row = |kind: &str, name: &str, state: i64| {
            let desc = if state == 0 { "unknown" } else { "clean" };
            vec![
                Value::DateTime(now),
                Value::Text(kind.into()),
                Value::Text(name.into()),
                Value::Int(state),
                Value::Text(desc.into()),
                Value::Text("<data/>".into()),
            ]
        };
        let components = [("system", 1), ("resource", 1), ("query_processing", 1), ("io_subsystem", 1), ("events", 0)];
        let mut rows: Vec<_> = components.iter().map(|(name, state)| row("instance", name, *state)).collect();
        let groups = self.server.instance.snapshot().groups;
        rows.extend(groups.keys().map(|name| row("Always On:AvailabilityGroup", name, 1)));
        out(Output::Rows { columns, rows });
        out(Output::Done(None));
        Ok(())
    }
}

/// `sp_configure` shows nothing: no option can be changed.
pub(super) fn configure(out: Out<'_>) {
    let names = ["name", "minimum", "maximum", "config_value", "run_value"];
    let kinds = [SqlType::NVarChar(35), SqlType::Int, SqlType::Int, SqlType::Int, SqlType::Int];
    let columns = names.iter().zip(kinds).map(|(name, kind)| Column { name: (*name).into(), kind, nullable: true });
    out(Output::Rows { columns: columns.collect(), rows: vec![] });
    out(Output::Done(None));
}

/// The key of an extended property.
const PROPERTY: &str = "class = @class AND major = @major AND minor = @minor AND name = @name";

fn wrong_property(adds: bool, name: &str, on: &str) -> Message {
    if adds {
        let text = format!("Property cannot be added. Property '{name}' already exists for '{on}'.");
        return Message::new(15_233, 16, text);
    }
    let text = format!("Property cannot be updated or deleted. Property '{name}' does not exist for '{on}'.");
    Message::new(15_217, 16, text).state(2)
}

fn property(given: &Given<'_>) -> SqlResult<(String, Vec<(String, Lite)>)> {
    let text = |name: &str| Lite::Text(given.text(name).unwrap_or_default());
    let on_object = given.text("@level1name").is_some();
    let on_schema = given.text("@level0name").is_some() && !on_object;
    if on_schema {
        return Err(not_supported("An extended property of a schema"));
    }
    let parameters = vec![
        ("@class".to_string(), Lite::Integer(i64::from(on_object))),
        ("@major".into(), text("@level1name")),
        ("@minor".into(), text("@level2name")),
        ("@name".into(), Lite::Text(given.needed("@name")?)),
        ("@value".into(), given.value("@value").map_or(Lite::Null, |value| convert::to_lite(value, SqlType::Variant))),
    ];
    let key = PROPERTY;
    let sql = match given.procedure {
        "sp_addextendedproperty" => {
            "INSERT INTO main.`~properties` (class, major, minor, name, value) VALUES (@class, @major, @minor, @name, @value)".to_string()
        }
        "sp_updateextendedproperty" => format!("UPDATE main.`~properties` SET value = @value WHERE {key}"),
        _ => format!("DELETE FROM main.`~properties` WHERE {key}"),
    };
    Ok((sql, parameters))
}
