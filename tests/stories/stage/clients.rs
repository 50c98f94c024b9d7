//! Clients that append unique rows: over TDS and TLS, as `sa`, through the Service for writers or to one replica.

use super::{
    Stage,
    ledger::{Ledger, Reign, Told},
    upgrade::{self, Front},
};
use crate::world::{
    apiserver::ApiServer,
    cluster::resolve::{NOBODY, resolve},
    sql_door::group_of,
    sql_host::SqlHost,
};
use futures::{FutureExt, future::BoxFuture};
use quorate::sql::{Dial, Error, Secret, Servers, Stream, Target};
use standin::net::SharedNetwork;
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a failure, beside the usual one.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
const TABLE: &str = "IF OBJECT_ID(N'dbo.ledger') IS NULL CREATE TABLE dbo.ledger (id int NOT NULL PRIMARY KEY);";
const ROWS: &str = "SELECT l.id FROM dbo.ledger AS l;";

/// A client's way: where it leads is decided when it dials.
struct Way {
    net: SharedNetwork,
    api: ApiServer,
    led_to: Arc<Mutex<String>>,
}

impl Dial for Way {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move {
            let pod = resolve(&self.api, host).filter(|pod| pod != NOBODY).ok_or(io::ErrorKind::ConnectionRefused)?;
            self.led_to.lock().unwrap().clone_from(&pod);
            Ok(Box::new(self.net.dial(&pod, port).await?) as Stream)
        }
        .boxed()
    }
}

/// A connection of one client.
pub struct Connection {
    servers: Servers,
    target: Target,
    led_to: Arc<Mutex<String>>,
    host: SqlHost,
    group: String,
    /// Whatever fails ends the connection, so that the next one may lead elsewhere.
    fickle: bool,
}

impl Connection {
    /// For whoever cannot open the database.
    pub fn in_master(mut self) -> Self {
        self.target.database = None;
        self
    }

    /// Stays where it was led to, as long as it is let.
    pub fn kept(mut self) -> Self {
        self.fickle = false;
        self
    }

    /// Runs one batch.
    pub async fn run(&self, text: &str) -> Result<Vec<Vec<tiberius::Row>>, Error> {
        let answer = self.servers.run(&self.target, text, PATIENCE).await;
        if answer.is_err() && self.fickle {
            self.servers.forget(&self.target.key);
        }
        answer
    }

    /// The rows that are there.
    pub async fn rows(&self) -> Result<BTreeSet<i64>, Error> {
        let sets = self.run(ROWS).await?;
        let rows = sets.first().into_iter().flatten();
        Ok(rows.filter_map(|row| row.get::<i32, _>(0)).map(i64::from).collect())
    }

    /// The reign that answers here now.
    fn reign(&self) -> Option<Reign> {
        let pod = self.led_to.lock().unwrap().clone();
        let group = self.host.server(&pod)?.instance.shared().group(group_of(&pod))?;
        let state = group.state();
        (state.role == standin::group::roles::Role::Primary).then_some((pod, state.fork))
    }
}

/// A client that writes until it is told to stop.
pub type Writer = Client<()>;

/// Work beside the story, until it is told to stop.
pub struct Client<T> {
    stop: Stop,
    run: JoinHandle<T>,
}

/// Whether a client was told to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn was_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Send + 'static> Client<T> {
    pub fn start<F: Future<Output = T> + Send + 'static>(work: impl FnOnce(Stop) -> F) -> Self {
        let stop = Stop::default();
        let run = tokio::spawn(work(stop.clone()));
        Self { stop, run }
    }

    /// Ends it after its last answer.
    pub async fn stop(self) -> T {
        self.stop.0.store(true, Ordering::Relaxed);
        self.run.await.unwrap()
    }
}

/// Where a client writes.
enum Place {
    /// Always there.
    Here(Connection),
    /// Wherever the version of the application writes that the front Service leads to.
    Behind(Front),
}

impl Place {
    /// The way at this moment. `None`: users reach nobody.
    fn now(&self) -> Option<&Connection> {
        match self {
            Self::Here(connection) => Some(connection),
            Self::Behind(front) => front.now(),
        }
    }
}

struct Work {
    name: String,
    first: i64,
    pause: Duration,
    place: Place,
    ledger: Ledger,
    stage: crate::world::history::History,
    clock: crate::world::clock::Clock,
}

impl Work {
    async fn write(self, stop: Stop) {
        let (mut there, mut before) = (false, String::new());
        let mut row = self.first;
        while !stop.was_told() {
            if let Some(connection) = self.place.now().filter(|_| !there) {
                there = connection.run(TABLE).await.is_ok();
            }
            let mut failed = !there;
            if there {
                row += 1;
                let word = self.append(row).await;
                failed = !word.starts_with("acknowledged");
                if word != before {
                    self.stage.note(&self.name, format!("row {row}: {word}"));
                    before = word;
                }
            }
            sleep(if failed { self.pause + AFTER_FAILURE } else { self.pause }).await;
        }
    }

    async fn append(&self, row: i64) -> String {
        let Some(connection) = self.place.now() else { return "nobody is there".into() };
        let (sent, frozen) = (self.clock.elapsed(), self.is_frozen(connection));
        let answer = connection.run(&format!("INSERT INTO dbo.ledger (id) VALUES ({row});")).await;
        let pod = connection.led_to.lock().unwrap().clone();
        match answer {
            Ok(_) => {
                if frozen && self.is_frozen(connection) {
                    self.stage.break_rule(format!("{pod} acknowledged row {row} though it is fenced"));
                }
                if self.ledger.acknowledge(row, sent, connection.reign()) {
                    self.audit(connection, &pod).await;
                }
                format!("acknowledged by {pod}")
            }
            Err(error) => {
                let told = if error.is_doubtful() { Told::Unknown } else { Told::Refused };
                self.ledger.enter(row, told);
                format!("{told:?} by {pod}: {error}")
            }
        }
    }

    /// Whether nobody may write there for the sake of an upgrade.
    fn is_frozen(&self, connection: &Connection) -> bool {
        connection.group == "orders" && upgrade::is_frozen(connection.host.api())
    }

    /// Whoever acknowledges a row has every row that was acknowledged before.
    async fn audit(&self, connection: &Connection, pod: &str) {
        let acknowledged = self.ledger.rows(Told::Acknowledged);
        if let Ok(rows) = connection.rows().await
            && *connection.led_to.lock().unwrap() == pod
        {
            self.ledger.compare(pod, &acknowledged, &rows);
        }
    }
}

impl Stage {
    /// A connection as `sa` from this host, by a name of the cluster.
    pub fn connection(&self, from: &str, name: &str) -> Connection {
        let password = self.host.secret("shop", &format!("{}-admin", group_at(name)), "password").unwrap();
        self.connection_as(from, name, "sa", &String::from_utf8(password).unwrap())
    }

    /// A connection from this host, by a name of the cluster.
    pub fn connection_as(&self, from: &str, name: &str, login: &str, password: &str) -> Connection {
        let led_to: Arc<Mutex<String>> = Arc::default();
        let way = Way { net: self.net.host(from), api: self.plane.api.clone(), led_to: led_to.clone() };
        let group = group_at(name);
        let authority = self.host.secret("shop", &format!("{group}-tls"), "ca.crt").unwrap();
        let target = Target {
            key: from.into(),
            host: name.into(),
            address: None,
            port: crate::world::sql_host::PORT,
            authorities: authority.into(),
            login: login.into(),
            password: Secret::new(password),
            database: Some("orders".into()),
            program: "client",
            kept: true,
        };
        Connection {
            servers: Servers::new(Arc::new(way)),
            target,
            led_to,
            host: self.host.clone(),
            group: group.into(),
            fickle: ["-rw.shop.svc", "-ro.shop.svc"].iter().any(|service| name.ends_with(service)),
        }
    }

    fn write(&self, name: &str, first: i64, pause: Duration, place: Place) -> Writer {
        let work = Work {
            name: name.into(),
            first,
            pause,
            place,
            ledger: self.ledger.clone(),
            stage: self.plane.history.clone(),
            clock: self.plane.clock,
        };
        Client::start(|stop| work.write(stop))
    }

    /// A client that follows the Service for writers.
    pub fn client(&self, number: i64, pause: Duration) -> Writer {
        let name = format!("client-{number}");
        let connection = self.connection(&name, "orders-rw.shop.svc");
        self.write(&name, number * 1_000_000, pause, Place::Here(connection))
    }

    /// A user who comes in by the front Service of an upgrade; both groups are there.
    pub fn user(&self, number: i64, pause: Duration) -> Writer {
        let name = format!("user-{number}");
        self.write(&name, number * 1_000_000, pause, Place::Behind(Front::new(self, &name)))
    }

    /// A client that stays with one replica.
    pub fn client_of(&self, pod: &str, number: i64, pause: Duration) -> Writer {
        let name = format!("client-{number}");
        let connection = self.connection(&name, &direct(pod));
        self.write(&name, number * 1_000_000, pause, Place::Here(connection))
    }

    /// The rows on one replica.
    pub async fn rows_on(&self, pod: &str) -> Result<BTreeSet<i64>, Error> {
        self.connection("auditor", &direct(pod)).rows().await
    }
}

/// The name of one replica.
pub fn direct(pod: &str) -> String {
    format!("{pod}.{}-replicas.shop.svc", group_of(pod))
}

/// The group that a name of the cluster leads to.
fn group_at(name: &str) -> &str {
    let service = name.trim_end_matches(".shop.svc").rsplit('.').next().unwrap_or_default();
    service.rsplit_once('-').map_or(service, |(group, _)| group)
}
