//! A whole server behind the wire: how the sessions of its clients end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use futures::future::BoxFuture;
use standin::{
    faults::Faults,
    instance::{Config as Instance, Disk},
    net::{Listener, Network, Stream},
    server::{Server, ServerOptions},
    tds::{Encryption, serve},
};
use std::{io, sync::Arc};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, error::Error};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

const PASSWORD: &str = "Secret-1-word";

type Connected = Client<Compat<DuplexStream>>;

struct Nowhere;

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

async fn start() -> Server {
    let config = Instance {
        server_name: "sql-0".into(),
        version: "16.0.4225.2".into(),
        edition: "Developer Edition (64-bit)".into(),
        engine_edition: 3,
        hadr_enabled: true,
        disk: Disk::memory(),
        collation: "SQL_Latin1_General_CP1_CI_AS".into(),
        seed: 7,
    };
    let options = ServerOptions {
        config,
        network: Arc::new(Nowhere),
        faults: Faults::default(),
        sa_password: PASSWORD.into(),
        uptime: 1_000,
        wall: standin::server::wall(),
    };
    Server::start(options).await.unwrap()
}

/// A client, and the end of its connection on the server.
async fn connect(server: &Server, user: &str) -> Result<(Connected, JoinHandle<io::Result<()>>), Error> {
    let mut config = Config::new();
    config.authentication(AuthMethod::sql_server(user, PASSWORD));
    config.encryption(EncryptionLevel::NotSupported);
    let (near, far) = tokio::io::duplex(64 << 10);
    let served = tokio::spawn(serve(Arc::new(server.clone()), Box::new(far), None, Encryption::Off));
    Client::connect(config, near.compat()).await.map(|client| (client, served))
}

async fn number(client: &mut Connected, sql: &str) -> i32 {
    let row = client.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
    row.get(0).unwrap()
}

async fn code(client: &mut Connected, sql: &str) -> Option<u32> {
    match client.simple_query(sql).await {
        Err(error) => error.code(),
        Ok(stream) => stream.into_results().await.err().and_then(|error| error.code()),
    }
}

async fn spid(client: &mut Connected) -> i32 {
    number(client, "SELECT CAST(@@SPID AS int)").await
}

#[tokio::test]
async fn a_killed_session_loses_its_transaction_reads_596_and_its_connection_is_closed() {
    let server = start().await;
    let (mut one, _) = connect(&server, "sa").await.unwrap();
    let (mut two, served) = connect(&server, "sa").await.unwrap();
    one.simple_query("CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int)").await.unwrap();
    two.simple_query("BEGIN TRAN; INSERT INTO shop.dbo.t VALUES (1)").await.unwrap();
    let id = spid(&mut two).await;
    one.simple_query(format!("KILL {id}")).await.unwrap();
    served.await.unwrap().unwrap();
    assert_eq!(number(&mut one, "SELECT COUNT(*) FROM shop.dbo.t").await, 0);
    let there = format!("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE session_id = {id}");
    assert_eq!(number(&mut one, &there).await, 0);
    assert!(two.simple_query("SELECT 1").await.is_err(), "the server has closed the connection");
}

#[tokio::test]
async fn a_session_killed_while_it_runs_reads_596() {
    let server = start().await;
    let (mut one, _) = connect(&server, "sa").await.unwrap();
    let (mut two, served) = connect(&server, "sa").await.unwrap();
    one.simple_query("CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int)").await.unwrap();
    let id = spid(&mut two).await;
    let (read, ()) = tokio::join!(
        code(&mut two, "BEGIN TRAN; INSERT INTO shop.dbo.t VALUES (1); WAITFOR DELAY '00:01:00'"),
        async {
            let waits = format!("SELECT COUNT(*) FROM sys.dm_tran_session_transactions WHERE session_id = {id}");
            while number(&mut one, &waits).await == 0 {}
            one.simple_query(format!("KILL {id}")).await.unwrap();
        }
    );
    assert_eq!(read, Some(596));
    served.await.unwrap().unwrap();
    assert_eq!(number(&mut one, "SELECT COUNT(*) FROM shop.dbo.t").await, 0);
}
