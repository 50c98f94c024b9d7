//! Virtual time as the world's clocks show it.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// The moment a story begins, on every wall clock of the world.
const BEGINNING: &str = "2026-01-05T08:00:00Z";

/// The clock of one world: tokio's (paused) time, shown as wall time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// A clock that shows the beginning now.
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Time since the story began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Wall time.
    pub fn now(&self) -> Timestamp {
        let beginning: Timestamp = BEGINNING.parse().unwrap();
        beginning + SignedDuration::try_from(self.elapsed()).unwrap()
    }

    /// Wall time in whole seconds, as `metav1.Time` is written.
    pub fn stamp(&self) -> String {
        self.stamp_after(Duration::ZERO)
    }

    /// Wall time `later` from now, in whole seconds.
    pub fn stamp_after(&self, later: Duration) -> String {
        let at = self.now() + SignedDuration::try_from(later).unwrap();
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
