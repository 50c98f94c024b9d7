//! One server behind the wire: its instance, its catalog, its sessions.

use crate::{
    catalog::{Catalog, First},
    errors::Message,
    faults::Faults,
    group,
    instance::{self, Instance},
    net::SharedNetwork,
    tds,
    tsql::session::Session,
};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};
use tokio::{sync::Notify, time::Instant};

/// What a server starts from.
pub struct ServerOptions {
    /// The instance; its server name counts at the first start only.
    pub config: instance::Config,
    /// How it reaches others.
    pub network: SharedNetwork,
    /// Switches.
    pub faults: Faults,
    /// Password of `sa`; counts at the first start only.
    pub sa_password: String,
    /// Boot time of the host before this start, milliseconds: where `ms_ticks` starts.
    pub uptime: u64,
    /// The host's wall clock at this start, microseconds since 1970: [`wall`], or that of a world with a clock of its own.
    pub wall: i64,
}

/// One session as the server's views see it.
pub struct SessionEntry {
    /// `session_id`
    pub spid: u16,
    /// `login_name`
    pub login: String,
    /// `program_name`
    pub application: String,
    /// `host_name`
    pub host: String,
    /// `login_time`, microseconds since 1970.
    pub since: i64,
    /// A request runs: its command and start.
    pub request: Mutex<Option<(String, i64)>>,
    /// Current database.
    pub database: Mutex<String>,
    /// What it did last and has open.
    pub activity: Mutex<Activity>,
    /// KILL
    pub kill: Notify,
    /// KILL was said.
    pub killed: AtomicBool,
}

/// What a session did last, and the transaction that it has open.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Start of the last request, microseconds since 1970.
    pub request_start: i64,
    /// End of the last request that is over.
    pub request_end: Option<i64>,
    /// It was reset for its next user of a pool and has done nothing since.
    pub dormant: bool,
    /// `@@TRANCOUNT`
    pub depth: u32,
    /// Its transaction: number and begin.
    pub transaction: Option<(i64, i64)>,
}

impl SessionEntry {
    /// What it did last and has open.
    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        lock(&self.activity)
    }
}

/// The place of a session among the others: it is given up when the last holder is gone, which is the session or a
/// commit that outlives it.
pub struct Presence {
    server: Server,
    spid: u16,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.server.close_session(self.spid);
    }
}

/// Who holds an application lock, and how often.
#[derive(Clone, Copy, Debug)]
pub struct AppLock {
    /// Session.
    pub spid: u16,
    /// Exclusive.
    pub exclusive: bool,
    /// Times taken.
    pub count: u32,
    /// Held until the transaction ends.
    pub by_transaction: bool,
}

/// The inside of a server.
pub struct Inner {
    /// The instance.
    pub instance: Instance,
    /// Its security.
    pub catalog: Arc<Catalog>,
    /// When it started, on tokio's clock.
    pub started: Instant,
    /// When it started, microseconds since 1970.
    pub start_time: i64,
    uptime: u64,
    sessions: Mutex<BTreeMap<u16, Arc<SessionEntry>>>,
    next: AtomicU64,
    dedicated: Mutex<Weak<Presence>>,
    transactions: AtomicI64,
    /// Application locks by name.
    pub locks: Mutex<BTreeMap<String, Vec<AppLock>>>,
    /// An application lock was given back.
    pub unlocked: Notify,
}

/// One server. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

impl std::ops::Deref for Server {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Lowest `session_id` of a user session.
const FIRST_SESSION: u64 = 51;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Starts a server from what its disk holds.
    pub async fn start(options: ServerOptions) -> io::Result<Self> {
        let start_time = options.wall;
        let first =
            First { server_name: &options.config.server_name, sa_password: &options.sa_password, now: start_time };
        let catalog = Arc::new(Catalog::open(&options.config.disk, &first)?);
        let server_name = catalog.read().server_name.clone();
        let config = instance::Config { server_name, ..options.config };
        let identity: Arc<dyn group::Identity> = catalog.clone();
        let instance = Instance::start(config, options.network, options.faults, identity).await?;
        Ok(Self(Arc::new(Inner {
            instance,
            catalog,
            started: Instant::now(),
            start_time,
            uptime: options.uptime,
            sessions: Mutex::default(),
            next: AtomicU64::new(FIRST_SESSION),
            dedicated: Mutex::default(),
            transactions: AtomicI64::new(1_000),
            locks: Mutex::default(),
            unlocked: Notify::new(),
        })))
    }

    /// Stops cleanly.
    pub fn stop(&self) {
        self.instance.stop();
        for session in self.sessions() {
            session.kill.notify_waiters();
        }
    }

    /// The place of a session, to be given up with the last clone of it.
    pub fn presence(&self, entry: &SessionEntry) -> Arc<Presence> {
        Arc::new(Presence { server: self.clone(), spid: entry.spid })
    }
}

/// Now, microseconds since 1970.
pub fn wall() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

impl Inner {
    /// Now, microseconds since 1970: the wall clock at the start plus tokio's time since, so that a paused clock drives
    /// it and it never goes back.
    pub fn now(&self) -> i64 {
        self.start_time + i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX / 2)
    }

    /// `sys.dm_os_sys_info.ms_ticks`
    pub fn ms_ticks(&self) -> i64 {
        let elapsed = self.started.elapsed().as_millis();
        i64::try_from(elapsed.saturating_add(u128::from(self.uptime))).unwrap_or(i64::MAX)
    }

    /// `sys.dm_os_sys_info.sqlserver_start_time_ms_ticks`
    pub fn start_ticks(&self) -> i64 {
        i64::try_from(self.uptime).unwrap_or(i64::MAX)
    }

    /// Major version, 16 for 2022.
    pub fn major(&self) -> u32 {
        self.instance.config().version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(16)
    }

    /// `@@VERSION`
    pub fn banner(&self) -> String {
        let config = self.instance.config();
        let year = match self.major() {
            14 => 2017,
            15 => 2019,
            17 => 2025,
            _ => 2022,
        };
        format!(
            "Microsoft SQL Server {year} - {} (X64) \n\tQuorate stand-in for tests, not a Microsoft product\n\t{} on Linux <X64>",
            config.version, config.edition
        )
    }

    /// All sessions.
    pub fn sessions(&self) -> Vec<Arc<SessionEntry>> {
        lock(&self.sessions).values().cloned().collect()
    }

    /// Adds a session.
    pub fn open_session(&self, login: &str, application: &str, host: &str, database: &str) -> Arc<SessionEntry> {
        let mut sessions = lock(&self.sessions);
        let free = (0..u64::from(u16::MAX)).find_map(|_| {
            let number = self.next.fetch_add(1, Ordering::SeqCst) % 30_000;
            let spid = u16::try_from(number.max(FIRST_SESSION)).ok()?;
            (!sessions.contains_key(&spid)).then_some(spid)
        });
        let entry = Arc::new(SessionEntry {
            spid: free.unwrap_or(u16::MAX),
            login: login.into(),
            application: application.into(),
            host: host.into(),
            since: self.now(),
            request: Mutex::default(),
            database: Mutex::new(database.into()),
            activity: Mutex::new(Activity { request_start: self.now(), ..Activity::default() }),
            kill: Notify::new(),
            killed: AtomicBool::new(false),
        });
        sessions.insert(entry.spid, entry.clone());
        entry
    }

    /// Whether the one dedicated administrator connection was free; it is taken then.
    pub fn take_dedicated(&self, presence: &Arc<Presence>) -> bool {
        let mut dedicated = lock(&self.dedicated);
        let free = dedicated.strong_count() == 0;
        if free {
            *dedicated = Arc::downgrade(presence);
        }
        free
    }

    /// A number for a transaction that begins.
    pub fn next_transaction(&self) -> i64 {
        self.transactions.fetch_add(1, Ordering::SeqCst)
    }

    /// Removes a session and gives back its application locks.
    fn close_session(&self, spid: u16) {
        lock(&self.sessions).remove(&spid);
        self.release_locks(|held| held.spid == spid);
    }

    /// Gives back application locks.
    pub fn release_locks(&self, which: impl Fn(&AppLock) -> bool) {
        let mut locks = lock(&self.locks);
        locks.values_mut().for_each(|holders| holders.retain(|held| !which(held)));
        locks.retain(|_, holders| !holders.is_empty());
        drop(locks);
        self.unlocked.notify_waiters();
    }

    /// KILL. False: there is no such session.
    pub fn kill(&self, spid: i64) -> bool {
        let entry = u16::try_from(spid).ok().and_then(|spid| lock(&self.sessions).get(&spid).cloned());
        let Some(entry) = entry else { return false };
        entry.killed.store(true, Ordering::SeqCst);
        entry.kill.notify_waiters();
        true
    }
}

/// The dedicated administrator connection of a server.
pub struct AdminDoor(pub Server);

impl tds::Backend for AdminDoor {
    type Session = Session;

    fn identity(&self) -> tds::Identity {
        tds::Backend::identity(&self.0)
    }

    async fn login(&self, request: tds::LoginRequest) -> Result<Session, Message> {
        Session::login_dedicated(&self.0, request).await
    }
}

impl tds::Backend for Server {
    type Session = Session;

    fn identity(&self) -> tds::Identity {
        let config = self.instance.config();
        let mut parts = config.version.split('.').map(|part| part.parse::<u16>().unwrap_or(0));
        let (major, minor, build) =
            (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0).to_be_bytes());
        let byte = |value: u16| u8::try_from(value).unwrap_or(0);
        let [high, low] = build;
        tds::Identity { server: config.server_name.clone(), version: [byte(major), byte(minor), high, low] }
    }

    async fn login(&self, request: tds::LoginRequest) -> Result<Session, Message> {
        Session::login(self, request).await
    }
}
