//! The engine against SQL Server's documentation, in-process, over a disk in memory.

mod access;
mod data;
mod databases;
mod distributed;
mod editions;
mod flow;
mod groups;
mod log;
mod logins;
mod queries;
mod replicas;
mod server;
mod sessions;
mod setup;
mod sides;
mod triggers;
mod views;

use crate::{
    errors::Message,
    faults::Faults,
    instance::{Config, Disk},
    net::{Listener, Network, Stream},
    server::{Server, ServerOptions},
    tds::{Backend, LoginRequest},
    tsql::session::Session,
    value::{Column, Output, Parameter, SqlType, Value},
};
use futures::future::BoxFuture;
use std::{io, sync::Arc};

/// Nobody answers and nobody calls.
pub struct Nowhere;

struct Silent;

impl Listener for Silent {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(std::future::pending())
    }
}

impl Network for Nowhere {
    fn listen(&self, _: u16) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Ok(Box::new(Silent) as Box<dyn Listener>) })
    }

    fn dial<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

pub const PASSWORD: &str = "Secret-1-word";

pub async fn start(disk: &Disk, version: &str) -> Server {
    start_edition(disk, version, "developer").await
}

/// `pid`: `MSSQL_PID`.
pub async fn start_edition(disk: &Disk, version: &str, pid: &str) -> Server {
    let (edition, engine_edition) = crate::instance::edition(pid).unwrap();
    let config =
        Config { version: version.into(), edition: edition.into(), engine_edition, seed: 7, ..config("sql-0", disk) };
    serve(config, Arc::new(Nowhere)).await
}

/// An instance of 2022, Developer.
pub fn config(name: &str, disk: &Disk) -> Config {
    Config {
        server_name: name.into(),
        version: "16.0.4225.2".into(),
        edition: "Developer Edition (64-bit)".into(),
        engine_edition: 3,
        hadr_enabled: true,
        disk: disk.clone(),
        collation: "SQL_Latin1_General_CP1_CI_AS".into(),
        seed: name.bytes().map(u64::from).sum(),
    }
}

pub async fn serve(config: Config, network: Arc<dyn Network>) -> Server {
    let sa_password = PASSWORD.into();
    Server::start(ServerOptions {
        config,
        network,
        faults: Faults::default(),
        sa_password,
        uptime: 1_000,
        wall: crate::server::wall(),
    })
    .await
    .unwrap()
}

/// Waits until the values that a query gives, one after the other, are these.
pub async fn until(session: &mut Session, sql: &str, expected: &[&str]) {
    let mut last = Answer::default();
    for _ in 0..3_000 {
        last = run(session, sql).await;
        let rows = last.sets.first().map(|(_, rows)| rows.as_slice()).unwrap_or_default();
        if last.errors.is_empty() && rows.iter().flatten().map(shown).eq(expected.iter().map(|text| text.to_string())) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{sql} was not {expected:?}: {last:?}");
}

pub async fn server() -> Server {
    start(&Disk::memory(), "16.0.4225.2").await
}

pub async fn login(server: &Server, user: &str, database: &str) -> Result<Session, Message> {
    let request = LoginRequest {
        user: user.into(),
        password: PASSWORD.into(),
        application: "tests".into(),
        host: "here".into(),
        database: database.into(),
        read_only_intent: false,
    };
    Backend::login(server, request).await
}

pub async fn sa() -> Session {
    login(&server().await, "sa", "").await.unwrap()
}

/// What a batch answered.
#[derive(Debug, Default)]
pub struct Answer {
    pub sets: Vec<(Vec<Column>, Vec<Vec<Value>>)>,
    pub errors: Vec<Message>,
    pub infos: Vec<Message>,
    pub counts: Vec<u64>,
}

impl Answer {
    pub fn numbers(&self) -> Vec<i32> {
        self.errors.iter().map(|error| error.number).collect()
    }

    /// The only row of the first set, as text.
    pub fn row(&self) -> Vec<String> {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        let (_, rows) = self.sets.first().expect("a result set");
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].iter().map(shown).collect()
    }

    /// The first column of the first set, as text.
    pub fn column(&self) -> Vec<String> {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        self.sets.first().expect("a result set").1.iter().map(|row| shown(&row[0])).collect()
    }

    pub fn kinds(&self) -> Vec<SqlType> {
        self.sets[0].0.iter().map(|column| column.kind).collect()
    }

    pub fn fine(self) -> Self {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        self
    }
}

fn shown(value: &Value) -> String {
    if *value == Value::Null { "NULL".into() } else { crate::tsql::shown(value) }
}

pub async fn run(session: &mut Session, sql: &str) -> Answer {
    run_with(session, sql, vec![]).await
}

pub async fn run_with(session: &mut Session, sql: &str, parameters: Vec<Parameter>) -> Answer {
    let mut answer = Answer::default();
    let mut take = |output: Output| match output {
        Output::Rows { columns, rows } => answer.sets.push((columns, rows)),
        Output::Message(message) if message.is_error() => answer.errors.push(message),
        Output::Message(message) => answer.infos.push(message),
        Output::Done(Some(count)) => answer.counts.push(count),
        _ => {}
    };
    session.batch(sql, parameters, &mut take).await;
    answer
}

pub fn parameter(name: &str, value: &str) -> Parameter {
    Parameter { name: name.into(), value: Value::Text(value.into()), kind: SqlType::NVarChar(4000), output: false }
}
