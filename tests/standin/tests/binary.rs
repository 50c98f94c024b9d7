//! The binary as a process: its settings and certificate files, signals, and what is left after a kill.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, error::Error};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

const PASSWORD: &str = "Secret-1-word";
const HOST: &str = "mssql-0";

/// A start takes less than a second; a machine under load more.
const PATIENCE: Duration = Duration::from_secs(30);

/// `/var/opt/mssql` of an instance with a certificate in `mssql.conf`, and the process on it.
struct Instance {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Instance {
    /// A folder, nothing started.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let settings = format!(
            "[network]\ntlscert = {}\ntlskey = {}\nforceencryption = 1\n",
            certificate.display(),
            key.display()
        );
        std::fs::write(folder.path().join("mssql.conf"), settings).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder, port, process: None }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Starts it and waits until it takes logins.
    async fn start(&mut self) -> Client<Compat<TcpStream>> {
        let command = Command::new(env!("CARGO_BIN_EXE_sqlservr"))
            .env_clear()
            .envs([("ACCEPT_EULA", "Y"), ("MSSQL_SA_PASSWORD", PASSWORD), ("HOSTNAME", HOST)])
            .env("STANDIN_ROOT", self.folder.path())
            .env("MSSQL_TCP_PORT", self.port.to_string())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(command.unwrap());
        let begun = Instant::now();
        loop {
            match self.connect(PASSWORD, &self.certificate()).await {
                Ok(client) => return client,
                Err(error) if begun.elapsed() > PATIENCE => panic!("{error}\n{}", self.log()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn connect(&self, password: &str, trusted: &Path) -> Result<Client<Compat<TcpStream>>, Error> {
        self.connect_at(self.port, password, trusted).await
    }

    async fn connect_at(&self, port: u16, password: &str, trusted: &Path) -> Result<Client<Compat<TcpStream>>, Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = Config::new();
        config.host(HOST);
        config.authentication(AuthMethod::sql_server("sa", password));
        config.encryption(EncryptionLevel::Required);
        config.trust_cert_ca(trusted.display());
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        Client::connect(config, stream.compat_write()).await
    }

    /// What `errorlog` says.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log/errorlog")).unwrap_or_default()
    }

    /// Ends it without a chance to do anything.
    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks it to end, and waits.
    async fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let asked = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn run(client: &mut Client<Compat<TcpStream>>, sql: &str) {
    client.simple_query(sql).await.unwrap().into_results().await.unwrap();
}

/// Starts it and commits one row.
async fn with_a_row(instance: &mut Instance) -> Client<Compat<TcpStream>> {
    let mut client = instance.start().await;
    run(&mut client, "CREATE DATABASE shop").await;
    run(&mut client, "CREATE TABLE shop.dbo.t (a int NOT NULL PRIMARY KEY)").await;
    run(&mut client, "INSERT INTO shop.dbo.t VALUES (1)").await;
    client
}

async fn rows(client: &mut Client<Compat<TcpStream>>) -> Vec<i32> {
    let rows = client.simple_query("SELECT a FROM shop.dbo.t ORDER BY a").await.unwrap();
    rows.into_first_result().await.unwrap().iter().map(|row| row.get(0).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_row_survives_a_kill_and_what_was_not_committed_does_not() {
    let mut instance = Instance::new();
    let mut client = with_a_row(&mut instance).await;
    run(&mut client, "BEGIN TRANSACTION; INSERT INTO shop.dbo.t VALUES (2)").await;
    instance.kill();
    assert!(client.simple_query("SELECT 1").await.is_err());
    let mut client = instance.start().await;
    assert_eq!(rows(&mut client).await, [1]);
    run(&mut client, "INSERT INTO shop.dbo.t VALUES (3)").await;
    instance.kill();
    assert_eq!(rows(&mut instance.start().await).await, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_a_clean_stop_that_ends_sessions_and_keeps_everything() {
    let mut instance = Instance::new();
    let mut client = with_a_row(&mut instance).await;
    // A session that stays open does not keep it from ending.
    let status = instance.terminate().await;
    assert!(status.success(), "{status}\n{}", instance.log());
    assert!(instance.log().contains("terminating because of a system shutdown"), "{}", instance.log());
    assert!(client.simple_query("SELECT 1").await.is_err());
    assert!(instance.connect(PASSWORD, &instance.certificate()).await.is_err());
    assert_eq!(rows(&mut instance.start().await).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_environment_is_the_first_one_and_a_wrong_one_is_refused() {
    let mut instance = Instance::new();
    instance.start().await;
    let error = instance.connect("Wrong-1-word", &instance.certificate()).await.unwrap_err();
    assert!(matches!(&error, Error::Server(token) if token.code() == 18_456), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_the_one_that_the_settings_name() {
    let mut instance = Instance::new();
    instance.start().await;
    let error = instance.connect(PASSWORD, &Instance::new().certificate()).await.unwrap_err();
    assert!(!matches!(error, Error::Server(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_nobody_here_wrote_work_against_the_process() {
    let Ok(python) = std::env::var("QUORATE_PYTHON") else {
        return println!("skipped: QUORATE_PYTHON does not name a Python with mssql-python and pymssql");
    };
    let mut instance = Instance::new();
    instance.start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    for (script, encryption) in [("odbc.py", "yes"), ("odbc.py", "strict"), ("freetds.py", "require")] {
        let mut command = Command::new(&python);
        command.arg("-B").arg(folder.join(script)).args([
            "127.0.0.1",
            &instance.port.to_string(),
            PASSWORD,
            encryption,
        ]);
        command.arg(instance.certificate());
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&ran.stdout) + &text(&ran.stderr);
        assert!(ran.status.success(), "{script}, encryption {encryption}:\n{said}\n{}", instance.log());
    }
}

#[tokio::test]
async fn the_dedicated_connection_undoes_a_logon_trigger_that_locks_everybody_out() {
    let mut instance = Instance::new();
    let mut client = instance.start().await;
    run(&mut client, "CREATE TRIGGER shut ON ALL SERVER FOR LOGON AS ROLLBACK").await;
    let error = instance.connect(PASSWORD, &instance.certificate()).await.err().unwrap();
    assert_eq!(error.code(), Some(17_892));
    let said = "Dedicated admin connection support was established for listening locally on port ";
    let log = instance.log();
    let rest = log.split_once(said).unwrap().1;
    let port: u16 = rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let mut admin = instance.connect_at(port, PASSWORD, &instance.certificate()).await.unwrap();
    run(&mut admin, "DISABLE TRIGGER shut ON ALL SERVER").await;
    instance.connect(PASSWORD, &instance.certificate()).await.unwrap();
}
