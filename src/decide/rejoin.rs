//! When a replica that is on its way back into the group is helped.

use std::time::Duration;

/// A secondary that lost its primary may find it again by itself; it is told anew each time this has passed.
pub const RETRY: Duration = Duration::from_secs(5);
/// A replica that the engine does not let back (41104) is cured each time this has passed (promotion.md 6).
pub const CURE: Duration = Duration::from_secs(30);

/// What is due for a replica that has been rejoining for so long, and had been for `before` when it was looked at before:
/// [`Replica::retry`](super::observation::Replica::retry) and [`Replica::cure`](super::observation::Replica::cure).
pub fn due(rejoining: Duration, before: Duration) -> (bool, u32) {
    let times = |time: Duration, period: Duration| u32::try_from(time.as_secs() / period.as_secs()).unwrap_or(u32::MAX);
    let cure = times(rejoining, CURE);
    (times(rejoining, RETRY) > times(before, RETRY), if cure > times(before, CURE) { cure } else { 0 })
}
