//! A simulated network on tokio's clock: hosts, cuts, freezes, power failures.
//!
//! It behaves as TCP does where it matters: bytes arrive in order and a little late; across a cut nothing arrives until
//! it is healed, then everything that was sent does; a killed process resets its connections; a host without power says
//! nothing, and resets old connections when it is back; a frozen process keeps its listening ports and acknowledges
//! nothing.

mod stream;

use crate::net::{Listener, Network, SharedNetwork, Stream};
use futures::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};
use stream::{Connection, End};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

type Resolver = Box<dyn Fn(&str) -> Option<String> + Send>;

#[derive(Debug, Default)]
struct Host {
    up: bool,
    frozen: bool,
    /// Counts lives: connections of an earlier one are dead.
    life: u64,
    ports: BTreeMap<u16, mpsc::UnboundedSender<Stream>>,
}

struct State {
    hosts: BTreeMap<String, Host>,
    cuts: BTreeSet<(String, String)>,
    resolver: Option<Resolver>,
    latency: (Duration, Duration),
    random: u64,
    connections: Vec<Weak<Connection>>,
}

impl State {
    /// Whether packets from one host arrive at the other. A host always reaches itself.
    fn open(&self, from: &str, to: &str) -> bool {
        let powered = |name: &str| self.hosts.get(name).is_some_and(|host| host.up);
        let cut = from != to && self.cuts.contains(&(from.to_owned(), to.to_owned()));
        powered(from) && powered(to) && !cut
    }

    fn frozen(&self, name: &str) -> bool {
        self.hosts.get(name).is_some_and(|host| host.frozen)
    }

    fn life(&self, name: &str) -> u64 {
        self.hosts.get(name).map_or(0, |host| host.life)
    }

    fn draw_latency(&mut self) -> Duration {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, to) = (self.latency.0.as_micros() as u64, self.latency.1.as_micros() as u64);
        Duration::from_micros(from + (self.random >> 33) % (to.saturating_sub(from) + 1))
    }
}

/// One simulated network; clones share it.
#[derive(Clone)]
pub struct SimNet {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "SimNet({:?}, cuts {:?})", state.hosts.keys(), state.cuts)
    }
}

impl SimNet {
    /// A network whose latencies depend on the seed: 0.1 to 0.6 ms each way.
    pub fn new(seed: u64) -> Self {
        let state = State {
            hosts: BTreeMap::new(),
            cuts: BTreeSet::new(),
            resolver: None,
            latency: (Duration::from_micros(100), Duration::from_micros(600)),
            random: seed,
            connections: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes the network, then wakes whoever waits on it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let connections: Vec<_> = {
            let mut state = self.lock();
            change(&mut state);
            state.connections.retain(|connection| connection.strong_count() > 0);
            state.connections.iter().filter_map(Weak::upgrade).collect()
        };
        for connection in connections {
            connection.wake();
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// The network as this host sees it; the host is there and has power from now on.
    pub fn host(&self, name: &str) -> SharedNetwork {
        self.change(|state| state.hosts.entry(name.to_owned()).or_default().up = true);
        Arc::new(HostNetwork { net: self.clone(), name: name.to_owned() })
    }

    /// How names other than those of hosts resolve. Without one, the first label of a DNS name is the host.
    pub fn set_resolver(&self, resolver: impl Fn(&str) -> Option<String> + Send + 'static) {
        self.lock().resolver = Some(Box::new(resolver));
    }

    /// Bounds of the latency of each packet.
    pub fn set_latency(&self, from: Duration, to: Duration) {
        self.lock().latency = (from, to);
    }

    /// Cuts two hosts off from each other.
    pub fn cut(&self, a: &str, b: &str) {
        self.change(|state| {
            state.cuts.insert((a.to_owned(), b.to_owned()));
            state.cuts.insert((b.to_owned(), a.to_owned()));
        });
    }

    /// Loses what goes from one host to the other, not the way back.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.change(|state| {
            state.cuts.insert((from.to_owned(), to.to_owned()));
        });
    }

    /// Cuts a host off from every host that is known now.
    pub fn isolate(&self, name: &str) {
        self.change(|state| {
            let others: Vec<String> = state.hosts.keys().filter(|other| *other != name).cloned().collect();
            for other in others {
                state.cuts.insert((name.to_owned(), other.clone()));
                state.cuts.insert((other, name.to_owned()));
            }
        });
    }

    /// Heals the way between two hosts.
    pub fn heal(&self, a: &str, b: &str) {
        self.change(|state| state.cuts.retain(|(x, y)| !((x == a && y == b) || (x == b && y == a))));
    }

    /// Heals all cuts.
    pub fn heal_all(&self) {
        self.change(|state| state.cuts.clear());
    }

    /// Stops the processes of a host without ending them: its ports stay, nobody answers.
    pub fn freeze(&self, name: &str) {
        self.change(|state| state.hosts.entry(name.to_owned()).or_default().frozen = true);
    }

    /// Lets them go on.
    pub fn thaw(&self, name: &str) {
        self.change(|state| state.hosts.entry(name.to_owned()).or_default().frozen = false);
    }

    /// Kills the processes of a host: its ports close and its connections are reset.
    pub fn kill(&self, name: &str) {
        self.end_life(name, true);
    }

    /// Takes the power away: nothing is closed, nothing is said.
    pub fn power_off(&self, name: &str) {
        self.end_life(name, false);
    }

    /// Gives the power back: a new life, without ports.
    pub fn power_on(&self, name: &str) {
        self.change(|state| state.hosts.entry(name.to_owned()).or_default().up = true);
    }

    /// Whether the host is there and has power.
    pub fn is_up(&self, name: &str) -> bool {
        self.lock().hosts.get(name).is_some_and(|host| host.up)
    }

    fn end_life(&self, name: &str, powered: bool) {
        self.change(|state| {
            let host = state.hosts.entry(name.to_owned()).or_default();
            let life = host.life;
            host.life += 1;
            host.up = powered;
            host.frozen = false;
            host.ports.clear();
            if powered {
                for connection in state.connections.iter().filter_map(Weak::upgrade) {
                    connection.reset_by(name, life);
                }
            }
        });
    }

    fn resolve(&self, name: &str) -> Option<String> {
        let state = self.lock();
        if state.hosts.contains_key(name) {
            return Some(name.to_owned());
        }
        match &state.resolver {
            Some(resolver) => resolver(name),
            None => name.split('.').next().filter(|label| state.hosts.contains_key(*label)).map(str::to_owned),
        }
    }

    /// Waits until packets from one host arrive at the other.
    async fn passage(&self, from: &str, to: &str) {
        let mut changes = self.changes.subscribe();
        let open = |state: &State| state.open(from, to) && state.open(to, from);
        while !open(&self.lock()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn dial(&self, from: &str, name: &str, port: u16) -> io::Result<Stream> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("failed to lookup address of {name}"));
        let to = self.resolve(name).ok_or_else(unknown)?;
        self.passage(from, &to).await;
        let there = self.lock().draw_latency();
        sleep(there).await;
        self.passage(from, &to).await;
        let (ours, theirs) = {
            let mut state = self.lock();
            let ends = [
                End { host: from.to_owned(), life: state.life(from) },
                End { host: to.clone(), life: state.life(&to) },
            ];
            let connection = Arc::new(Connection::new(self.clone(), ends));
            state.connections.push(Arc::downgrade(&connection));
            connection.streams()
        };
        let listening = self.lock().hosts.get(&to).and_then(|host| host.ports.get(&port)).cloned();
        let handed_over = listening.is_some_and(|port| port.send(Box::new(theirs)).is_ok());
        let back = self.lock().draw_latency();
        sleep(back).await;
        self.passage(from, &to).await;
        if handed_over { Ok(Box::new(ours)) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }
}

/// The network as one host sees it.
struct HostNetwork {
    net: SimNet,
    name: String,
}

impl Network for HostNetwork {
    fn listen(&self, port: u16) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let taken = {
            let mut state = self.net.lock();
            let host = state.hosts.entry(self.name.clone()).or_default();
            let taken = host.ports.get(&port).is_some_and(|port| !port.is_closed());
            if !taken {
                host.ports.insert(port, sender);
            }
            taken
        };
        let listening = SimPort { net: self.net.clone(), host: self.name.clone(), arrivals };
        Box::pin(async move {
            if taken { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(Box::new(listening) as Box<dyn Listener>) }
        })
    }

    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(self.net.dial(&self.name, host, port))
    }
}

struct SimPort {
    net: SimNet,
    host: String,
    arrivals: mpsc::UnboundedReceiver<Stream>,
}

impl Listener for SimPort {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let mut changes = self.net.changes.subscribe();
            while self.net.lock().frozen(&self.host) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
            self.arrivals.recv().await.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
        })
    }
}

/// When a packet that is sent now arrives, not before the one ahead of it.
fn arrival(latency: Duration, ahead: Option<Instant>) -> Instant {
    let own = Instant::now() + latency;
    ahead.map_or(own, |ahead| own.max(ahead))
}
