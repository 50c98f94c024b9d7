//! Connections: dial, TLS against the group's own CA, log in; one cached connection per replica, login and database.
//!
//! Every await has a deadline. A connection is kept only after a whole answer: it is dropped on any error that is not the
//! instance's own, on deadlines, and when the caller's future is dropped. Attention is never sent: closing the socket
//! makes the instance end the batch.

use super::{
    Secret,
    error::{self, Error},
};
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use std::{
    collections::BTreeMap,
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, QueryItem, Row};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open byte stream.
pub type Stream = Box<dyn Duplex>;

/// Opens byte streams to instances.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `host`, a DNS name. Brings no deadline of its own.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>>;
}

/// The real network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(Duration::from_secs(10))
                .with_interval(Duration::from_secs(5))
                .with_retries(3);
            socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok(Box::new(stream) as Stream)
        })
    }
}

/// Most bytes that one answer may have; an honest look at a group has a few KiB.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Where and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Key of the cache: namespace and pod.
    pub key: String,
    /// DNS name that the certificate must carry.
    pub host: String,
    /// Address to dial. `None`: the DNS name, which may be cached where a pod's address is not.
    pub address: Option<String>,
    /// Port.
    pub port: u16,
    /// PEM bundle of the authorities that may have signed the server's certificate.
    pub authorities: Arc<[u8]>,
    /// Login name.
    pub login: String,
    /// Its password.
    pub password: Secret,
    /// Database to start in. `None`: the login's own, `master`.
    pub database: Option<String>,
    /// `program_name` of the session.
    pub program: &'static str,
    /// Whether the connection is kept for the next batch. One in a database of users would be in the way of whoever drops
    /// or restores it.
    pub kept: bool,
}

impl Target {
    fn same_door(&self, other: &Self) -> bool {
        self.host == other.host
            && self.address == other.address
            && self.port == other.port
            && self.password == other.password
            && self.authorities == other.authorities
    }
}

type Key = (String, String, Option<String>, &'static str);
type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// All connections of this process.
pub struct Servers {
    dialer: Arc<dyn Dial>,
    slots: Mutex<BTreeMap<Key, Slot>>,
}

/// One open connection.
pub(super) struct Session {
    client: Client<Compat<Shared>>,
    wire: Shared,
    target: Target,
}

impl Servers {
    /// No connections yet.
    pub fn new(dialer: Arc<dyn Dial>) -> Self {
        Self { dialer, slots: Mutex::default() }
    }

    /// Runs one batch and reads its whole answer, one list of rows per result set.
    ///
    /// Errors: [`Error::Retry`] when it was surely not sent, [`Error::Refused`] when the instance said so,
    /// [`Error::Lost`] when the connection or the time ran out after sending.
    pub async fn run(&self, target: &Target, batch: &str, within: Duration) -> Result<Vec<Vec<Row>>, Error> {
        let deadline = Instant::now() + within;
        let slot = self.slot(target);
        let late = |what: &str| format!("no {what} within {} ms", within.as_millis());
        let Ok(mut slot) = timeout_at(deadline, slot.lock()).await else {
            return Err(Error::Retry(late("turn")));
        };
        // Taken out: whatever ends this future early drops the connection with it.
        let kept = slot.take().filter(|session| session.target.same_door(target) && session.wire.is_quiet());
        let mut session = match kept {
            Some(session) => session,
            None => match timeout_at(deadline, contained(Session::open(&*self.dialer, target))).await {
                Ok(Ok(Ok(session))) => session,
                Ok(Ok(Err(error))) => return Err(error),
                Ok(Err(Panicked)) => return Err(Error::Retry("the driver gave up on what it read".into())),
                Err(_) => return Err(Error::Retry(late("connection"))),
            },
        };
        let answer = match timeout_at(deadline, contained(session.run(batch))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Panicked)) => return Err(Error::Lost("the driver gave up on what it read".into())),
            Err(_) => return Err(Error::Lost(late("answer"))),
        };
        let usable = match &answer {
            Ok(_) => true,
            Err(Error::Refused(refusal)) => refusal.class < 20,
            Err(_) => false,
        };
        if usable && target.kept {
            *slot = Some(session);
        }
        answer
    }

    /// Forgets the connections of a replica.
    pub fn forget(&self, key: &str) {
        self.lock().retain(|(replica, ..), _| replica != key);
    }

    fn slot(&self, target: &Target) -> Slot {
        let key = (target.key.clone(), target.login.clone(), target.database.clone(), target.program);
        self.lock().entry(key).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Connects and logs in. It brings no deadline of its own, nor does anything else here.
    pub(super) async fn open(dialer: &dyn Dial, target: &Target) -> Result<Self, Error> {
        let stream = dialer
            .dial(target.address.as_deref().unwrap_or(&target.host), target.port)
            .await
            .map_err(|error| Error::Retry(format!("{}:{}: {error}", target.host, target.port)))?;
        let wire = Shared(Arc::new(Mutex::new(Limited { stream, left: LARGEST_ANSWER })));
        let connecting = Client::connect(config(target), wire.clone().compat_write());
        let client = connecting.await.map_err(error::while_connecting)?;
        Ok(Self { client, wire, target: target.clone() })
    }

    /// Runs a batch and hands on each row as it comes, so that the answer may be as large as it likes: messages of a loop
    /// add up. A batch that goes on after an error is read to its end; the error is the driver's, which knows the line.
    pub(super) async fn stream(&mut self, batch: &str, mut each: impl FnMut(Row)) -> tiberius::Result<()> {
        self.wire.lock().left = usize::MAX;
        let mut stream = self.client.simple_query(batch).await?;
        while let Some(item) = stream.try_next().await? {
            if let QueryItem::Row(row) = item {
                each(row);
            }
        }
        Ok(())
    }

    async fn run(&mut self, batch: &str) -> Result<Vec<Vec<Row>>, Error> {
        self.wire.lock().left = LARGEST_ANSWER;
        let stream = self.client.simple_query(batch).await.map_err(error::while_running)?;
        stream.into_results().await.map_err(error::while_running)
    }
}

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    config.host(&target.host);
    config.port(target.port);
    config.encryption(EncryptionLevel::Required);
    config.trust_cert_ca_bundle(target.authorities.to_vec());
    config.hostname_in_certificate(&target.host);
    config.authentication(AuthMethod::sql_server(&target.login, target.password.reveal()));
    config.application_name(target.program);
    if let Some(database) = &target.database {
        config.database(database);
    }
    // The driver's own timers run on another clock; ours are around every await.
    config.handshake_timeout(None);
    config.command_timeout(None);
    config
}

pub(super) struct Panicked;

/// What a hostile server makes the driver do must not end the operator.
pub(super) async fn contained<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|_| Panicked)
}

/// A stream that ends an answer which is too large.
struct Limited {
    stream: Stream,
    left: usize,
}

/// The driver's end of a stream, and ours.
#[derive(Clone)]
struct Shared(Arc<Mutex<Limited>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Limited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing came since the last answer: an end, an alert of TLS or a byte out of turn all mean that the next
    /// batch could be lost, where a new connection would carry it.
    fn is_quiet(&self) -> bool {
        let mut limited = self.lock();
        let mut byte = [0; 1];
        Pin::new(&mut limited.stream)
            .poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte))
            .is_pending()
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut limited = self.lock();
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut limited.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        match limited.left.checked_sub(read) {
            Some(left) => {
                limited.left = left;
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(io::Error::other("the answer is too large"))),
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.lock().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_shutdown(cx)
    }
}
