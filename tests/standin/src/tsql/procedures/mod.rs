//! System procedures and users' own.

mod applock;
mod given;
mod system;

use super::{
    ast::{ObjectName, ProcedureParameter},
    emit::resolve,
    parse::{self, not_supported},
    raise::shown,
    read::SessionFacts,
    run::{Flow, Raised},
    session::{Out, Session, Variables},
};
use crate::{
    errors::Message,
    value::{Parameter, SqlType, Value},
};
pub use applock::lock_key;
use given::Given;
use std::collections::BTreeMap;

/// Values of OUTPUT parameters by lower-case name.
pub type Outputs = BTreeMap<String, Value>;

/// Parameters of a system procedure that is called with names or by position.
fn parameters_of(procedure: &str) -> &'static [&'static str] {
    match procedure {
        "sp_set_session_context" => &["@key", "@value", "@read_only"],
        "sp_getapplock" => &["@Resource", "@LockMode", "@LockOwner", "@LockTimeout", "@DbPrincipal"],
        "sp_releaseapplock" => &["@Resource", "@LockOwner", "@DbPrincipal"],
        "sp_server_diagnostics" => &["@repeat_interval"],
        "sp_addrolemember" => &["@rolename", "@membername"],
        "sp_addsrvrolemember" => &["@loginame", "@rolename"],
        "sp_addextendedproperty" | "sp_updateextendedproperty" | "sp_dropextendedproperty" => &[
            "@name",
            "@value",
            "@level0type",
            "@level0name",
            "@level1type",
            "@level1name",
            "@level2type",
            "@level2name",
        ],
        _ => &[],
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
        match lower.as_str() {
            "sp_executesql" => self.execute_sql(parameters, out).await,
            "sp_configure" => {
                system::configure(out);
                Ok((0, Outputs::new()))
            }
            "sp_reset_connection" | "xp_logevent" => Ok((0, Outputs::new())),
            other if parameters_of(other).is_empty() => self.own_procedure(name, parameters, out).await,
            other => {
                let given = Given { procedure: other, parameters: &parameters, names: parameters_of(other) };
                given.check()?;
                Ok((self.system_procedure(&given, out).await?, Outputs::new()))
            }
        }
    }

    /// Runs a system procedure for its status.
    async fn system_procedure(&mut self, given: &Given<'_>, out: Out<'_>) -> Result<i32, Raised> {
        match given.procedure {
            "sp_set_session_context" => self.set_context(given)?,
            "sp_getapplock" => return Ok(self.get_lock(given).await?),
            "sp_releaseapplock" => self.release_lock(&given.needed("@Resource")?)?,
            "sp_server_diagnostics" => {
                if given.integer("@repeat_interval").unwrap_or(0) != 0 {
                    return Err(not_supported("sp_server_diagnostics with a repeat interval").into());
                }
                self.diagnostics(out).await?;
            }
            "sp_addsrvrolemember" | "sp_addrolemember" => self.add_member(given).await?,
            _ => self.change_property(given).await?,
        }
        Ok(0)
    }

    /// Runs text as a batch of its own, with its own variables. Returns the variables at its end. What it was SET, and the
    /// database that it used, are as before then (SQL Server docs, "SET statements", "EXECUTE").
    pub(super) async fn run_text(
        &mut self,
        text: &str,
        variables: Vec<(String, SqlType, Value)>,
        out: Out<'_>,
    ) -> Result<(Flow, Variables), Raised> {
        let statements = parse::batch(text, variables.iter().map(|(name, ..)| name.clone()))?;
        let own = variables.into_iter().map(|(name, kind, value)| (name, (kind, value))).collect();
        let outer = std::mem::replace(&mut self.variables, own);
        let (database, options) = (self.database.clone(), (self.xact_abort, self.lock_timeout));
        let result = self.block(&statements, out).await;
        (self.xact_abort, self.lock_timeout) = options;
        if self.database != database {
            self.return_to(database, out);
        }
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
        let (database, object) = resolve(&SessionFacts::new(self), name);
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
}
