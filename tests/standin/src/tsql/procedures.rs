//! System procedures and users' own.

use super::{
    ast::{ObjectName, ProcedureParameter},
    convert,
    parse::{self, not_supported},
    raise::shown,
    run::{Flow, Raised},
    session::{Out, Session},
    write::setup,
};
use crate::{
    errors::{Message, SqlResult},
    server::AppLock,
    value::{Column, Output, Parameter, SqlType, Value},
};
use rusqlite::types::Value as Lite;
use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

/// Values of OUTPUT parameters by lower-case name.
pub type Outputs = BTreeMap<String, Value>;

/// `sp_server_diagnostics` collects for so long, whatever was asked (SQL Server docs).
const DIAGNOSTICS: Duration = Duration::from_secs(5);

/// Key of an application lock: its database and name, which is compared by its bytes.
pub fn lock_key(database: &str, resource: &str) -> String {
    format!("{}\u{0}{resource}", database.to_lowercase())
}

/// Arguments by name or position.
struct Given<'a> {
    procedure: &'a str,
    parameters: &'a [Parameter],
    names: &'a [&'a str],
}

impl Given<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        let index = self.names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let named = self.parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name));
        let positional = index.and_then(|index| self.parameters.get(index)).filter(|p| p.name.is_empty());
        named.or(positional).map(|parameter| &parameter.value).filter(|value| **value != Value::Null)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(shown)
    }

    fn needed(&self, name: &str) -> SqlResult<String> {
        self.text(name).ok_or_else(|| {
            Message::new(
                201,
                16,
                format!(
                    "Procedure or function '{}' expects parameter '{name}', which was not supplied.",
                    self.procedure
                ),
            )
            .state(4)
        })
    }

    fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Int(value) => Some(*value),
            other => shown(other).parse().ok(),
        }
    }

    /// 8145 for a name that the procedure does not have.
    fn check(&self) -> SqlResult<()> {
        let known = |name: &str| name.is_empty() || self.names.iter().any(|known| known.eq_ignore_ascii_case(name));
        match self.parameters.iter().find(|parameter| !known(&parameter.name)) {
            None => Ok(()),
            Some(wrong) => Err(Message::new(
                8145,
                16,
                format!("{} is not a parameter for procedure {}.", wrong.name, self.procedure),
            )),
        }
    }
}

impl Session {
    /// EXEC of a procedure: its status and OUTPUT values.
    pub(super) async fn call_procedure(
        &mut self,
        name: &ObjectName,
        parameters: Vec<Parameter>,
        out: Out<'_>,
    ) -> Result<(i32, Outputs), Raised> {
        let lower = name.name.to_lowercase();
        let given = |names: &'static [&'static str]| {
            let given = Given { procedure: &lower, parameters: &parameters, names };
            given.check().map(|()| given)
        };
        let done = |status: i32| Ok((status, Outputs::new()));
        match lower.as_str() {
            "sp_executesql" => self.execute_sql(parameters, out).await,
            "sp_set_session_context" => {
                let given = given(&["@key", "@value", "@read_only"])?;
                self.set_context(&given)?;
                done(0)
            }
            "sp_getapplock" => {
                let given = given(&["@Resource", "@LockMode", "@LockOwner", "@LockTimeout", "@DbPrincipal"])?;
                done(self.get_lock(&given).await?)
            }
            "sp_releaseapplock" => {
                let given = given(&["@Resource", "@LockOwner", "@DbPrincipal"])?;
                self.release_lock(&given.needed("@Resource")?)?;
                done(0)
            }
            "sp_server_diagnostics" => {
                let given = given(&["@repeat_interval"])?;
                if given.integer("@repeat_interval").unwrap_or(0) != 0 {
                    return Err(not_supported("sp_server_diagnostics with a repeat interval").into());
                }
                self.diagnostics(out).await?;
                done(0)
            }
            "sp_addsrvrolemember" | "sp_addrolemember" => {
                let (role, member) =
                    if lower == "sp_addrolemember" { ("@rolename", "@membername") } else { ("@rolename", "@loginame") };
                let names: &'static [&'static str] = if lower == "sp_addrolemember" {
                    &["@rolename", "@membername"]
                } else {
                    &["@loginame", "@rolename"]
                };
                let given = given(names)?;
                let (role, member) = (given.needed(role)?, given.needed(member)?);
                use super::ast::SecurityStatement as S;
                let statement = if lower == "sp_addrolemember" {
                    S::AlterRole(role, member, true)
                } else {
                    S::AlterServerRole(role, member, true)
                };
                self.security_statement(&statement).await?;
                done(0)
            }
            "sp_addextendedproperty" | "sp_updateextendedproperty" | "sp_dropextendedproperty" => {
                let given = given(&[
                    "@name",
                    "@value",
                    "@level0type",
                    "@level0name",
                    "@level1type",
                    "@level1name",
                    "@level2type",
                    "@level2name",
                ])?;
                let change = Self::property(&lower, &given)?;
                let database = self.database.clone();
                self.may_define("ALTER", &database)?;
                let mut statements = setup();
                statements.push(change);
                self.write_all(&database, &statements).await.map_err(|message| {
                    if message.number == 2627 {
                        Message::new(15_233, 16, "Property cannot be added. Property already exists for the object.")
                    } else {
                        message
                    }
                })?;
                done(0)
            }
            "sp_configure" => {
                let names = ["name", "minimum", "maximum", "config_value", "run_value"];
                let kinds = [SqlType::NVarChar(35), SqlType::Int, SqlType::Int, SqlType::Int, SqlType::Int];
                let columns =
                    names.iter().zip(kinds).map(|(name, kind)| Column { name: (*name).into(), kind, nullable: true });
                out(Output::Rows { columns: columns.collect(), rows: vec![] });
                out(Output::Done(None));
                done(0)
            }
            "sp_reset_connection" | "xp_logevent" => done(0),
            _ => self.own_procedure(name, parameters, out).await,
        }
    }

    /// Runs text as a batch of its own, with its own variables. Returns the variables at its end.
    pub(super) async fn run_text(
        &mut self,
        text: &str,
        variables: Vec<(String, SqlType, Value)>,
        out: Out<'_>,
    ) -> Result<(Flow, super::session::Variables), Raised> {
        let statements = parse::batch(text, variables.iter().map(|(name, ..)| name.clone()))?;
        let own = variables.into_iter().map(|(name, kind, value)| (name, (kind, value))).collect();
        let outer = std::mem::replace(&mut self.variables, own);
        let result = self.block(&statements, out).await;
        let own = std::mem::replace(&mut self.variables, outer);
        result.map(|flow| (flow, own))
    }

    async fn execute_sql(&mut self, parameters: Vec<Parameter>, out: Out<'_>) -> Result<(i32, Outputs), Raised> {
        let mut rest = parameters.into_iter();
        let text = rest.next().map(|parameter| shown(&parameter.value)).unwrap_or_default();
        let declared = match rest.next() {
            Some(parameter) => parse::declarations(&shown(&parameter.value))?,
            None => vec![],
        };
        let rest: Vec<Parameter> = rest.collect();
        self.run_with("sp_executesql", &text, &declared, &rest, out).await
    }

    /// Binds arguments to declared parameters and runs a body.
    async fn run_with(
        &mut self,
        name: &str,
        body: &str,
        declared: &[ProcedureParameter],
        arguments: &[Parameter],
        out: Out<'_>,
    ) -> Result<(i32, Outputs), Raised> {
        if let Some(wrong) = arguments
            .iter()
            .find(|a| !a.name.is_empty() && !declared.iter().any(|d| d.name.eq_ignore_ascii_case(&a.name)))
        {
            return Err(
                Message::new(8145, 16, format!("{} is not a parameter for procedure {name}.", wrong.name)).into()
            );
        }
        let mut variables = Vec::new();
        for (index, parameter) in declared.iter().enumerate() {
            let by_name = arguments.iter().find(|a| a.name.eq_ignore_ascii_case(&parameter.name));
            let argument = by_name.or_else(|| arguments.get(index).filter(|a| a.name.is_empty()));
            let value = match (argument, &parameter.default) {
                (Some(argument), _) => Self::converted(argument.value.clone(), argument.kind, parameter.kind)?,
                (None, Some(default)) => self.assigned(default, parameter.kind)?,
                (None, None) if parameter.output => Value::Null,
                (None, None) => {
                    return Err(Message::new(
                        201,
                        16,
                        format!(
                            "Procedure or function '{name}' expects parameter '{}', which was not supplied.",
                            parameter.name
                        ),
                    )
                    .state(4)
                    .into());
                }
            };
            variables.push((parameter.name.clone(), parameter.kind, value));
        }
        let (flow, mut variables) = self.run_text(body, variables, out).await?;
        let outputs = declared.iter().filter(|parameter| parameter.output);
        let outputs =
            outputs.filter_map(|p| variables.remove(&p.name).map(|(_, value)| (p.name.clone(), value))).collect();
        Ok((if let Flow::Return(status) = flow { status } else { 0 }, outputs))
    }

    async fn own_procedure(
        &mut self,
        name: &ObjectName,
        parameters: Vec<Parameter>,
        out: Out<'_>,
    ) -> Result<(i32, Outputs), Raised> {
        let (database, object) = super::emit::resolve(&super::read::SessionFacts::new(self), name);
        let missing = || Message::new(2812, 16, format!("Could not find stored procedure '{}'.", name.name)).state(62);
        let text: Option<String> = self.on_connection(&database, |connection| {
            let row =
                connection.query_row("SELECT text FROM `~modules` WHERE name = ?1 AND kind = 'P'", [&object], |row| {
                    row.get(0)
                });
            Ok(row.ok())
        })?;
        let text = text.ok_or_else(missing)?;
        self.may("EXECUTE", &database, &object)?;
        let (declared, body) = text.split_once('\n').unwrap_or(("", &text));
        let declared = parse::declarations(declared)?;
        self.run_with(&name.name, body, &declared, &parameters, out).await
    }

    fn set_context(&mut self, given: &Given<'_>) -> SqlResult<()> {
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

    /// 0 granted, 1 granted after a wait, -1 timeout.
    async fn get_lock(&mut self, given: &Given<'_>) -> SqlResult<i32> {
        let key = lock_key(&self.database, &given.needed("@Resource")?);
        let mode = given.needed("@LockMode")?.to_lowercase();
        let exclusive = match mode.as_str() {
            "exclusive" => true,
            "shared" => false,
            _ => return Err(not_supported(&format!("The lock mode {mode}"))),
        };
        let owner = given.text("@LockOwner").unwrap_or_else(|| "Transaction".into());
        let by_transaction = owner.eq_ignore_ascii_case("Transaction");
        if by_transaction && self.depth == 0 {
            return Err(Message::new(
                1222,
                16,
                "The statement or function must be executed in the context of a user transaction.",
            )
            .state(1));
        }
        let default = self.lock_timeout.and_then(|limit| i64::try_from(limit.as_millis()).ok()).unwrap_or(-1);
        let limit = given.integer("@LockTimeout").unwrap_or(default);
        let wanted = AppLock { spid: self.entry.spid, exclusive, count: 1, by_transaction };
        if self.try_lock(&key, wanted) {
            return Ok(0);
        }
        let waiting = async {
            loop {
                let given_back = self.server.unlocked.notified();
                tokio::pin!(given_back);
                given_back.as_mut().enable();
                if self.try_lock(&key, wanted) {
                    return;
                }
                given_back.await;
            }
        };
        match u64::try_from(limit) {
            Ok(0) => Ok(-1),
            Ok(millis) => {
                let granted = tokio::time::timeout(Duration::from_millis(millis), waiting).await.is_ok();
                Ok(if granted { 1 } else { -1 })
            }
            Err(_) => {
                waiting.await;
                Ok(1)
            }
        }
    }

    fn try_lock(&self, key: &str, wanted: AppLock) -> bool {
        let mut locks = self.server.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = locks.entry(key.to_string()).or_default();
        let blocked = holders.iter().any(|held| held.spid != wanted.spid && (held.exclusive || wanted.exclusive));
        if blocked {
            return false;
        }
        match holders.iter_mut().find(|held| held.spid == wanted.spid) {
            Some(held) => {
                held.count += 1;
                held.exclusive |= wanted.exclusive;
            }
            None => holders.push(wanted),
        }
        true
    }

    fn release_lock(&mut self, resource: &str) -> SqlResult<()> {
        let key = lock_key(&self.database, resource);
        let spid = self.entry.spid;
        let mut locks = self.server.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let held = locks.get_mut(&key).and_then(|holders| holders.iter_mut().find(|held| held.spid == spid));
        let Some(held) = held else {
            return Err(Message::new(
                1223,
                16,
                format!(
                    "Cannot release the application lock (Database Principal: 'public', Resource: '{resource}') because it is not currently held."
                ),
            ));
        };
        held.count -= 1;
        let free = held.count == 0;
        if free && let Some(holders) = locks.get_mut(&key) {
            holders.retain(|held| held.spid != spid);
            if holders.is_empty() {
                locks.remove(&key);
            }
        }
        drop(locks);
        self.server.unlocked.notify_waiters();
        Ok(())
    }

    /// One row per component; it does not look at databases.
    async fn diagnostics(&mut self, out: Out<'_>) -> SqlResult<()> {
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

    fn property(procedure: &str, given: &Given<'_>) -> SqlResult<(String, Vec<(String, Lite)>)> {
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
            (
                "@value".into(),
                given.value("@value").map_or(Lite::Null, |value| convert::to_lite(value, SqlType::Variant)),
            ),
        ];
        let key = "class = @class AND major = @major AND minor = @minor AND name = @name";
        let sql = match procedure {
            "sp_addextendedproperty" => {
                "INSERT INTO main.`~properties` (class, major, minor, name, value) VALUES (@class, @major, @minor, @name, @value)".to_string()
            }
            "sp_updateextendedproperty" => format!("UPDATE main.`~properties` SET value = @value WHERE {key}"),
            _ => format!("DELETE FROM main.`~properties` WHERE {key}"),
        };
        Ok((sql, parameters))
    }
}
