//! One logged-in session: what it is, and the doors that the wire knocks at.

use super::{
    ast::TransactionStatement,
    convert, parse,
    run::Ending,
    state::{Described, Version},
};
use crate::{
    catalog::On,
    errors::{Message, SqlResult},
    instance::Transaction,
    server::{Presence, Server, SessionEntry},
    tds::{LoginRequest, SqlSession},
    value::{Output, Parameter, SqlType, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

/// Where a batch's answers go.
pub type Out<'a> = &'a mut (dyn FnMut(Output) + Send);

/// Variables by lower-case name.
pub type Variables = BTreeMap<String, (SqlType, Value)>;

/// The transaction in one database: others cannot take part.
pub struct OpenTransaction {
    /// Database.
    pub database: String,
    /// It.
    pub inner: Transaction,
}

/// A session.
pub struct Session {
    pub(super) server: Server,
    pub(super) entry: Arc<SessionEntry>,
    pub(super) login: String,
    pub(super) database: String,
    pub(super) read_only_intent: bool,
    pub(super) variables: Variables,
    pub(super) xact_abort: bool,
    pub(super) lock_timeout: Option<Duration>,
    pub(super) identity_insert: Option<String>,
    pub(super) transaction: Option<OpenTransaction>,
    pub(super) depth: u32,
    pub(super) doomed: bool,
    pub(super) context: BTreeMap<String, (Value, bool)>,
    pub(super) rowcount: i64,
    pub(super) error: i32,
    pub(super) identity: Option<i64>,
    pub(super) caught: Vec<Message>,
    pub(super) tries: u32,
    pub(super) nesting: u32,
    pub(super) temporary: BTreeSet<String>,
    /// What databases say about themselves, and of which commit.
    pub(super) described: Mutex<BTreeMap<String, (Version, Arc<Described>)>>,
    /// Why a pool may not use it any more.
    pub(super) refused: Option<Message>,
    /// Last of the fields: the session is seen until its transaction is rolled back.
    pub(super) presence: Arc<Presence>,
}

fn login_failed(user: &str) -> Message {
    Message::new(18_456, 14, format!("Login failed for user '{user}'."))
}

/// 4060
fn cannot_open(database: &str) -> Message {
    Message::new(4060, 11, format!("Cannot open database \"{database}\" requested by the login. The login failed."))
}

impl Session {
    /// Logs in. Errors: 18456 (always state 1: the reason is in the errorlog alone), 17892 by a logon trigger, 4060, 4064
    /// and what the database answers.
    pub async fn login(server: &Server, request: LoginRequest) -> Result<Self, Message> {
        let mut session = Self::authenticate(server, &request)?;
        session.fire_logon().await?;
        session.enter(&request).await?;
        Ok(session)
    }

    /// Logs in by the dedicated administrator connection, which logon triggers do not hinder: for members of sysadmin, one
    /// at a time (17810).
    pub async fn login_dedicated(server: &Server, request: LoginRequest) -> Result<Self, Message> {
        let mut session = Self::authenticate(server, &request)?;
        if !session.is_sysadmin() {
            return Err(login_failed(&request.user));
        }
        if !server.take_dedicated(&session.presence) {
            let text = "Could not connect because the maximum number of '1' dedicated administrator connections already exists. Before a new connection can be made, the existing dedicated administrator connection must be dropped, either by logging off or ending the process.";
            return Err(Message::new(17_810, 20, text).state(2));
        }
        session.enter(&request).await?;
        Ok(session)
    }

    /// A session in master for whoever is who they say.
    fn authenticate(server: &Server, request: &LoginRequest) -> Result<Self, Message> {
        let refused = |reason: &str| {
            tracing::info!("Error: 18456, Severity: 14. Login failed for user '{}'. Reason: {reason}", request.user);
            login_failed(&request.user)
        };
        let login = server.catalog.read().login(&request.user).cloned();
        let login = login.ok_or_else(|| refused("Could not find a login matching the name provided."))?;
        if !login.accepts(&request.password) {
            return Err(refused("Password did not match that for the login provided."));
        }
        let allowed = server.catalog.read().holds(&login.name, "CONNECT SQL", &On::Server);
        if login.disabled || !allowed {
            return Err(refused("The login is disabled or has no CONNECT SQL permission."));
        }
        let entry = server.open_session(&login.name, &request.application, &request.host, "master");
        Ok(Self::new(server, entry, &login.name, request.read_only_intent))
    }

    /// Goes to the database that was asked for, or else the login's own.
    async fn enter(&mut self, request: &LoginRequest) -> Result<(), Message> {
        let asked = !request.database.is_empty();
        let own = self.server.catalog.read().login(&self.login).map(|login| login.default_database.clone());
        let wanted = if asked { request.database.clone() } else { own.unwrap_or_else(|| "master".into()) };
        let changed = loop {
            match self.change_database(&wanted) {
                Err(message) if message.state == super::read::LOCKED => self.unlocked(&message).await?,
                other => break other,
            }
        };
        match changed {
            Ok(()) => Ok(()),
            Err(_) if !asked => Err(Message::new(4064, 11, "Cannot open user default database. Login failed.")),
            Err(error) if [911, 916].contains(&error.number) => Err(cannot_open(&wanted)),
            Err(error) => Err(error),
        }
    }

    fn new(server: &Server, entry: Arc<SessionEntry>, login: &str, read_only_intent: bool) -> Self {
        Self {
            server: server.clone(),
            presence: server.presence(&entry),
            entry,
            login: login.into(),
            database: "master".into(),
            read_only_intent,
            variables: BTreeMap::new(),
            xact_abort: false,
            lock_timeout: None,
            identity_insert: None,
            transaction: None,
            depth: 0,
            doomed: false,
            context: BTreeMap::new(),
            rowcount: 0,
            error: 0,
            identity: None,
            caught: vec![],
            tries: 0,
            nesting: 0,
            temporary: BTreeSet::new(),
            described: Mutex::default(),
            refused: None,
        }
    }

    /// USE
    pub(super) fn change_database(&mut self, name: &str) -> SqlResult<()> {
        let database = self.server.instance.open(name, self.read_only_intent)?;
        self.admitted(&database)?;
        self.is_in(database.name().to_string());
        Ok(())
    }

    /// Back to the database that it was in, whatever became of it meanwhile.
    pub(super) fn return_to(&mut self, database: String, out: Out<'_>) {
        self.is_in(database);
        out(Output::Database(self.database.clone()));
    }

    fn is_in(&mut self, database: String) {
        self.database = database;
        *self.entry.database.lock().unwrap_or_else(PoisonError::into_inner) = self.database.clone();
    }

    /// Runs a batch.
    pub async fn batch(&mut self, sql: &str, parameters: Vec<Parameter>, out: Out<'_>) {
        if let Err(message) = self.alive() {
            return self.refuse(message, out);
        }
        let _running = Running::new(self, "BATCH");
        let outer = self.start(&parameters);
        match parse::batch(sql, parameters.iter().map(|parameter| parameter.name.clone())) {
            Ok(statements) => {
                let ending = self.run_batch(&statements, out).await;
                if let Ending::Returned(status) = ending
                    && !parameters.is_empty()
                {
                    out(Output::ReturnStatus(status));
                }
            }
            Err(message) => self.refuse(message, out),
        }
        self.hand_back(parameters, out);
        self.variables = outer;
    }

    /// Runs a procedure called by name. `sp_executesql` takes its text and declarations from its first arguments.
    pub async fn procedure(&mut self, name: &str, parameters: Vec<Parameter>, out: Out<'_>) {
        if let Err(message) = self.alive() {
            return self.refuse(message, out);
        }
        let _running = Running::new(self, "EXECUTE");
        self.start(&[]);
        let name = match parse::object_name(name) {
            Ok(name) => name,
            Err(message) => return self.refuse(message, out),
        };
        let status = self.call_procedure(&name, parameters.clone(), out).await;
        match status {
            Ok((status, values)) => {
                out(Output::ReturnStatus(status));
                for mut parameter in parameters.into_iter().filter(|parameter| parameter.output) {
                    if let Some(value) = values.get(&parameter.name.to_lowercase()) {
                        parameter.value = value.clone();
                    }
                    out(Output::ReturnValue(parameter));
                }
            }
            Err(raised) => {
                self.error = raised.message.number;
                self.show(raised.message, out);
                out(Output::ReturnStatus(-6));
            }
        }
        self.end_batch(out);
    }

    /// 596 once KILL was said: its transaction is rolled back, and nothing else follows. 17892 when it was reset for its
    /// next user and a logon trigger refused that one.
    fn alive(&mut self) -> SqlResult<()> {
        if let Some(refused) = &self.refused {
            return Err(Message { class: 20, ..refused.clone() });
        }
        if !self.entry.killed.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.roll_back();
        Err(Message::new(596, 21, "Cannot continue the execution because the session is in the kill state."))
    }

    /// A batch begins: its variables are its parameters. Returns what was there.
    fn start(&mut self, parameters: &[Parameter]) -> Variables {
        self.tries = 0;
        self.nesting = 0;
        self.caught.clear();
        let own = parameters
            .iter()
            .filter(|parameter| !parameter.name.is_empty())
            .map(|parameter| (parameter.name.to_lowercase(), (parameter.kind, parameter.value.clone())));
        std::mem::replace(&mut self.variables, own.collect())
    }

    fn hand_back(&mut self, parameters: Vec<Parameter>, out: Out<'_>) {
        for mut parameter in parameters.into_iter().filter(|parameter| parameter.output) {
            if let Some((_, value)) = self.variables.get(&parameter.name.to_lowercase()) {
                parameter.value = value.clone();
            }
            out(Output::ReturnValue(parameter));
        }
    }

    fn refuse(&mut self, message: Message, out: Out<'_>) {
        self.error = message.number;
        self.show(message, out);
        out(Output::Done(None));
    }

    /// Sends a message; 300 is followed by 297 as in SQL Server, and what ALTER DATABASE refuses by 5069.
    pub(super) fn show(&self, mut message: Message, out: Out<'_>) {
        let line = message.line;
        // Severity 10 goes to the client as 0 (SQL Server docs, "Database Engine error severities").
        if message.class == 10 {
            message.class = 0;
        }
        let second = match message.number {
            300 => Some(Message::new(297, 16, "The user does not have permission to perform this action.")),
            1468 | 5011 | 5052 | 5058 => Some(Message::new(5069, 16, "ALTER DATABASE statement failed.")),
            _ => None,
        };
        out(Output::Message(message));
        if let Some(mut second) = second {
            second.line = line;
            out(Output::Message(second));
        }
    }

    /// Forgets everything but the login.
    async fn forget(&mut self) {
        self.roll_back();
        self.server.release_locks(|held| held.spid == self.entry.spid);
        let database = self.server.catalog.read().login(&self.login).map(|login| login.default_database.clone());
        self.variables.clear();
        self.xact_abort = false;
        self.lock_timeout = None;
        self.identity_insert = None;
        self.context.clear();
        self.caught.clear();
        (self.rowcount, self.error, self.identity) = (0, 0, None);
        self.temporary.clear();
        self.entry.activity().dormant = true;
        self.database = "master".into();
        if self.server.instance.faults().get().logon_triggers_fire_for_pools {
            self.refused = self.fire_logon().await.err();
        }
        let _ = self.change_database(&database.unwrap_or_else(|| "master".into()));
    }

    /// Converts a value to a type, as an assignment does.
    pub(super) fn converted(value: Value, from: SqlType, to: SqlType) -> SqlResult<Value> {
        let lite = convert::to_lite(&value, from);
        convert::convert(lite, to, convert::Strictness::Explicit).map(|lite| convert::from_lite(lite, to))
    }
}

impl SqlSession for Session {
    async fn batch<'a>(&'a mut self, sql: &'a str, parameters: Vec<Parameter>, out: Out<'a>) {
        Session::batch(self, sql, parameters, out).await;
    }

    async fn procedure<'a>(&'a mut self, name: &'a str, parameters: Vec<Parameter>, out: Out<'a>) {
        Session::procedure(self, name, parameters, out).await;
    }

    async fn begin(&mut self) -> Result<(), Message> {
        self.alive()?;
        self.transaction_statement(TransactionStatement::Begin).await
    }

    async fn commit(&mut self) -> Result<(), Message> {
        self.alive()?;
        self.transaction_statement(TransactionStatement::Commit).await
    }

    async fn rollback(&mut self) -> Result<(), Message> {
        self.transaction_statement(TransactionStatement::Rollback).await
    }

    async fn reset(&mut self) {
        self.forget().await;
    }

    fn database(&self) -> String {
        self.database.clone()
    }

    fn spid(&self) -> u16 {
        self.entry.spid
    }

    fn killed(&self) -> impl Future<Output = ()> + Send + 'static {
        let entry = self.entry.clone();
        async move {
            let notified = entry.kill.notified();
            if !entry.killed.load(Ordering::SeqCst) {
                notified.await;
            }
        }
    }
}

/// The row in `sys.dm_exec_requests` while a request runs; gone when its future is dropped, too.
struct Running {
    entry: Arc<SessionEntry>,
    server: Server,
}

impl Running {
    fn new(session: &Session, command: &str) -> Self {
        let (entry, now) = (session.entry.clone(), session.server.now());
        *entry.request.lock().unwrap_or_else(PoisonError::into_inner) = Some((command.into(), now));
        let mut activity = entry.activity();
        (activity.request_start, activity.dormant) = (now, false);
        drop(activity);
        Self { entry, server: session.server.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.entry.request.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.entry.activity().request_end = Some(self.server.now());
    }
}
