//! A server that knows a few statements by heart, to test the wire without T-SQL.

// Each test binary uses its part.
#![allow(dead_code)]

pub mod raw;

use standin::{
    errors::Message,
    tds::{Backend, Identity, LoginRequest, SqlSession},
    value::{Column, Output, Parameter, SqlType, Value},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

pub const PASSWORD: &str = "Pässw0rd!";
pub const VERSION: &str = "Microsoft SQL Server 2022 (stand-in)";

/// What happened behind the wire, for tests to look at.
#[derive(Default)]
pub struct Seen {
    pub logins: Vec<LoginRequest>,
    pub log: Vec<String>,
}

pub struct Script {
    pub seen: Arc<Mutex<Seen>>,
    pub kill: watch::Sender<bool>,
    spid: AtomicU16,
}

impl Script {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { seen: Arc::default(), kill: watch::Sender::new(false), spid: AtomicU16::new(51) })
    }

    pub fn log(&self) -> Vec<String> {
        self.seen.lock().unwrap().log.clone()
    }
}

impl Backend for Script {
    type Session = ScriptSession;

    fn identity(&self) -> Identity {
        Identity { server: "mssql-0".into(), version: [16, 0, 0x10, 0x46] }
    }

    async fn login(&self, request: LoginRequest) -> Result<ScriptSession, Message> {
        if request.user != "sa" || request.password != PASSWORD {
            return Err(Message::new(18456, 14, format!("Login failed for user '{}'.", request.user)));
        }
        self.seen.lock().unwrap().logins.push(request.clone());
        let database = if request.database.is_empty() { "master".to_owned() } else { request.database };
        let spid = self.spid.fetch_add(1, Ordering::Relaxed);
        let (seen, killed) = (self.seen.clone(), self.kill.subscribe());
        Ok(ScriptSession { seen, killed, database, spid, transactions: 0 })
    }
}

pub struct ScriptSession {
    seen: Arc<Mutex<Seen>>,
    killed: watch::Receiver<bool>,
    database: String,
    spid: u16,
    transactions: i64,
}

impl Drop for ScriptSession {
    fn drop(&mut self) {
        self.note("session dropped");
    }
}

/// Notes when a batch is dropped before its end.
struct Running(Arc<Mutex<Seen>>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        if !self.1 {
            self.0.lock().unwrap().log.push("batch dropped".into());
        }
    }
}

impl ScriptSession {
    fn note(&self, what: &str) {
        self.seen.lock().unwrap().log.push(what.into());
    }

    fn transact(&mut self, sql: &str) -> bool {
        match sql {
            "BEGIN TRANSACTION" | "BEGIN TRAN" => self.transactions += 1,
            "COMMIT TRAN" | "ROLLBACK TRAN" => self.transactions = 0,
            _ => return false,
        }
        true
    }
}

impl SqlSession for ScriptSession {
    async fn batch<'a>(
        &'a mut self,
        sql: &'a str,
        parameters: Vec<Parameter>,
        out: &'a mut (dyn FnMut(Output) + Send),
    ) {
        let sql = sql.trim().trim_end_matches(';');
        if sql == "SELECT @@TRANCOUNT" {
            return out(row(vec![("", SqlType::Int, Value::Int(self.transactions))]));
        }
        if self.transact(sql) {
            return out(Output::Done(None));
        }
        if let Some(name) = sql.strip_prefix("USE ").or(sql.strip_prefix("use ")) {
            self.database = name.trim_matches(['[', ']']).into();
            return out(Output::Database(self.database.clone()));
        }
        if let Some(time) = sql.strip_prefix("WAITFOR DELAY '00:00:") {
            let mut running = Running(self.seen.clone(), false);
            let seconds: u64 = time.trim_matches(['\'', ' ']).parse().unwrap();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            running.1 = true;
            return out(Output::Done(None));
        }
        if sql == "SLOWLY" {
            for number in 0..5 {
                out(row(vec![("n", SqlType::Int, Value::Int(number))]));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            return;
        }
        answer(sql, parameters).into_iter().for_each(out);
    }

    async fn procedure<'a>(
        &'a mut self,
        name: &'a str,
        parameters: Vec<Parameter>,
        out: &'a mut (dyn FnMut(Output) + Send),
    ) {
        if name == "dbo.echo" {
            out(echo(&parameters));
            out(Output::ReturnStatus(7));
            return parameters.into_iter().filter(|one| one.output).map(Output::ReturnValue).for_each(out);
        }
        out(Output::Message(Message::new(2812, 16, format!("Could not find stored procedure '{name}'."))));
    }

    async fn begin(&mut self) -> Result<(), Message> {
        self.note("begin");
        self.transactions += 1;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Message> {
        self.note("commit");
        if self.transactions == 0 {
            let text = "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.";
            return Err(Message::new(3902, 16, text));
        }
        self.transactions = 0;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), Message> {
        self.note("rollback");
        self.transactions = 0;
        Ok(())
    }

    async fn reset(&mut self) {
        self.note("reset");
        self.transactions = 0;
        self.database = "master".into();
    }

    fn database(&self) -> String {
        self.database.clone()
    }

    fn spid(&self) -> u16 {
        self.spid
    }

    fn killed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut killed = self.killed.clone();
        async move {
            let _ = killed.wait_for(|killed| *killed).await;
        }
    }
}

pub fn row(values: Vec<(&str, SqlType, Value)>) -> Output {
    let columns =
        values.iter().map(|(name, kind, _)| Column { name: (*name).into(), kind: *kind, nullable: true }).collect();
    Output::Rows { columns, rows: vec![values.into_iter().map(|(_, _, value)| value).collect()] }
}

fn echo(parameters: &[Parameter]) -> Output {
    row(parameters.iter().map(|one| (one.name.as_str(), one.kind, one.value.clone())).collect())
}

fn error(number: i32, text: &str) -> Output {
    Output::Message(Message { line: 3, ..Message::new(number, 16, text).state(2) })
}

fn answer(sql: &str, parameters: Vec<Parameter>) -> Vec<Output> {
    let number = |value| row(vec![("n", SqlType::Int, Value::Int(value))]);
    match sql {
        "SELECT @@VERSION" => vec![row(vec![("", SqlType::NVarChar(300), Value::Text(VERSION.into()))])],
        "SELECT 7" => vec![number(7)],
        "SELECT 1; SELECT N'zwei'" => {
            vec![number(1), row(vec![("", SqlType::NVarChar(4), Value::Text("zwei".into()))])]
        }
        "PRINT N'hello'" => vec![Output::Message(Message::new(0, 0, "hello")), Output::Done(None)],
        "ALTER AVAILABILITY GROUP [nope] FAILOVER" => vec![
            error(41142, "The availability replica is not ready to be failed over."),
            error(41190, "Availability group failed to process the command."),
        ],
        "FATAL" => vec![Output::Message(Message::new(823, 24, "The disk is gone.")), number(1)],
        "INSERT INTO dbo.t (v) VALUES (1), (2)" => vec![Output::Done(Some(2))],
        "BIG" => vec![row(vec![("x", SqlType::NVarCharMax, Value::Text("x".repeat(100_000)))])],
        "MANY" => {
            let columns = vec![Column { name: "n".into(), kind: SqlType::Int, nullable: false }];
            vec![Output::Rows { columns, rows: (0..20_000).map(|n| vec![Value::Int(n)]).collect() }]
        }
        _ if sql.starts_with("SELECT CAST(1 AS bit)") => vec![types()],
        _ if sql.contains("sys.availability_groups") => {
            let known = parameters.iter().any(|one| one.value == Value::Text("ag1".into()));
            let columns = vec![Column { name: "sequence_number".into(), kind: SqlType::BigInt, nullable: true }];
            let rows = if known { vec![vec![Value::Int(4_294_967_298)]] } else { vec![] };
            vec![Output::Rows { columns, rows }]
        }
        _ if !parameters.is_empty() => {
            let returned = parameters.iter().filter(|one| one.output).cloned().map(Output::ReturnValue);
            std::iter::once(echo(&parameters)).chain(returned).collect()
        }
        _ if sql.starts_with("SET ") || sql.starts_with("DECLARE ") || sql.is_empty() => vec![Output::Done(None)],
        _ => vec![Output::Message(Message::new(102, 15, format!("Incorrect syntax near '{sql}'.")))],
    }
}

pub const GUID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
/// 2026-01-02 03:04:05.670
pub const INSTANT: i64 = 1_767_323_045_670_000;

/// One row with a column of every type.
pub fn types() -> Output {
    let text = || Value::Text("naïve ✓".into());
    row(vec![
        ("bit", SqlType::Bit, Value::Bit(true)),
        ("tinyint", SqlType::TinyInt, Value::Int(255)),
        ("smallint", SqlType::SmallInt, Value::Int(-32_768)),
        ("int", SqlType::Int, Value::Int(-2_147_483_648)),
        ("bigint", SqlType::BigInt, Value::Int(i64::MIN)),
        ("float", SqlType::Float, Value::Float(-0.5)),
        ("lsn", SqlType::Decimal { precision: 25, scale: 0 }, Value::Decimal(9_999_999_999_999_999_999_999_999)),
        ("decimal", SqlType::Decimal { precision: 9, scale: 2 }, Value::Decimal(-12_345)),
        ("nchar", SqlType::NChar(4), Value::Text("ab".into())),
        ("nvarchar", SqlType::NVarChar(20), text()),
        ("nvarcharmax", SqlType::NVarCharMax, text()),
        ("varchar", SqlType::VarChar(20), Value::Text("naïve €".into())),
        ("varcharmax", SqlType::VarCharMax, Value::Text("naïve €".into())),
        ("varbinary", SqlType::VarBinary(4), Value::Binary(vec![0, 255])),
        ("varbinarymax", SqlType::VarBinaryMax, Value::Binary(vec![1, 2, 3])),
        ("guid", SqlType::Guid, Value::Guid(GUID.parse().unwrap())),
        ("datetime", SqlType::DateTime, Value::DateTime(INSTANT)),
        ("datetime2", SqlType::DateTime2(7), Value::DateTime(INSTANT)),
        ("variant", SqlType::Variant, Value::Text("yes".into())),
        ("nothing", SqlType::NVarChar(10), Value::Null),
    ])
}
