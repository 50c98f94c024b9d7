//! Queries and expressions.

use super::{
    convert,
    emit::{EmittedQuery, Emitter, Facts, NamedKind},
    functions, kind,
    parse::not_supported,
    problem,
    session::{Out, Session},
    state::State,
};
use crate::{
    errors::{Message, SqlResult},
    instance::RowSet,
    store::database::{Database, rows},
    value::{Column, Output, SqlType, Value},
    views,
};
use rusqlite::{Connection, functions::FunctionFlags, types::Value as Lite};
use sqlparser::ast::{Expr, Query};
use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

/// A result set with its columns.
pub struct ResultSet {
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Vec<Value>>,
}

/// What the emitter asks of a session.
pub struct SessionFacts<'s> {
    session: &'s Session,
    /// Why a database could not be read.
    problem: RefCell<Option<Message>>,
}

impl<'s> SessionFacts<'s> {
    /// Facts of a session now.
    pub fn new(session: &'s Session) -> Self {
        Self { session, problem: RefCell::default() }
    }

    /// The error that decides: a database that cannot be opened beats the unknown table in it.
    pub fn decide(&self, message: Message) -> Message {
        self.problem.borrow_mut().take().unwrap_or(message)
    }
}

impl Facts for SessionFacts<'_> {
    fn global(&self, name: &str) -> Option<(Value, SqlType)> {
        let session = self.session;
        let config = session.server.instance.config();
        let text = |text: &str| (Value::Text(text.into()), SqlType::NVarChar(4000));
        let int = |value: i64| (Value::Int(value), SqlType::Int);
        Some(match name {
            "@@VERSION" => text(&session.server.banner()),
            "@@SERVERNAME" => (Value::Text(config.server_name.clone()), SqlType::NVarChar(128)),
            "@@SERVICENAME" => (Value::Text("MSSQLSERVER".into()), SqlType::NVarChar(128)),
            "@@LANGUAGE" => (Value::Text("us_english".into()), SqlType::NVarChar(128)),
            "@@SPID" => (Value::Int(i64::from(session.entry.spid)), SqlType::SmallInt),
            "@@TRANCOUNT" => int(i64::from(session.depth)),
            "@@ROWCOUNT" => int(session.rowcount),
            "@@ERROR" => int(i64::from(session.error)),
            "@@NESTLEVEL" => int(i64::from(session.nesting)),
            "@@IDENTITY" => (
                session.identity.map_or(Value::Null, |id| Value::Decimal(i128::from(id))),
                SqlType::Decimal { precision: 38, scale: 0 },
            ),
            "@@LOCK_TIMEOUT" => int(session.lock_timeout.map_or(-1, |t| i64::try_from(t.as_millis()).unwrap_or(-1))),
            "@@MAX_CONNECTIONS" => int(32_767),
            "@@OPTIONS" => int(if session.xact_abort { 16_384 } else { 0 } + 5_496),
            "@@DATEFIRST" => (Value::Int(7), SqlType::TinyInt),
            "@@PROCID" | "@@CURSOR_ROWS" | "@@FETCH_STATUS" => int(0),
            "@@TEXTSIZE" => int(2_147_483_647),
            "@@MICROSOFTVERSION" => int(i64::from(session.server.major()) << 24),
            _ => return None,
        })
    }

    fn variable(&self, name: &str) -> Option<SqlType> {
        self.session.variables.get(name).map(|(kind, _)| *kind)
    }

    fn columns(&self, database: &str, table: &str) -> Option<Vec<(String, SqlType)>> {
        match self.session.described(database) {
            Ok(described) => described.schema.columns(table),
            Err(message) => {
                *self.problem.borrow_mut() = Some(message);
                None
            }
        }
    }

    fn system_view(&self, schema: &str, name: &str) -> Option<(&'static str, Vec<(String, SqlType)>)> {
        let view = views::find(schema, name)?;
        Some((view.key, view.columns(self.session.server.major())))
    }

    fn now(&self) -> i64 {
        self.session.server.now()
    }

    fn uuid(&self) -> uuid::Uuid {
        self.session.server.instance.shared().uuid()
    }

    fn database(&self) -> &str {
        &self.session.database
    }

    fn spid(&self) -> u16 {
        self.session.entry.spid
    }
}

/// State of the message that stands for a database in which a transaction is open: its readers wait, as they wait for
/// locks in SQL Server.
pub const LOCKED: u8 = 99;

/// Reads a database; while a transaction is open in it, the message is 1222 with the state [`LOCKED`] and the database's
/// name as procedure.
pub fn read<T>(database: &Database, work: impl FnOnce(&mut Connection) -> SqlResult<T>) -> SqlResult<T> {
    database.with_reader(work).map_err(|message| {
        if !message.text.contains("database is locked") && !message.text.contains("table is locked") {
            return message;
        }
        Message { procedure: database.name().into(), ..lock_timeout().state(LOCKED) }
    })
}

/// 1222
pub fn lock_timeout() -> Message {
    Message::new(1222, 16, "Lock request time out period exceeded.").state(51)
}

impl Session {
    /// Waits for the transaction that a [`LOCKED`] message names, at most for SET LOCK_TIMEOUT.
    pub(super) async fn unlocked(&self, message: &Message) -> SqlResult<()> {
        let Some(database) = self.server.instance.shared().database(&message.procedure) else { return Ok(()) };
        match self.lock_timeout {
            None => {
                database.quiet().await;
                Ok(())
            }
            Some(limit) => tokio::time::timeout(limit, database.quiet()).await.map_err(|_| lock_timeout()),
        }
    }

    /// Runs `work` on a connection that sees what this session may see of a database.
    pub(super) fn on_connection<T>(
        &self,
        database: &str,
        work: impl FnOnce(&mut Connection) -> SqlResult<T>,
    ) -> SqlResult<T> {
        if let Some(open) = self.transaction.as_ref().filter(|open| open.database.eq_ignore_ascii_case(database)) {
            return open.inner.with_connection(work);
        }
        let opened = self.server.instance.open(database, self.read_only_intent)?;
        if !database.eq_ignore_ascii_case(&self.database) {
            self.admitted(&opened)?;
        }
        read(&opened, work)
    }

    fn emit(&self, work: impl FnOnce(Emitter<'_>) -> SqlResult<EmittedQuery>) -> SqlResult<EmittedQuery> {
        let facts = SessionFacts::new(self);
        work(Emitter::new(&facts, false)).map_err(|message| facts.decide(message))
    }

    /// Value and type of an expression.
    pub(super) fn scalar(&self, expression: &Expr) -> SqlResult<(Value, SqlType)> {
        let emitted = self.emit(|emitter| emitter.whole_expression(expression))?;
        let set = self.evaluate(&emitted)?;
        let kind = set.columns.first().map_or(SqlType::Int, |column| column.kind);
        Ok((set.rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Value::Null), kind))
    }

    /// An expression's value as a variable of type `kind` takes it.
    pub(super) fn assigned(&self, expression: &Expr, kind: SqlType) -> SqlResult<Value> {
        let (value, from) = self.scalar(expression)?;
        Self::converted(value, from, kind)
    }

    /// An expression's value as integer.
    pub(super) fn integer(&self, expression: &Expr) -> SqlResult<i64> {
        match self.assigned(expression, SqlType::BigInt)? {
            Value::Int(value) => Ok(value),
            _ => Ok(0),
        }
    }

    /// Whether a condition is true: unknown is not.
    pub(super) fn condition(&self, condition: &Expr) -> SqlResult<bool> {
        let emitted = self.emit(|emitter| emitter.whole_condition(condition))?;
        let set = self.evaluate(&emitted)?;
        Ok(set.rows.first().and_then(|row| row.first()) == Some(&Value::Int(1)))
    }

    /// SELECT: rows to the client, or values to variables.
    pub(super) fn select(&mut self, query: &Query, out: Out<'_>) -> SqlResult<()> {
        let emitted = self.emit(|emitter| emitter.whole_query(query))?;
        let set = self.evaluate(&emitted)?;
        self.rowcount = i64::try_from(set.rows.len()).unwrap_or(i64::MAX);
        if emitted.assignments.iter().any(Option::is_some) {
            // Without rows the variables keep their values; of several rows the last one counts.
            if let Some(row) = set.rows.into_iter().next_back() {
                for ((variable, value), column) in emitted.assignments.iter().zip(row).zip(&set.columns) {
                    if let Some((variable, slot)) =
                        variable.as_ref().and_then(|v| self.variables.get(v).map(|s| (v, s.0)))
                    {
                        let value = Self::converted(value, column.kind, slot)?;
                        self.variables.insert(variable.clone(), (slot, value));
                    }
                }
            }
            out(Output::Done(None));
            return Ok(());
        }
        out(Output::Rows { columns: set.columns, rows: set.rows });
        out(Output::Done(None));
        Ok(())
    }

    /// Variables as SQLite's parameters.
    pub(super) fn parameters(&self) -> Vec<(String, Lite)> {
        self.variables.iter().map(|(name, (kind, value))| (name.clone(), convert::to_lite(value, *kind))).collect()
    }

    /// Runs an emitted query, with the system views it names filled from one moment.
    pub(super) fn evaluate(&self, emitted: &EmittedQuery) -> SqlResult<ResultSet> {
        self.may_read(&emitted.used)?;
        let used = &emitted.used;
        if used.databases.len() > 1 {
            return Err(not_supported("A query over several databases"));
        }
        let database = used.databases.first().map_or("tempdb", String::as_str);
        let mut state = None;
        let mut filled = Vec::new();
        if used.state || !used.views.is_empty() {
            let described: BTreeSet<String> = used.views.iter().map(|(_, database)| database.clone()).collect();
            let moment = Arc::new(State::take(self, &described)?);
            for (key, of) in &used.views {
                filled.push(views::rows(key, &moment, of)?);
            }
            state = Some(moment);
        }
        let parameters = self.parameters();
        let set = self.on_connection(database, |connection| {
            let _asked = Asked::new(state);
            let result = filled.iter().try_for_each(|view| view.fill(connection));
            let result = result.and_then(|()| rows(connection, &emitted.sql, &parameters));
            let cleared = filled.iter().try_for_each(|view| view.clear(connection));
            result
                .and_then(|set| cleared.map(|()| set))
                .map_err(|message| problem::translate(message, Some(connection)))
        })?;
        Ok(typed(set, &emitted.columns))
    }
}

thread_local! {
    /// The moment of the statement that runs. A function made anew for each statement would keep the server alive, and
    /// SQLite would forget all that it has prepared.
    static MOMENT: RefCell<Option<Arc<State>>> = const { RefCell::new(None) };
}

/// While it lives, `tsql_state` answers from a moment.
struct Asked;

impl Asked {
    fn new(state: Option<Arc<State>>) -> Self {
        MOMENT.set(state);
        Self
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        MOMENT.set(None);
    }
}

/// `tsql_state`: functions that ask the server.
pub fn install(connection: &Connection) -> rusqlite::Result<()> {
    connection.create_scalar_function("tsql_state", -1, FunctionFlags::SQLITE_UTF8, |context| {
        let arguments = (0..context.len()).map(|index| context.get(index)).collect::<rusqlite::Result<Vec<Lite>>>()?;
        let state = MOMENT.with_borrow(Clone::clone);
        let value = state.map(|state| state.function(&arguments)).unwrap_or(Ok(Lite::Null));
        value.map_err(|message| functions::raise(&message))
    })
}

/// Types of a result: as emitted, as declared, or as the values are.
pub fn typed(set: RowSet, emitted: &[NamedKind]) -> ResultSet {
    let same = emitted.len() == set.columns.len();
    let columns: Vec<Column> = set
        .columns
        .iter()
        .enumerate()
        .map(|(index, (name, declared))| {
            let known = emitted.get(index).filter(|_| same);
            let declared = declared.as_ref().and_then(|text| kind::from_text(text, None).ok());
            let kind = known.and_then(|(_, kind)| *kind).or(declared);
            let kind = kind.unwrap_or_else(|| by_values(set.rows.iter().filter_map(|row| row.get(index))));
            let name = known.map_or_else(|| name.clone(), |(name, _)| name.clone());
            Column { name, kind, nullable: true }
        })
        .collect();
    let rows = set.rows.into_iter().map(|row| {
        row.into_iter().zip(&columns).map(|(value, column)| convert::from_lite(value, column.kind)).collect()
    });
    ResultSet { rows: rows.collect(), columns }
}

fn by_values<'v>(values: impl Iterator<Item = &'v Lite>) -> SqlType {
    let mut kind = SqlType::Int;
    for value in values {
        match value {
            Lite::Null => {}
            Lite::Integer(i) if i32::try_from(*i).is_ok() => {}
            Lite::Integer(_) => kind = SqlType::BigInt,
            Lite::Real(_) => return SqlType::Float,
            Lite::Text(text) if text.chars().count() > 4000 => return SqlType::NVarCharMax,
            Lite::Text(_) => kind = SqlType::NVarChar(4000),
            Lite::Blob(_) => return SqlType::VarBinaryMax,
        }
    }
    kind
}
