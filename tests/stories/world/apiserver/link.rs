//! The way of one client to the API server, and what may go wrong on it.

use super::{request::Request, store::Change};
use crate::world::{effects::Effects, random::Random};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// Whether the server can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    Fine,
    /// Connections are refused and open ones are reset.
    Refused,
    /// Packets vanish: nothing arrives until it is healed, then everything that still waits does.
    Hanging,
}

/// What happens to a request that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The server answers this code and does nothing.
    Answer(u16),
    /// The request takes effect, and the answer is this code.
    EffectThenAnswer(u16),
    /// The connection is refused.
    Refuse,
    /// Nothing happens, for ever.
    Hang,
    /// The request takes effect, and the answer never comes.
    LoseAnswer,
    /// The request takes effect so much later, whether or not the caller still waits; the answer never comes.
    Late(Duration),
    /// The request is so much slower.
    Delay(Duration),
}

/// What happens to one event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It arrives.
    Pass,
    /// It is lost.
    Drop,
    /// It arrives twice.
    Twice,
    /// It arrives after the next one.
    Swap,
    /// The watch is closed before it.
    Close,
}

type Matcher = Box<dyn Fn(&Request) -> bool + Send>;
type Courier = Box<dyn FnMut(&Change) -> Delivery + Send>;

struct Rule {
    matches: Matcher,
    act: Act,
    left: u32,
}

struct State {
    latency: (Duration, Duration),
    watch_latency: (Duration, Duration),
    random: Random,
    rules: Vec<Rule>,
    courier: Courier,
}

/// The link of one client.
#[derive(Clone)]
pub struct Link {
    /// Who uses it.
    pub id: String,
    /// Its writes, counted.
    pub effects: Effects,
    reach: watch::Sender<Reach>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.id)
    }
}

impl Link {
    /// A link without faults.
    pub fn new(id: &str, random: Random) -> Self {
        let state = State {
            latency: (Duration::from_millis(1), Duration::from_millis(4)),
            watch_latency: (Duration::from_millis(1), Duration::from_millis(5)),
            random,
            rules: Vec::new(),
            courier: Box::new(|_| Delivery::Pass),
        };
        Self {
            id: id.into(),
            effects: Effects::default(),
            reach: watch::Sender::new(Reach::Fine),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Cuts or heals the link.
    pub fn set_reach(&self, reach: Reach) {
        self.reach.send_replace(reach);
    }

    /// Whether the server can be reached now.
    pub fn reach(&self) -> Reach {
        *self.reach.borrow()
    }

    /// To wait for a change of reach.
    pub fn watch_reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// The next `times` requests that match meet this act. Earlier rules come first.
    pub fn expect(&self, times: u32, act: Act, matches: impl Fn(&Request) -> bool + Send + 'static) {
        self.state.lock().unwrap().rules.push(Rule { matches: Box::new(matches), act, left: times });
    }

    /// Forgets all rules and makes watches faithful again.
    pub fn forgive(&self) {
        let mut state = self.state.lock().unwrap();
        state.rules.clear();
        state.courier = Box::new(|_| Delivery::Pass);
    }

    /// Who decides about each event of this client's watches.
    pub fn set_courier(&self, courier: impl FnMut(&Change) -> Delivery + Send + 'static) {
        self.state.lock().unwrap().courier = Box::new(courier);
    }

    /// Time of each half of a request, drawn between these.
    pub fn set_latency(&self, from: Duration, to: Duration) {
        self.state.lock().unwrap().latency = (from / 2, to / 2);
    }

    /// How late the events of watches are, drawn between these.
    pub fn set_watch_latency(&self, from: Duration, to: Duration) {
        self.state.lock().unwrap().watch_latency = (from, to);
    }

    pub(super) fn draw_latency(&self) -> Duration {
        let mut state = self.state.lock().unwrap();
        let (from, to) = state.latency;
        state.random.between(from, to)
    }

    pub(super) fn draw_watch_latency(&self) -> Duration {
        let mut state = self.state.lock().unwrap();
        let (from, to) = state.watch_latency;
        state.random.between(from, to)
    }

    pub(super) fn deliver(&self, change: &Change) -> Delivery {
        (self.state.lock().unwrap().courier)(change)
    }

    /// The act of the first rule that matches, used up by one.
    pub(super) fn act_on(&self, request: &Request) -> Option<Act> {
        let mut state = self.state.lock().unwrap();
        let rule = state.rules.iter_mut().find(|rule| rule.left > 0 && (rule.matches)(request))?;
        rule.left -= 1;
        Some(rule.act)
    }
}
