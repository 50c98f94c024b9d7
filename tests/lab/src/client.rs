//! A connection to SQL Server as an application makes it, with short deadlines.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::error::{AtPath as _, Error, Result};

pub(crate) type Connection = Client<Compat<TcpStream>>;

/// Whom to connect to, and how.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Name or address of the service
    #[arg(long)]
    host: String,
    #[arg(long, default_value_t = 1433)]
    port: u16,
    #[arg(long, default_value = "master")]
    database: String,
    #[arg(long, default_value = "sa")]
    user: String,
    /// File with the password; else it is taken from the environment
    #[arg(long)]
    password_file: Option<PathBuf>,
    #[arg(long, env = "LAB_PASSWORD", hide_env_values = true, default_value = "", hide_default_value = true)]
    password: String,
    /// Authority of the server's certificate, PEM; without it any certificate is accepted
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Name the certificate must have, if it is not the host
    #[arg(long)]
    server_name: Option<String>,
    /// Longest time to connect, milliseconds; the kernel tries again after 1 s only, and a service without endpoints may
    /// be silent (ICMP is limited to one refusal a second)
    #[arg(long, default_value_t = 250)]
    connect_timeout: u64,
    /// Longest time to log in, milliseconds
    #[arg(long, default_value_t = 1000)]
    login_timeout: u64,
    /// Longest time to wait for an answer, milliseconds; a row not answered by then is unknown
    #[arg(long, default_value_t = 2000)]
    answer_timeout: u64,
}

impl Server {
    pub(crate) fn config(&self) -> Result<Config> {
        let mut config = Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.database(&self.database);
        config.application_name("lab writer");
        config.encryption(EncryptionLevel::Required);
        let password = match &self.password_file {
            Some(file) => fs::read_to_string(file).at(file)?.trim_end_matches(['\r', '\n']).to_owned(),
            None => self.password.clone(),
        };
        if password.is_empty() {
            return Err(Error::refused("give the password in --password-file or in LAB_PASSWORD"));
        }
        config.authentication(AuthMethod::sql_server(&self.user, password));
        match &self.ca {
            Some(file) => config.trust_cert_ca_bundle(fs::read(file).at(file)?),
            None => config.trust_cert(),
        }
        if let Some(name) = &self.server_name {
            config.hostname_in_certificate(name);
        }
        config.handshake_timeout(Some(Duration::from_millis(self.login_timeout)));
        config.command_timeout(Some(Duration::from_millis(self.answer_timeout)));
        Ok(config)
    }

    pub(crate) async fn connect(&self, config: &Config) -> std::result::Result<Connection, String> {
        let limit = Duration::from_millis(self.connect_timeout);
        // The name is looked up every time: it is what clients of a service do.
        let stream = timeout(limit, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = stream.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let limit = Duration::from_millis(self.login_timeout);
        let login = timeout(limit, Client::connect(config.clone(), stream.compat_write())).await;
        login.map_err(|_| "no login in time".to_owned())?.map_err(|error| error.to_string())
    }

    pub(crate) async fn batch(
        &self,
        connection: &mut Connection,
        text: String,
    ) -> std::result::Result<Vec<tiberius::Row>, tiberius::error::Error> {
        let limit = Duration::from_millis(self.answer_timeout);
        let answer = timeout(limit, async { connection.simple_query(text).await?.into_first_result().await }).await;
        answer.unwrap_or_else(|_| {
            let kind = std::io::ErrorKind::TimedOut;
            Err(tiberius::error::Error::Io { kind, message: "no answer in time".to_owned() })
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    #[command(flatten)]
    server: Server,
    /// One batch
    batch: String,
}

/// How long to try to connect; a service needs a moment to follow its selector.
const CONNECT: Duration = Duration::from_secs(15);

/// Runs one batch and prints its first result, one JSON array for each row. Nothing is sent twice.
pub(crate) fn sql(sql: Sql) -> Result<i32> {
    runtime()?.block_on(async move {
        let config = sql.server.config()?;
        let began = Instant::now();
        let mut connection = loop {
            match sql.server.connect(&config).await {
                Ok(connection) => break connection,
                Err(seen) if began.elapsed() > CONNECT => return Err(Error::Refused(seen)),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        let rows =
            sql.server.batch(&mut connection, sql.batch).await.map_err(|error| Error::refused(error.to_string()))?;
        for row in rows {
            let values: Vec<_> = row.into_iter().map(|value| value_as_json(&value)).collect();
            println!("{}", serde_json::Value::Array(values));
        }
        Ok(0)
    })
}

fn value_as_json(value: &ColumnData<'_>) -> serde_json::Value {
    match value {
        ColumnData::Bit(value) => json!(value),
        ColumnData::U8(value) => json!(value),
        ColumnData::I16(value) => json!(value),
        ColumnData::I32(value) => json!(value),
        ColumnData::I64(value) => json!(value),
        ColumnData::F32(value) => json!(value),
        ColumnData::F64(value) => json!(value),
        ColumnData::String(value) => json!(value),
        ColumnData::Guid(value) => json!(value.map(|guid| guid.to_string())),
        other => json!(format!("{other:?}")),
    }
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::refused(format!("cannot start: {error}")))
}
