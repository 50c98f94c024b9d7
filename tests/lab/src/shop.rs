//! The application of `cargo lab demo upgrade`: every visit of its page is an order in its database. And its visitor.

use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::{Server, runtime};
use crate::error::{Error, Result};
use crate::peer;

/// Between two visits.
const VISIT: Duration = Duration::from_millis(200);
/// A page that stays the same is shown again after so long.
const SAME: Duration = Duration::from_secs(2);

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
    /// Serves the page, one visit after the other; `/alive` visits nothing.
    pub(crate) fn serve(&self) -> Result<()> {
        let refused = |error| Error::refused(format!("cannot listen on port {}: {error}", self.listen));
        let listener = TcpListener::bind(("0.0.0.0", self.listen)).map_err(refused)?;
        let runtime = runtime()?;
        for mut stream in listener.incoming().flatten() {
            match peer::path_of(&stream).as_deref() {
                Some("/alive") => peer::reply(&mut stream, "200 OK", ""),
                Some("/") => match runtime.block_on(self.page()) {
                    Ok(page) => peer::reply(&mut stream, "200 OK", &format!("{} {page}", self.version)),
                    Err(why) => peer::reply(&mut stream, "503 Service Unavailable", &why),
                },
                _ => peer::reply(&mut stream, "404 Not Found", ""),
            }
        }
        Ok(())
    }

    /// Takes an order, or says why it cannot; orders that were taken can be read all the same.
    async fn page(&self) -> std::result::Result<String, String> {
        let config = self.server.config().map_err(|error| error.to_string())?;
        let mut connection = self.server.connect(&config).await?;
        let id = jiff::Timestamp::now().as_microsecond();
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
            Ok(_) => Ok(format!("takes your order{invoice}: {orders} so far")),
            // The database is read-only: what is there is shown all the same.
            Err(error) if error.code() == Some(3906) => Ok(format!("takes no orders now: {orders} so far")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Visits a page for ever and shows what changes.
pub(crate) fn visit(url: &str) {
    let (mut shown, mut at) = (String::new(), Instant::now());
    loop {
        let page = peer::fetch(url).unwrap_or_else(|error| format!("no page: {error}"));
        let kind = page.split(':').next().unwrap_or_default().to_owned();
        if kind != shown || at.elapsed() > SAME {
            println!("{page}");
            (shown, at) = (kind, Instant::now());
        }
        sleep(VISIT);
    }
}
