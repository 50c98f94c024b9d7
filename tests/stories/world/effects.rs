//! Effects are counted so that a story can stop a client at each of them.
//!
//! An effect is one call that may change something outside the process: a Kubernetes write or a T-SQL batch. The
//! counter of a client is shared by both doors. At the effect that was chosen the process stops in one of three ways.

use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// How the process stops at the chosen effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The call never leaves the process.
    NotSent,
    /// The call takes effect and its answer is lost.
    Unanswered,
    /// The call is answered, and the process stops before its next call.
    Answered,
}

/// All three edges.
pub const EDGES: [Edge; 3] = [Edge::NotSent, Edge::Unanswered, Edge::Answered];

/// Has a process die at one of `sample` effects, another first one for each edge; at every one with `QUORATE_LONG`. `dies` plays
/// the story whose process dies at its `k`th effect; false: it has fewer. What is answered is the first that was not there.
pub fn at_effects(edge: Edge, sample: u64, dies: impl Fn(u64) -> bool) -> u64 {
    let every = std::env::var_os("QUORATE_LONG").is_some();
    let (mut k, step) = if every { (1, 1) } else { (1 + edge as u64 * 7, sample) };
    while dies(k) {
        k += step;
    }
    println!("{edge:?}: one of {step}, fewer than {k} effects");
    k
}

/// What a door must do with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing special.
    Proceed,
    /// Do not send; never answer.
    Withhold,
    /// Let it take effect; never answer.
    Swallow,
    /// Let it take effect and answer; [`Effects::stopped`] is already true.
    Last,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    stop: Option<(u64, Edge)>,
    labels: Vec<String>,
}

/// The counter of one process.
#[derive(Clone, Debug)]
pub struct Effects {
    state: Arc<Mutex<State>>,
    stopped: watch::Sender<bool>,
}

impl Default for Effects {
    fn default() -> Self {
        Self { state: Arc::default(), stopped: watch::Sender::new(false) }
    }
}

impl Effects {
    /// Stops the process at the `k`th effect from now (the first is 1).
    pub fn stop_at(&self, k: u64, edge: Edge) {
        let mut state = self.state.lock().unwrap();
        state.stop = Some((state.count + k, edge));
    }

    /// Takes the last [`Self::stop_at`] back.
    pub fn spare(&self) {
        self.state.lock().unwrap().stop = None;
    }

    /// Counts one effect and says what to do with it.
    pub fn next(&self, label: impl Into<String>) -> Verdict {
        if *self.stopped.borrow() {
            return Verdict::Withhold;
        }
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        state.labels.push(label.into());
        match state.stop {
            Some((at, edge)) if at == state.count => {
                self.stopped.send_replace(true);
                match edge {
                    Edge::NotSent => Verdict::Withhold,
                    Edge::Unanswered => Verdict::Swallow,
                    Edge::Answered => Verdict::Last,
                }
            }
            _ => Verdict::Proceed,
        }
    }

    /// Effects so far.
    pub fn count(&self) -> u64 {
        self.state.lock().unwrap().count
    }

    /// The labels of the effects so far, in order.
    pub fn labels(&self) -> Vec<String> {
        self.state.lock().unwrap().labels.clone()
    }

    /// Whether the process has stopped.
    pub fn has_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Stops the process now: none of its calls gets out any more.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Completes when the process has stopped.
    pub async fn stopped(&self) {
        let mut seen = self.stopped.subscribe();
        let _ = seen.wait_for(|stopped| *stopped).await;
    }
}
