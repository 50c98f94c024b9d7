//! Operators: the shipped one, as often as a story wants it, each life with its own identity and its own link.

use super::Stage;
use crate::world::{apiserver::link::Link, effects::Effects};
use futures::{FutureExt, future::BoxFuture};
use quorate::{
    controller::{self, Options},
    leader::End,
    sql::{Dial, Stream},
    telemetry::Health,
};
use standin::net::SharedNetwork;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    task::JoinHandle,
    time::sleep,
};

/// A process that stopped at an effect is ended so much later: what it sent has arrived by then.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// One life of an operator.
pub struct Operator {
    /// Its way to the API server.
    pub link: Link,
    stop: oneshot::Sender<()>,
    run: JoinHandle<End>,
}

impl Stage {
    /// Starts an operator on the host of this name.
    pub fn start(&self, name: &str) {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let identity = format!("{name}-{life}");
        self.plane.history.note("story", format!("{identity} starts"));
        let (clock, link) = (self.plane.clock, self.plane.api.link(&identity));
        self.host.door().count_for(link.effects.clone());
        let options = Options {
            client: self.plane.api.client(&identity),
            dialer: Arc::new(Wire { net: self.net.host(name), effects: link.effects.clone() }),
            identity,
            namespace: None,
            lease_namespace: "default".into(),
            prepare_image: "quorate:1".into(),
            health: Arc::new(Health::default()),
            wall: Arc::new(move || clock.now()),
            random: Arc::new(random(life)),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(controller::run(options, async {
            // A sender that is gone stops it too.
            let _ = stopped.await;
        }));
        self.operators.lock().unwrap().insert(name.into(), Operator { link, stop, run });
    }

    fn take(&self, name: &str) -> Option<Operator> {
        self.operators.lock().unwrap().remove(name)
    }

    /// Stops an operator as SIGTERM does.
    pub async fn stop(&self, name: &str) -> End {
        self.plane.history.note("story", format!("{name} is told to stop"));
        let operator = self.take(name).unwrap();
        let _ = operator.stop.send(());
        operator.run.await.unwrap()
    }

    /// Ends an operator as SIGKILL does: nothing of it gets out any more.
    pub async fn crash(&self, name: &str) {
        let Some(operator) = self.take(name) else { return };
        self.plane.history.note("fault", format!("{name} crashes"));
        operator.link.effects.stop();
        operator.run.abort();
        let _ = operator.run.await;
    }

    /// The link of a running operator.
    pub fn link(&self, name: &str) -> Link {
        self.operators.lock().unwrap().get(name).unwrap().link.clone()
    }

    /// Whether a running operator holds the Lease.
    pub fn is_led(&self) -> bool {
        let holder = self.lease()["holderIdentity"].clone();
        let operators = self.operators.lock().unwrap();
        operators.values().any(|operator| holder == operator.link.id && !operator.run.is_finished())
    }

    /// When the Lease was written last, as it says itself.
    pub fn renewed(&self) -> serde_json::Value {
        self.lease()["renewTime"].clone()
    }

    fn lease(&self) -> serde_json::Value {
        self.plane.api.find("leases", "default", "quorate").unwrap_or_default()["spec"].clone()
    }

    /// Starts operators again whose process ended by itself, as their Deployment does.
    pub fn restart_ended(&self) {
        let ended: Vec<_> = {
            let operators = self.operators.lock().unwrap();
            operators.iter().filter(|(_, operator)| operator.run.is_finished()).map(|(name, _)| name.clone()).collect()
        };
        for name in ended {
            self.start(&name);
        }
    }

    /// Waits until the process stopped at its effect, then ends it. False: it did not come to that effect in time.
    pub async fn dies_at_its_effect(&self, name: &str, within: Duration, over: impl Fn(&Self) -> bool) -> bool {
        let effects = self.link(name).effects;
        let from = self.plane.clock.elapsed();
        while !effects.has_stopped() {
            self.keeps_the_rules();
            if over(self) || self.plane.clock.elapsed() - from > within {
                return false;
            }
            sleep(super::LOOK).await;
        }
        sleep(LAST_BREATH).await;
        self.crash(name).await;
        true
    }
}

fn random(life: u64) -> impl Fn() -> [u8; 24] + Send + Sync + 'static {
    let bytes = AtomicU64::new(life << 32);
    move || {
        let number = bytes.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        std::array::from_fn(|at| (number >> (at % 8 * 8)) as u8 ^ at as u8)
    }
}

/// The operator's way to instances: closed once the process stopped.
struct Wire {
    net: SharedNetwork,
    effects: Effects,
}

impl Dial for Wire {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move {
            if self.effects.has_stopped() {
                return std::future::pending().await;
            }
            let stream = self.net.dial(host, port).await?;
            Ok(Box::new(Gate { stream, effects: self.effects.clone() }) as Stream)
        }
        .boxed()
    }
}

struct Gate {
    stream: standin::net::Stream,
    effects: Effects,
}

impl AsyncRead for Gate {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.effects.has_stopped() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
