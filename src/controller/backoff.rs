//! How long a group waits after passes that failed. Without jitter: a group is alone with its own objects.

use std::time::Duration;

/// Pause after the first failure; doubled by each further one.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(1);

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// A pass went well.
    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// A pass failed: the pause before the next, at least `wanted`.
    pub fn failed(&mut self, wanted: Duration) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.0.min(5)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        pause.max(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_start_again_after_a_good_pass() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..7).map(|_| backoff.failed(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.failed(Duration::ZERO).as_millis(), 100);
        assert_eq!(backoff.failed(Duration::from_secs(5)).as_secs(), 5);
    }
}
