//! Control of flow: which statement runs next, and what an error ends.

use super::{
    ast::{Callee, DatabaseStatement, Located, ObjectName, Statement},
    parse::not_supported,
    raise::shown,
    read::LOCKED,
    session::{Out, Session},
};
use crate::{
    ddl::GroupStatement,
    errors::{Message, SqlResult},
    value::{Output, SqlType, Value},
};
use futures::future::BoxFuture;
use sqlparser::ast::Expr;
use std::time::Duration;

/// Where control goes after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next statement.
    Next,
    /// Out of the loop.
    Break,
    /// To the loop's condition.
    Continue,
    /// Out of the batch or procedure.
    Return(i32),
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At its end.
    Finished,
    /// By RETURN.
    Returned(i32),
    /// By an error.
    Failed,
}

/// An error on its way to a CATCH or to the client.
#[derive(Debug)]
pub struct Raised {
    /// It.
    pub message: Message,
    /// It ends the batch, not only its statement.
    pub ends: bool,
    /// The client has it already.
    pub shown: bool,
}

impl From<Message> for Raised {
    fn from(message: Message) -> Self {
        let ends = ends_batch(&message);
        Self { message, ends, shown: false }
    }
}

/// Errors that end a batch without XACT_ABORT: what is found when a statement is compiled, conversions, broken
/// transactions, and everything that ends the connection.
fn ends_batch(message: &Message) -> bool {
    let numbers = [
        102, 128, 137, 141, 156, 195, 207, 208, 209, 213, 241, 245, 512, 1205, 2812, 3930, 4104, 8114, 8169, 40_517,
        596, 1222, 217, 8631, 9001,
    ];
    message.class >= 19 || numbers.contains(&message.number)
}

/// Errors that roll the transaction back even without XACT_ABORT.
fn breaks_transaction(message: &Message) -> bool {
    [241, 245, 1205, 8169, 9001].contains(&message.number)
}

/// Procedures inside procedures (error 217).
const DEEPEST_CALL: u32 = 32;

impl Session {
    /// Runs the statements of a batch; its errors go to the client.
    pub(super) async fn run_batch(&mut self, statements: &[Located], out: Out<'_>) -> Ending {
        let result = self.block(statements, out).await;
        self.end_batch(out);
        match result {
            Ok(Flow::Return(status)) => Ending::Returned(status),
            Ok(_) => Ending::Finished,
            Err(_) => Ending::Failed,
        }
    }

    /// A doomed transaction does not outlive its batch.
    pub(super) fn end_batch(&mut self, out: Out<'_>) {
        if self.doomed {
            self.roll_back();
            self.show(
                Message::new(
                    3998,
                    16,
                    "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
                ),
                out,
            );
        }
    }

    pub(super) fn block<'a>(
        &'a mut self,
        statements: &'a [Located],
        out: Out<'a>,
    ) -> BoxFuture<'a, Result<Flow, Raised>> {
        Box::pin(async move {
            for located in statements {
                match self.guarded(located, out).await? {
                    Flow::Next => {}
                    other => return Ok(other),
                }
            }
            Ok(Flow::Next)
        })
    }

    /// One statement; an error that ends only the statement is told to the client here.
    async fn guarded(&mut self, located: &Located, out: Out<'_>) -> Result<Flow, Raised> {
        let mut raised = loop {
            match self.one(located, out).await {
                Ok(flow) => return Ok(flow),
                // Nothing was done yet: wait for the transaction that is in the way, then begin again.
                Err(raised) if raised.message.state == LOCKED && !raised.shown => {
                    if let Err(message) = self.unlocked(&raised.message).await {
                        break Raised::from(message);
                    }
                }
                Err(raised) => break raised,
            }
        };
        if raised.shown {
            return Err(raised);
        }
        if raised.message.line == 0 {
            raised.message.line = located.line;
        }
        self.error = raised.message.number;
        self.rowcount = 0;
        let caught = self.tries > 0 && (11..20).contains(&raised.message.class);
        let breaks = self.xact_abort || breaks_transaction(&raised.message);
        if caught {
            self.doomed |= breaks && self.depth > 0;
            return Err(raised);
        }
        if !raised.message.is_error() {
            self.show(raised.message, out);
            return Ok(Flow::Next);
        }
        self.show(raised.message.clone(), out);
        out(Output::Done(None));
        if breaks && self.depth > 0 {
            self.roll_back();
        }
        if raised.ends || self.xact_abort {
            return Err(Raised { shown: true, ..raised });
        }
        Ok(Flow::Next)
    }

    async fn one(&mut self, located: &Located, out: Out<'_>) -> Result<Flow, Raised> {
        match &located.statement {
            Statement::Block(statements) => return self.block(statements, out).await,
            Statement::If { condition, then, otherwise } => {
                let chosen = if self.condition(condition)? { Some(then) } else { otherwise.as_ref() };
                let Some(chosen) = chosen else { return Ok(Flow::Next) };
                return self.block(std::slice::from_ref(chosen), out).await;
            }
            Statement::While { condition, body } => return self.repeat(condition, body, out).await,
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::Return(value) => {
                let status = match value {
                    Some(value) => self.integer(value)?,
                    None => 0,
                };
                return Ok(Flow::Return(i32::try_from(status).unwrap_or(0)));
            }
            Statement::Try { body, catch } => return self.try_catch(body, catch, out).await,
            Statement::Throw(parts) => return Err(self.throw(parts.as_ref())?),
            Statement::RaiseError(arguments) => self.raise_error(arguments, out)?,
            Statement::Execute { into, callee, arguments } => {
                return self.execute_call(into.as_deref(), callee, arguments, out).await;
            }
            other => self.simple(other, out).await?,
        }
        self.error = 0;
        Ok(Flow::Next)
    }

    /// Statements without statements inside.
    async fn simple(&mut self, statement: &Statement, out: Out<'_>) -> Result<(), Raised> {
        match statement {
            Statement::Declare(declared) => self.declare(declared)?,
            Statement::SetVariable(name, value) => {
                let kind = self.variables.get(name).map_or(SqlType::Variant, |(kind, _)| *kind);
                let value = self.assigned(value, kind)?;
                self.variables.insert(name.clone(), (kind, value));
                self.rowcount = 1;
            }
            Statement::SetOption(options, value) => {
                for option in options {
                    self.set_option(option, value)?;
                }
            }
            Statement::Print(value) => {
                let (value, _) = self.scalar(value)?;
                out(Output::Message(Message { state: 1, ..Message::new(0, 0, shown(&value)) }));
            }
            Statement::Wait(delay) => self.wait(delay, out).await?,
            Statement::Use(name) => {
                self.change_database(name)?;
                out(Output::Database(self.database.clone()));
                let text = format!("Changed database context to '{}'.", self.database);
                self.show(Message::new(5701, 0, text).state(2), out);
                out(Output::Done(None));
            }
            Statement::Kill(spid) => self.kill(*spid)?,
            Statement::Transaction(statement) => self.transaction_statement(*statement).await?,
            Statement::Query(query) => self.select(query, out)?,
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => self.modify(statement, out).await?,
            other => {
                self.define(other, out).await?;
                out(Output::Done(None));
            }
        }
        Ok(())
    }

    /// Statements that define something: objects, principals, databases, groups.
    async fn define(&mut self, statement: &Statement, out: Out<'_>) -> SqlResult<()> {
        match statement {
            Statement::Object(statement) => self.object_statement(statement, out).await,
            Statement::Security(statement) => self.security_statement(statement).await,
            Statement::Trigger(statement) => self.trigger_statement(statement),
            Statement::Database(statement) => {
                self.database_outside_transaction(statement)?;
                self.database_statement(statement, out).await
            }
            Statement::Group(name, statement) => {
                self.no_transaction(match statement {
                    GroupStatement::Create { .. } | GroupStatement::CreateDistributed { .. } => {
                        "CREATE AVAILABILITY GROUP"
                    }
                    GroupStatement::Drop => "DROP AVAILABILITY GROUP",
                    _ => "ALTER AVAILABILITY GROUP",
                })?;
                self.group_statement(name, statement, out).await
            }
            _ => Err(not_supported("This statement")),
        }
    }

    fn declare(&mut self, declared: &[(String, SqlType, Option<Expr>)]) -> SqlResult<()> {
        for (name, kind, value) in declared {
            let value = match value {
                Some(value) => self.assigned(value, *kind)?,
                None => Value::Null,
            };
            self.variables.insert(name.clone(), (*kind, value));
        }
        Ok(())
    }

    async fn wait(&mut self, delay: &Expr, out: Out<'_>) -> SqlResult<()> {
        let (delay, _) = self.scalar(delay)?;
        let delay = shown(&delay);
        let duration = delay_of(&delay).ok_or_else(|| {
            Message::new(148, 15, format!("Incorrect time syntax in time string '{delay}' used with WAITFOR."))
        })?;
        tokio::time::sleep(duration).await;
        out(Output::Done(None));
        Ok(())
    }

    /// 226, 574, 3021: each statement on a whole database has its own number for a transaction around it.
    fn database_outside_transaction(&self, statement: &DatabaseStatement) -> SqlResult<()> {
        let what = match statement {
            DatabaseStatement::Drop { .. } => return self.no_transaction("DROP DATABASE"),
            _ if self.depth == 0 => return Ok(()),
            DatabaseStatement::Backup(_) | DatabaseStatement::BackupLog(_) | DatabaseStatement::Recover(_) => {
                let text = "Cannot perform a backup or restore operation within a transaction.";
                return Err(Message::new(3021, 16, text));
            }
            DatabaseStatement::Create(_) => "CREATE DATABASE",
            _ => "ALTER DATABASE",
        };
        let text = format!("{what} statement not allowed within multi-statement transaction.");
        Err(Message::new(226, 16, text).state(6))
    }

    /// 574
    fn no_transaction(&self, what: &str) -> SqlResult<()> {
        if self.depth == 0 {
            return Ok(());
        }
        Err(Message::new(574, 16, format!("{what} statement cannot be used inside a user transaction.")))
    }

    async fn repeat(&mut self, condition: &Expr, body: &Located, out: Out<'_>) -> Result<Flow, Raised> {
        while self.condition(condition)? {
            match self.block(std::slice::from_ref(body), out).await? {
                Flow::Next | Flow::Continue => {}
                Flow::Break => break,
                Flow::Return(status) => return Ok(Flow::Return(status)),
            }
            tokio::task::yield_now().await;
        }
        Ok(Flow::Next)
    }

    async fn try_catch(&mut self, body: &[Located], catch: &[Located], out: Out<'_>) -> Result<Flow, Raised> {
        self.tries += 1;
        let result = self.block(body, out).await;
        self.tries -= 1;
        let raised = match result {
            Ok(flow) => return Ok(flow),
            Err(raised) if raised.shown => return Err(raised),
            Err(raised) => raised,
        };
        self.caught.push(raised.message);
        let result = self.block(catch, out).await;
        self.caught.pop();
        result
    }

    async fn execute_call(
        &mut self,
        into: Option<&str>,
        callee: &Callee,
        arguments: &[super::ast::Argument],
        out: Out<'_>,
    ) -> Result<Flow, Raised> {
        self.nesting += 1;
        if self.nesting > DEEPEST_CALL {
            self.nesting = 0;
            return Err(Message::new(
                217,
                16,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            )
            .into());
        }
        let result = match callee {
            Callee::Text(text) => {
                let (text, _) = self.scalar(text)?;
                self.run_text(&shown(&text), vec![], out).await.map(|_| ())
            }
            Callee::Procedure(name) => self.call_with(into, name, arguments, out).await,
        };
        self.nesting = self.nesting.saturating_sub(1);
        result.map(|()| Flow::Next)
    }

    async fn call_with(
        &mut self,
        into: Option<&str>,
        name: &ObjectName,
        arguments: &[super::ast::Argument],
        out: Out<'_>,
    ) -> Result<(), Raised> {
        let mut parameters = Vec::new();
        for argument in arguments {
            let (value, kind) = self.scalar(&argument.value)?;
            parameters.push(crate::value::Parameter {
                name: argument.name.clone().unwrap_or_default(),
                value,
                kind,
                output: argument.output.is_some(),
            });
        }
        let (status, values) = self.call_procedure(name, parameters, out).await?;
        if let Some(into) = into {
            let kind = self.variables.get(into).map_or(SqlType::Int, |(kind, _)| *kind);
            self.variables.insert(into.into(), (kind, Value::Int(i64::from(status))));
        }
        for argument in arguments {
            let (Some(variable), Some(name)) = (&argument.output, &argument.name) else { continue };
            if let (Some(value), Some(slot)) = (values.get(name), self.variables.get_mut(variable)) {
                slot.1 = value.clone();
            }
        }
        Ok(())
    }
}

/// `hh:mm[:ss[.fff]]`, at most a day.
fn delay_of(text: &str) -> Option<Duration> {
    let parts: Vec<&str> = text.trim().split(':').collect();
    let number = |text: &&str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (number(hours)?, number(minutes)?, 0.0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return None,
    };
    let total = hours * 3600.0 + minutes * 60.0 + seconds;
    (total < 86_400.0).then(|| Duration::from_secs_f64(total))
}
