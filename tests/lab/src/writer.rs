//! A client that writes unique rows, keeps a ledger, and can say afterwards whether the table agrees with it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tiberius::Config;
use tokio::time::{sleep, timeout};

use crate::client::{Connection, Server, runtime};
use crate::error::{AtPath as _, Error, Result};
use crate::ledger::{Ledger, Outcome, answered, sent};

#[derive(Debug, Args)]
pub(crate) struct Writer {
    #[command(flatten)]
    server: Server,
    /// Table in schema dbo; made if it is not there
    #[arg(long, default_value = "ledger", value_parser = identifier)]
    table: String,
    /// File of the ledger; `-` is standard output and goes with nothing else on it
    #[arg(long)]
    ledger: PathBuf,
    /// Ends after so many seconds; 0 is never
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Pause between two rows, milliseconds
    #[arg(long, default_value_t = 5)]
    pause: u64,
    /// A time without an acknowledgement is an outage from here on, milliseconds
    #[arg(long, default_value_t = 500)]
    outage: u64,
    /// Write nothing: compare the table with the ledger, for up to 30 s until it can be read
    #[arg(long)]
    check: bool,
}

/// A name that needs no quoting.
fn identifier(text: &str) -> std::result::Result<String, String> {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if start && rest {
        Ok(text.to_owned())
    } else {
        Err("use up to 64 letters, digits and _, no digit first".to_owned())
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

pub(crate) fn run(writer: Writer) -> Result<i32> {
    let check = writer.check;
    runtime()?.block_on(async move { if check { writer.compare().await } else { writer.write().await } })
}

struct Tally {
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    shown: u64,
    last: Option<Instant>,
    server: String,
    trouble: String,
}

impl Writer {
    /// Connects, makes the table and asks who serves.
    async fn open(&self, config: &Config) -> std::result::Result<(Connection, String), String> {
        let mut connection = self.server.connect(config).await?;
        let table = &self.table;
        let make = format!("IF OBJECT_ID(N'dbo.{table}') IS NULL CREATE TABLE dbo.{table} (id bigint NOT NULL)");
        self.server.batch(&mut connection, make).await.map_err(|error| error.to_string())?;
        let rows = self
            .server
            .batch(&mut connection, "SELECT @@SERVERNAME".to_owned())
            .await
            .map_err(|error| error.to_string())?;
        let server = rows.first().and_then(|row| row.try_get::<&str, _>(0).ok().flatten()).unwrap_or("?").to_owned();
        Ok((connection, server))
    }

    async fn write(&self) -> Result<i32> {
        let config = self.server.config()?;
        let mut file: Box<dyn std::io::Write> = if self.ledger.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            Box::new(File::options().create(true).append(true).open(&self.ledger).at(&self.ledger)?)
        };
        let began = Instant::now();
        let mut tally = Tally {
            acknowledged: 0,
            refused: 0,
            unknown: 0,
            shown: 0,
            last: None,
            server: String::new(),
            trouble: String::new(),
        };
        // Rows of an earlier run of this writer have lower numbers.
        let mut id = now();
        let mut connection: Option<Connection> = None;
        let mut stop = std::pin::pin!(end_signal());
        let mut second = Instant::now();
        while self.seconds == 0 || began.elapsed() < Duration::from_secs(self.seconds) {
            if second.elapsed() >= Duration::from_secs(1) {
                second = Instant::now();
                tally.show(began, self.ledger.as_os_str() == "-");
            }
            if timeout(Duration::ZERO, &mut stop).await.is_ok() {
                break;
            }
            let Some(open) = connection.as_mut() else {
                match self.open(&config).await {
                    Ok((opened, server)) => {
                        tally.server = server;
                        connection = Some(opened);
                    }
                    Err(error) => {
                        tally.trouble = error;
                        sleep(Duration::from_millis(50)).await;
                    }
                }
                continue;
            };
            id += 1;
            file.write_all(sent(id, now()).as_bytes()).at(&self.ledger)?;
            let answer = self.server.batch(open, format!("INSERT INTO dbo.{} (id) VALUES ({id})", self.table)).await;
            let (outcome, text) = judge(answer.map(drop));
            file.write_all(answered(id, outcome, now(), &text).as_bytes()).at(&self.ledger)?;
            tally.count(outcome, text, self.outage, began);
            if outcome != Outcome::Acknowledged {
                // A connection may outlive the role of its server: a client that keeps it is refused for ever.
                connection = None;
            }
            sleep(Duration::from_millis(if outcome == Outcome::Acknowledged { self.pause } else { 50 })).await;
        }
        drop(file);
        self.summary()
    }

    fn summary(&self) -> Result<i32> {
        if self.ledger.as_os_str() == "-" {
            return Ok(0);
        }
        let ledger = self.read_ledger()?;
        println!("{}", self.report(&ledger));
        Ok(0)
    }

    fn report(&self, ledger: &Ledger) -> serde_json::Value {
        let outages: Vec<_> = ledger
            .outages(Duration::from_millis(self.outage))
            .into_iter()
            .map(|gap| json!({"from": stamp(gap.from), "until": stamp(gap.until), "seconds": gap.length().as_secs_f64()}))
            .collect();
        json!({
            "acknowledged": ledger.count(Outcome::Acknowledged),
            "refused": ledger.count(Outcome::Refused),
            "unknown": ledger.count(Outcome::Unknown),
            "outages": outages,
        })
    }

    fn read_ledger(&self) -> Result<Ledger> {
        let mut text = String::new();
        if self.ledger.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text).at(&self.ledger)?;
        } else {
            text = fs::read_to_string(&self.ledger).at(&self.ledger)?;
        }
        Ledger::read(&text).map_err(Error::Refused)
    }

    async fn compare(&self) -> Result<i32> {
        let (config, ledger) = (self.server.config()?, self.read_ledger()?);
        let began = Instant::now();
        let found = loop {
            match self.found(&config).await {
                Ok(found) => break found,
                Err(seen) if began.elapsed() > Duration::from_secs(30) => {
                    return Err(Error::Timeout { what: "the table".to_owned(), seconds: 30, seen });
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        };
        let rows = found.len();
        let contradictions = ledger.contradictions(found);
        let mut report = self.report(&ledger);
        if let Some(report) = report.as_object_mut() {
            report.insert("rows".to_owned(), json!(rows));
            report.insert("contradictions".to_owned(), json!(contradictions));
        }
        println!("{report}");
        Ok(i32::from(!contradictions.is_empty()))
    }

    async fn found(&self, config: &Config) -> std::result::Result<Vec<i64>, String> {
        let mut connection = self.server.connect(config).await?;
        let rows = self.server.batch(&mut connection, format!("SELECT id FROM dbo.{}", self.table)).await;
        let rows = rows.map_err(|error| error.to_string())?;
        let id = |row: &tiberius::Row| row.try_get::<i64, _>(0).ok().flatten().ok_or("a row without an id".to_owned());
        rows.iter().map(id).collect()
    }
}

fn stamp(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds).map(|at| at.to_string()).unwrap_or_default()
}

/// The server's own "no" is a no; anything else leaves the row in doubt.
fn judge(answer: std::result::Result<(), tiberius::error::Error>) -> (Outcome, String) {
    match answer {
        Ok(()) => (Outcome::Acknowledged, String::new()),
        Err(tiberius::error::Error::Server(error)) if error.class() < 20 => {
            (Outcome::Refused, format!("{} {}", error.code(), error.message()))
        }
        Err(error) => (Outcome::Unknown, error.to_string()),
    }
}

/// Resolves when the writer is asked to end.
async fn end_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

impl Tally {
    fn count(&mut self, outcome: Outcome, text: String, outage: u64, began: Instant) {
        match outcome {
            Outcome::Acknowledged => {
                self.acknowledged += 1;
                if let Some(gap) =
                    self.last.map(|last| last.elapsed()).filter(|gap| *gap > Duration::from_millis(outage))
                {
                    let (at, gap) = (began.elapsed().as_secs_f64(), gap.as_secs_f64());
                    println!(
                        "{at:>7.1} s  writable again on {} after {gap:.2} s without an acknowledgement",
                        self.server
                    );
                }
                self.last = Some(Instant::now());
                self.trouble.clear();
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Unknown => self.unknown += 1,
        }
        if !text.is_empty() {
            self.trouble = text;
        }
    }

    fn show(&mut self, began: Instant, quiet: bool) {
        let rate = self.acknowledged - self.shown;
        self.shown = self.acknowledged;
        let at = began.elapsed().as_secs_f64();
        let trouble = if self.trouble.is_empty() { String::new() } else { format!("  last error: {}", self.trouble) };
        let server = if self.server.is_empty() { "nobody" } else { &self.server };
        let line = format!(
            "{at:>7.1} s  {server}: {rate} acknowledged in this second, {} in all, {} refused, {} unknown{trouble}",
            self.acknowledged, self.refused, self.unknown
        );
        if quiet { eprintln!("{line}") } else { println!("{line}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_plain_name() {
        assert!(identifier("ledger_1").is_ok());
        for bad in ["", "1a", "a b", "a];DROP", "dbo.a"] {
            assert!(identifier(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_broken_connection_leaves_the_row_in_doubt() {
        let broken = tiberius::error::Error::Io { kind: std::io::ErrorKind::BrokenPipe, message: "gone".to_owned() };
        assert_eq!(judge(Err(broken)).0, Outcome::Unknown);
        assert_eq!(judge(Ok(())).0, Outcome::Acknowledged);
    }
}
