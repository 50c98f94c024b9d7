//! One line per step, with the time since the command began.

use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
pub(crate) struct Progress {
    began: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Says what has just been done, or is being waited for.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        eprintln!("{:>7.1} s  {}", self.elapsed().as_secs_f64(), text.as_ref());
    }
}
