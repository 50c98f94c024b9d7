//! The right to act, which ends by itself.

use tokio::{sync::watch, time::Instant};

/// The right to act as leader until a moment of the own monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Number of the leadership: `leaseTransitions`.
    pub term: i32,
    /// It ends here, whatever happens.
    pub until: Instant,
}

impl Permit {
    /// Whether it still holds.
    pub fn valid(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Gives permits while this process leads. Clones share it.
#[derive(Clone, Debug)]
pub struct Permits(watch::Receiver<Option<Permit>>);

impl Permits {
    /// The giving end and the asking end.
    pub(super) fn channel() -> (watch::Sender<Option<Permit>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// A permit that holds now. `None`: not the leader, or in doubt; do nothing.
    pub fn permit(&self) -> Option<Permit> {
        self.0.borrow().filter(Permit::valid)
    }

    /// Waits until this process leads. `None`: it never will, the loop ended.
    pub async fn leading(&mut self) -> Option<Permit> {
        self.0.wait_for(|permit| permit.is_some_and(|permit| permit.valid())).await.ok().and_then(|permit| *permit)
    }
}
