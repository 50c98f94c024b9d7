//! A promoted stage: one instance with a database, the tokens in it, and a login for the run.

use futures::future::BoxFuture;
use quorate::sql::{
    Dial, Secret, Servers, Stream, Target,
    script::{self, Failed, Order, Script},
};
use standin::{
    faults::Faults,
    instance::{self, Disk},
    net::{Network, Tcp},
    server::{Server, ServerOptions},
    sim::SimNet,
    tds::{self, Encryption, TlsSettings},
};
use std::{io, sync::Arc, time::Duration};
use tokio::sync::watch;

pub const HOST: &str = "orders-v2-0.orders-v2-replicas.shop.svc";
/// The other name of the certificate.
pub const HERE: &str = "localhost";
pub const ATTEMPT: &str = "6f1c/1";
pub const BARRIER: &str = "6f1c/1/aa";
pub const COMPLETION: &str = "6f1c/1/bb";
pub const PASSWORD: &str = "Secret-1-word";

/// Leads to one instance, whatever the name.
#[derive(Clone)]
struct Way {
    server: Server,
    tls: TlsSettings,
}

impl Dial for Way {
    fn dial<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Stream>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (server, tls) = (Arc::new(self.server.clone()), self.tls.clone());
        tokio::spawn(tds::serve(server, Box::new(far), Some(tls), Encryption::Required));
        Box::pin(async { Ok(Box::new(near) as Stream) })
    }
}

pub struct Stage {
    way: Way,
    pub authority: String,
    /// Turns true to ask runs to stop.
    pub stop: watch::Sender<bool>,
}

/// How a run ended and what it said.
pub struct Ended {
    pub result: Result<(), Failed>,
    pub lines: Vec<String>,
}

impl Ended {
    #[track_caller]
    pub fn fine(self) -> Vec<String> {
        assert!(self.result.is_ok(), "{}\n{}", self.result.unwrap_err(), self.lines.join("\n"));
        self.lines
    }

    #[track_caller]
    pub fn error(self) -> String {
        self.result.expect_err(&self.lines.join("\n")).to_string()
    }
}

impl Stage {
    /// An instance with the database shop and nothing in it.
    pub async fn bare() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (authority, tls) = certificates();
        let config = instance::Config {
            server_name: "orders-v2-0".into(),
            version: "16.0.4225.2".into(),
            edition: "Developer Edition (64-bit)".into(),
            engine_edition: 3,
            hadr_enabled: true,
            disk: Disk::memory(),
            collation: "SQL_Latin1_General_CP1_CI_AS".into(),
            seed: 7,
        };
        let network: Arc<dyn Network> = SimNet::new(1).host("orders-v2-0");
        let sa_password = PASSWORD.into();
        let (faults, wall) = (Faults::default(), standin::server::wall());
        let options = ServerOptions { config, network, faults, sa_password, uptime: 1_000, wall };
        let server = Server::start(options).await.unwrap();
        let stage = Self { way: Way { server, tls }, authority, stop: watch::channel(false).0 };
        stage
            .sa(&format!(
                "CREATE DATABASE shop; CREATE LOGIN runner WITH PASSWORD = '{PASSWORD}'; GRANT VIEW ANY DEFINITION TO runner"
            ))
            .await;
        stage.sa("USE shop; CREATE USER runner FOR LOGIN runner; ALTER ROLE db_owner ADD MEMBER runner").await;
        stage
    }

    /// The same after its promotion, with a table.
    pub async fn promoted() -> Self {
        let stage = Self::bare().await;
        stage.sa("CREATE TABLE shop.dbo.log (id int IDENTITY NOT NULL PRIMARY KEY, word nvarchar(100) NOT NULL)").await;
        stage.set("quorate_barrier", BARRIER).await;
        stage.set("quorate_stage", ATTEMPT).await;
        stage
    }

    /// Listens for real on a free port of this host, whose name is [`HERE`].
    pub async fn listen(&self) -> u16 {
        let (port, listener) = Tcp::listen_locally(0).await.unwrap();
        let (server, tls) = (Arc::new(self.way.server.clone()), Some(self.way.tls.clone()));
        tokio::spawn(tds::listen(server, listener, tls, Encryption::Required, std::future::pending()));
        port
    }

    /// Sets an extended property of shop, as the operator does.
    pub async fn set(&self, name: &str, value: &str) {
        self.sa(&script::set(&self.order().database, name, value)).await;
    }

    /// Takes an extended property from shop.
    pub async fn unset(&self, name: &str) {
        self.sa(&format!("USE shop; EXEC sys.sp_dropextendedproperty N'{name}'")).await;
    }

    /// Value of an extended property of shop, empty when there is none.
    pub async fn property(&self, name: &str) -> String {
        let sql =
            format!("SELECT CAST(value AS nvarchar(400)) FROM shop.sys.extended_properties WHERE name = N'{name}'");
        self.sa(&sql).await.concat()
    }

    /// The words that files have written, in order.
    pub async fn words(&self) -> Vec<String> {
        self.sa("SELECT word FROM shop.dbo.log ORDER BY id").await
    }

    /// Runs a batch as `sa`: the first column of its first result set.
    pub async fn sa(&self, sql: &str) -> Vec<String> {
        let target = Target {
            key: "person".into(),
            host: HOST.into(),
            address: None,
            port: 1433,
            authorities: self.authority.as_bytes().into(),
            login: "sa".into(),
            password: Secret::new(PASSWORD),
            database: None,
            program: "person",
            kept: false,
        };
        let servers = Servers::new(Arc::new(self.way.clone()));
        let sets =
            servers.run(&target, sql, Duration::from_secs(60)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = sets.into_iter().next().unwrap_or_default();
        rows.iter().map(|row| row.get::<&str, _>(0).unwrap_or_default().to_owned()).collect()
    }

    pub fn order(&self) -> Order {
        Order {
            host: HOST.into(),
            port: 1433,
            authorities: self.authority.as_bytes().into(),
            login: "runner".into(),
            password: Secret::new(PASSWORD),
            database: "shop".to_owned().try_into().unwrap(),
            barrier: BARRIER.into(),
            attempt: ATTEMPT.into(),
            completion: COMPLETION.into(),
            links: vec![],
            within: Duration::from_secs(600),
            batch_within: None,
        }
    }

    /// Runs files as the order says.
    pub async fn run_as(&self, order: &Order, files: &[(&str, &str)]) -> Ended {
        let script = Script::new(files.iter().copied()).unwrap();
        let mut lines = Vec::new();
        let mut say = |line: &str| lines.push(line.to_owned());
        let result = script::run(&self.way, &script, order, self.stop.subscribe(), &mut say).await;
        Ended { result, lines }
    }

    pub async fn run(&self, files: &[(&str, &str)]) -> Ended {
        self.run_as(&self.order(), files).await
    }

    /// Waits until a run waits in its slow batch.
    pub async fn until_running(&self) {
        for _ in 0..1_000 {
            if self.words().await == ["begun", "slow"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no batch runs");
    }

    /// Sessions of runs that are open.
    pub async fn sessions(&self) -> String {
        self.sa(
            "SELECT CAST(COUNT(*) AS nvarchar(10)) FROM sys.dm_exec_sessions WHERE program_name = N'quorate-script'",
        )
        .await
        .concat()
    }
}

/// A certificate authority, and a server's settings with a certificate of it.
pub fn certificates() -> (String, TlsSettings) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![HOST.to_owned(), HERE.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let settings = TlsSettings::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    (authority.pem(), settings)
}
