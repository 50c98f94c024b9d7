//! INSERT, UPDATE, DELETE, and the transaction that they run in.

use super::{
    ast::{ObjectName, Statement},
    emit::{Emitter, Modification, Target, resolve, target_of_delete, target_of_insert, target_of_update},
    parse::not_supported,
    problem,
    read::{SessionFacts, typed},
    schema,
    session::{OpenTransaction, Out, Session},
};
use crate::{
    catalog::database::SETUP,
    errors::{Message, SqlResult},
    instance::{RowSet, Transaction},
    value::Output,
};
use rusqlite::types::Value as Lite;

/// Statements that change data of one database, in its transaction or in one of their own.
pub struct Writing {
    inner: Transaction,
    database: String,
    /// The session has a transaction: keep it open.
    kept: bool,
}

impl Session {
    /// Opens the transaction of a statement that changes `database`.
    pub(super) async fn write(&mut self, database: &str) -> SqlResult<Writing> {
        if self.doomed {
            return Err(Message::new(
                3930,
                16,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        if let Some(open) = self.transaction.take() {
            if open.database.eq_ignore_ascii_case(database) {
                // Whoever drops this statement in the middle drops the transaction with it: nothing may follow in it.
                self.doomed = true;
                return Ok(Writing { inner: open.inner, database: open.database, kept: true });
            }
            self.transaction = Some(open);
            return Err(not_supported("A transaction over several databases"));
        }
        let opened = self.server.instance.open(database, false)?;
        self.admitted(&opened)?;
        let begun = opened.begin();
        let inner = match self.lock_timeout {
            None => begun.await?,
            Some(limit) => tokio::time::timeout(limit, begun).await.map_err(|_| super::read::lock_timeout())??,
        };
        Ok(Writing { inner, database: opened.name().into(), kept: self.depth > 0 })
    }

    /// Ends the statement: its transaction stays open, or is committed.
    pub(super) async fn written(&mut self, writing: Writing) -> SqlResult<()> {
        if writing.kept {
            self.doomed = false;
            self.transaction = Some(OpenTransaction { database: writing.database, inner: writing.inner });
            return Ok(());
        }
        self.commit(writing.inner).await
    }

    /// Ends a failed statement: what it did was undone, the session's transaction stays open.
    pub(super) fn failed(&mut self, writing: Writing) {
        if writing.kept && self.depth > 0 {
            self.doomed = false;
            self.transaction = Some(OpenTransaction { database: writing.database, inner: writing.inner });
        }
    }

    /// Runs statements in SQLite's language as one statement of T-SQL.
    pub(super) async fn write_all(
        &mut self,
        database: &str,
        statements: &[(String, Vec<(String, Lite)>)],
    ) -> SqlResult<()> {
        let mut writing = self.write(database).await?;
        let result = run(&mut writing.inner, statements).await;
        match result {
            Ok(_) => self.written(writing).await,
            Err(message) => {
                self.failed(writing);
                Err(message)
            }
        }
    }

    /// INSERT, UPDATE, DELETE.
    pub(super) async fn modify(&mut self, statement: &Statement, out: Out<'_>) -> SqlResult<()> {
        let (name, permission) = match statement {
            Statement::Insert(insert) => (target_of_insert(insert)?, "INSERT"),
            Statement::Update(update) => (target_of_update(update)?, "UPDATE"),
            Statement::Delete(delete) => (target_of_delete(delete)?, "DELETE"),
            _ => return Err(not_supported("This statement")),
        };
        if crate::views::find(name.schema.as_deref().unwrap_or_default(), &name.name).is_some() {
            return Err(Message::new(259, 16, "Ad hoc updates to system catalogs are not allowed."));
        }
        let (database, table) = resolve(&SessionFacts::new(self), &name);
        let target = self.on_connection(&database, |connection| schema::target(connection, &table))?;
        let target = target.ok_or_else(|| invalid_object(&name))?;
        self.may(permission, &database, &table)?;
        let writing = self.write(&database).await?;
        let kept = writing.kept;
        // Everything that is read for this statement is read in its transaction.
        self.transaction = Some(OpenTransaction { database: writing.database, inner: writing.inner });
        let prepared = self.prepare(statement, (&database, &table), target);
        let Some(open) = self.transaction.take() else { return Err(invalid_object(&name)) };
        let mut writing = Writing { inner: open.inner, database: open.database, kept };
        let result = match prepared {
            Ok((modification, target)) => self.change(&mut writing.inner, modification, &target).await,
            Err(message) => Err(message),
        };
        match result {
            Ok((set, modification)) => {
                self.written(writing).await?;
                self.rowcount = i64::try_from(set.1).unwrap_or(i64::MAX);
                if let Some(columns) = &modification.output {
                    let set = typed(set.0, columns);
                    out(Output::Rows { columns: set.columns, rows: set.rows });
                    out(Output::Done(None));
                } else {
                    out(Output::Done(Some(set.1)));
                }
                Ok(())
            }
            Err(message) => {
                self.failed(writing);
                Err(message)
            }
        }
    }

    /// The statement in SQLite's language, and its table as it is now: identity values may have been given out while
    /// the statement waited for its turn.
    fn prepare(
        &self,
        statement: &Statement,
        (database, table): (&str, &str),
        target: Target,
    ) -> SqlResult<(Modification, Target)> {
        let fresh = self.on_connection(database, |connection| schema::target(connection, table))?;
        let target = fresh.unwrap_or(target);
        let modification = self.emit_modification(statement, &target)?;
        if modification.used.databases.len() > 1 {
            return Err(not_supported("A statement over several databases"));
        }
        if !modification.used.views.is_empty() || modification.used.state {
            return Err(not_supported("A system view or a function of the server in a statement that changes data"));
        }
        self.may_read(&modification.used)?;
        Ok((modification, target))
    }

    async fn change(
        &mut self,
        transaction: &mut Transaction,
        modification: Modification,
        target: &Target,
    ) -> SqlResult<((RowSet, u64), Modification)> {
        let parameters: Vec<_> =
            self.parameters().into_iter().filter(|(name, _)| modification.sql.contains(name.as_str())).collect();
        let mark = transaction.savepoint()?;
        let result = self.apply(transaction, &modification, target, &parameters).await;
        match result {
            Ok(set) => {
                transaction.release()?;
                Ok((set, modification))
            }
            Err(message) => {
                let message = transaction
                    .with_connection(|connection| Ok(problem::translate(message.clone(), Some(connection))))
                    .unwrap_or(message);
                transaction.rollback_to(mark)?;
                Err(message)
            }
        }
    }

    fn emit_modification(&self, statement: &Statement, target: &Target) -> SqlResult<Modification> {
        let facts = SessionFacts::new(self);
        let emitter = Emitter::new(&facts, true);
        match statement {
            Statement::Insert(insert) => {
                let table = target_of_insert(insert)?.name.to_lowercase();
                let explicit = self.identity_insert.as_ref() == Some(&table);
                emitter.insert(insert, target, explicit)
            }
            Statement::Update(update) => emitter.update(update, target),
            Statement::Delete(delete) => emitter.delete(delete, target),
            _ => Err(not_supported("This statement")),
        }
        .map_err(|message| facts.decide(message))
    }

    async fn apply(
        &mut self,
        transaction: &mut Transaction,
        modification: &Modification,
        target: &Target,
        parameters: &[(String, Lite)],
    ) -> SqlResult<(RowSet, u64)> {
        let (set, count) = if modification.output.is_some() {
            let set = transaction.execute_returning(&modification.sql, parameters).await?;
            let count = set.rows.len() as u64;
            (set, count)
        } else {
            (RowSet::default(), transaction.execute(&modification.sql, parameters).await? as u64)
        };
        if let Some((column, next, increment)) =
            target.identity.as_ref().filter(|_| modification.gives_identity && count > 0)
        {
            let given = i64::try_from(count).unwrap_or(0).saturating_mul(*increment);
            let after = next.saturating_add(given);
            let explicit = self.identity_insert.is_some();
            let table = super::emit::quote(&modification.table);
            let value = if explicit {
                format!(
                    "max(next, (SELECT coalesce(max({}) + {increment}, next) FROM main.{table}))",
                    super::emit::quote(column)
                )
            } else {
                after.to_string()
            };
            let sql = format!("UPDATE main.`~columns` SET next = {value} WHERE tab = @tab AND col = @col");
            let named = [
                ("@tab".to_string(), Lite::Text(modification.table.clone())),
                ("@col".to_string(), Lite::Text(column.clone())),
            ];
            transaction.execute(&sql, &named).await?;
            self.identity = Some(after - increment);
        }
        Ok((set, count))
    }
}

async fn run(transaction: &mut Transaction, statements: &[(String, Vec<(String, Lite)>)]) -> SqlResult<()> {
    let mark = transaction.savepoint()?;
    for (sql, parameters) in statements {
        if let Err(message) = transaction.execute(sql, parameters).await {
            let message = problem::translate(message, None);
            transaction.rollback_to(mark)?;
            return Err(message);
        }
    }
    transaction.release()
}

/// The stand-in's own tables, before something is written to them.
pub fn setup() -> Vec<(String, Vec<(String, Lite)>)> {
    SETUP.iter().map(|sql| ((*sql).to_string(), vec![])).collect()
}

/// 208
pub fn invalid_object(name: &ObjectName) -> Message {
    let parts = [name.database.as_ref(), name.schema.as_ref(), Some(&name.name)];
    let shown: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    Message::new(208, 16, format!("Invalid object name '{}'.", shown.join(".")))
}
