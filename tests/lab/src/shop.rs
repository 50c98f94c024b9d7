//! The application of staged upgrades: a visit of its page with a number is an order in its database. And its visitor.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::{Server, runtime};
use crate::error::{AtPath as _, Error, Result};
use crate::ledger::{Outcome, answered, sent};
use crate::peer;

/// A page that stays the same is shown again after so long.
const SAME: Duration = Duration::from_secs(2);
/// What a page says that took an order, behind the version.
const TAKEN: &str = "takes your order";
/// What it says when it can only be read.
const CLOSED: &str = "takes no orders now";

#[derive(Debug, Args)]
pub(crate) struct Shop {
    #[command(flatten)]
    server: Server,
    /// What the page says of itself; v2 writes an invoice for each order, too
    #[arg(long)]
    version: String,
    /// Port of the page
    #[arg(long, default_value_t = 8080)]
    listen: u16,
}

impl Shop {
    /// Serves the page, one visit after the other: `/NUMBER` is an order, `/alive` nothing.
    pub(crate) fn serve(&self) -> Result<()> {
        let refused = |error| Error::refused(format!("cannot listen on port {}: {error}", self.listen));
        let listener = TcpListener::bind(("0.0.0.0", self.listen)).map_err(refused)?;
        let runtime = runtime()?;
        for mut stream in listener.incoming().flatten() {
            let path = peer::path_of(&stream).unwrap_or_default();
            if path == "/alive" {
                peer::reply(&mut stream, "200 OK", "");
                continue;
            }
            let Some(order) = path.strip_prefix('/').and_then(|number| number.parse().ok()) else {
                peer::reply(&mut stream, "404 Not Found", "");
                continue;
            };
            match runtime.block_on(self.page(order)) {
                Ok(page) => peer::reply(&mut stream, "200 OK", &format!("{} {page}", self.version)),
                Err(why) => peer::reply(&mut stream, "503 Service Unavailable", &why),
            }
        }
        Ok(())
    }

    /// Takes an order, or says why it cannot; orders that were taken can be read all the same.
    async fn page(&self, id: i64) -> std::result::Result<String, String> {
        let config = self.server.config().map_err(|error| error.to_string())?;
        let mut connection = self.server.connect(&config).await?;
        let mut order = format!(
            "IF OBJECT_ID(N'dbo.sale') IS NULL CREATE TABLE dbo.sale (id bigint NOT NULL PRIMARY KEY);
             INSERT INTO dbo.sale (id) VALUES ({id});"
        );
        if self.version == "v2" {
            order.push_str(&format!(" INSERT INTO dbo.invoice (id) VALUES ({id});"));
        }
        let taken = self.server.batch(&mut connection, order).await;
        let rows = self.server.batch(&mut connection, "SELECT COUNT(*) FROM dbo.sale".to_owned()).await;
        let rows = rows.map_err(|error| error.to_string())?;
        let orders: i32 = rows.first().and_then(|row| row.try_get(0).ok().flatten()).unwrap_or_default();
        let invoice = if self.version == "v2" { " and invoice" } else { "" };
        match taken {
            Ok(_) => Ok(format!("{TAKEN}{invoice}: {orders} so far")),
            // The database is read-only: what is there is shown all the same.
            Err(error) if error.code() == Some(3906) => Ok(format!("{CLOSED}: {orders} so far")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Somebody who orders for ever.
#[derive(Debug, Args)]
pub(crate) struct Visitor {
    /// `HOST:PORT` of the page
    page: String,
    /// Pause between two visits, milliseconds
    #[arg(long, default_value_t = 200)]
    pause: u64,
    /// File for what became of each order; the text of an answer is the page
    #[arg(long)]
    ledger: Option<PathBuf>,
}

impl Visitor {
    /// Shows what changes.
    pub(crate) fn visit(&self) -> Result<()> {
        let mut ledger = match &self.ledger {
            Some(path) => Some((File::options().create(true).append(true).open(path).at(path)?, path)),
            None => None,
        };
        let (mut shown, mut at) = (String::new(), Instant::now());
        let mut known = None;
        loop {
            let order = jiff::Timestamp::now().as_microsecond();
            if let Some((file, path)) = &mut ledger {
                file.write_all(sent(order, order).as_bytes()).at(path)?;
            }
            let page = self.order(order, &mut known).unwrap_or_else(|error| format!("no page: {error}"));
            if let Some((file, path)) = &mut ledger {
                let now = jiff::Timestamp::now().as_microsecond();
                file.write_all(answered(order, outcome(&page), now, &page).as_bytes()).at(path)?;
            }
            let kind = page.split(':').next().unwrap_or_default().to_owned();
            if kind != shown || at.elapsed() > SAME {
                println!("{page}");
                (shown, at) = (kind, Instant::now());
            }
            sleep(Duration::from_millis(self.pause));
        }
    }

    /// Looks the name up once: a Service has one address for as long as it is there.
    fn order(&self, order: i64, known: &mut Option<SocketAddr>) -> Result<String> {
        let address = match known {
            Some(address) => *address,
            None => *known.insert(peer::address(&self.page)?),
        };
        peer::fetch_from(address, &order.to_string())
    }
}

/// What a page says of its order. Without one it may have been taken.
fn outcome(page: &str) -> Outcome {
    let said = page.split_once(' ').map_or("", |(_, said)| said);
    if said.starts_with(TAKEN) {
        Outcome::Acknowledged
    } else if said.starts_with(CLOSED) {
        Outcome::Refused
    } else {
        Outcome::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_does_not_come_leaves_the_order_in_doubt() {
        assert_eq!(outcome("v1 takes your order: 7 so far"), Outcome::Acknowledged);
        assert_eq!(outcome("v2 takes your order and invoice: 7 so far"), Outcome::Acknowledged);
        assert_eq!(outcome("v1 takes no orders now: 7 so far"), Outcome::Refused);
        assert_eq!(outcome("no page: shop:80/1: HTTP/1.1 503: no login in time"), Outcome::Unknown);
    }
}
