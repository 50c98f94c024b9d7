//! Triggers of the server: their statements, and what they do to a login (SQL Server docs, "Logon triggers").

use super::{
    ast::{RunsAs, TriggerStatement},
    parse::{self, not_supported},
    session::Session,
};
use crate::{
    catalog::{On, Trigger, TriggerText, cannot},
    errors::{Message, SqlResult},
    value::Output,
};

impl Session {
    /// All of them need CONTROL SERVER.
    pub(super) fn trigger_statement(&self, statement: &TriggerStatement) -> SqlResult<()> {
        if self.depth > 0 {
            // The catalog is not part of the transaction: what ROLLBACK should take back would stay.
            return Err(not_supported("A statement on a trigger of the server inside a transaction"));
        }
        self.need_server("CONTROL SERVER", || {
            Message::new(15_247, 16, "User does not have permission to perform this action.")
        })?;
        let catalog = &self.server.catalog;
        match statement {
            TriggerStatement::Create { name, how, runs_as, body, text } => {
                let runs_as = self.principal_to_run_as(runs_as)?;
                let what = TriggerText { name, text, body, runs_as };
                let enables = self.server.instance.faults().get().alter_trigger_enables;
                catalog.create_trigger(&what, *how, enables, self.server.now())
            }
            TriggerStatement::Drop { names, if_exists } => catalog.drop_triggers(names, *if_exists),
            TriggerStatement::Enable(names) => catalog.switch_triggers(names, true),
            TriggerStatement::Disable(names) => catalog.switch_triggers(names, false),
        }
    }

    fn principal_to_run_as(&self, runs_as: &RunsAs) -> SqlResult<Option<i32>> {
        let name = match runs_as {
            RunsAs::Caller => return Ok(None),
            RunsAs::Creator => &self.login,
            RunsAs::Login(name) => name,
        };
        let found = self.server.catalog.read().login(name).map(|login| login.id);
        let id = found.ok_or_else(|| cannot("find", "login", name))?;
        if !self.holds("IMPERSONATE", &On::Login(id)) {
            return Err(cannot("find", "login", name));
        }
        Ok(Some(id))
    }

    /// Runs every logon trigger that is enabled, in a transaction of their own. 17892 when that transaction does not
    /// last: it was rolled back, or an error ended it, which every error does as XACT_ABORT is on in triggers. The client
    /// learns nothing else: what the triggers say goes to the errorlog.
    pub(super) async fn fire_logon(&mut self) -> SqlResult<()> {
        let enabled: Vec<Trigger> = {
            let data = self.server.catalog.read();
            data.triggers.values().filter(|trigger| !trigger.disabled).cloned().collect()
        };
        if enabled.is_empty() {
            return Ok(());
        }
        let (login, xact_abort, database) = (self.login.clone(), self.xact_abort, self.database.clone());
        self.set_depth(1);
        let mut lasts = true;
        for trigger in enabled {
            self.xact_abort = true;
            lasts = self.run_trigger(&trigger).await;
            self.login.clone_from(&login);
            self.database.clone_from(&database);
            if !lasts {
                tracing::info!(
                    "Error: 17892, Severity: 20. The trigger '{}' ended the login of '{login}'.",
                    trigger.name
                );
                break;
            }
        }
        self.xact_abort = xact_abort;
        let refused = Message::new(17_892, 14, format!("Logon failed for login '{login}' due to trigger execution."));
        if !lasts {
            self.roll_back();
            return Err(refused);
        }
        self.transaction_statement(super::ast::TransactionStatement::Commit).await.map_err(|_| refused)
    }

    /// Whether the transaction outlives it.
    async fn run_trigger(&mut self, trigger: &Trigger) -> bool {
        if let Some(id) = trigger.runs_as {
            let Some(name) = self.server.catalog.read().principal_name(id) else {
                tracing::error!("Cannot execute as the server principal {id}: it does not exist (15406).");
                return false;
            };
            self.login = name;
        }
        let statements = match parse::batch(&trigger.body, []) {
            Ok(statements) => statements,
            Err(message) => {
                tracing::error!("{message}");
                return false;
            }
        };
        let mut rows = false;
        let mut log = |output: Output| match output {
            Output::Message(message) => tracing::info!("trigger: {message}"),
            Output::Rows { .. } => rows = true,
            _ => {}
        };
        let outer = std::mem::take(&mut self.variables);
        let ended = self.block(&statements, &mut log).await;
        self.variables = outer;
        self.tries = 0;
        if rows {
            tracing::error!("A logon trigger gave a result set, which it may not (575).");
        }
        ended.is_ok() && !rows && self.depth > 0 && !self.doomed
    }
}
