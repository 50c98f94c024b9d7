//! The external write lease: a primary whose lease is over leaves its role.
//!
//! SQL Server docs: CREATE AVAILABILITY GROUP, WRITE_LEASE_VALIDITY; messages 41091 and 47116 to 47119.

use super::roles::{Group, Role};
use crate::errors::{Message, SqlResult};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// SET (WRITE_LEASE_VALIDITY = seconds): from now on, never shorter than before. Accepted in every role.
pub fn renew(group: &Arc<Group>, seconds: i64) -> SqlResult<()> {
    let name = &group.name;
    let mut state = group.state();
    if !state.copy.config.external_lease {
        return Err(Message::new(
            47_116,
            16,
            format!(
                "The external lease cannot be set on availability group '{name}'. External Lease updates are not enabled for this availability group."
            ),
        ));
    }
    let Some(seconds) = u64::try_from(seconds).ok().filter(|seconds| (1..=86_400 * 365).contains(seconds)) else {
        return Err(Message::new(
            47_117,
            16,
            format!(
                "The 'WRITE_LEASE_VALIDITY' option must be specified with a valid time value when updating the Availability Group's external write lease status on availability group '{name}'."
            ),
        ));
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    if state.lease.is_some_and(|lease| lease > end) {
        return Err(Message::new(
            47_119,
            16,
            format!(
                "The current write lease of the availability group '{name}' is still valid. The lease expiration time cannot be set to an earlier time than its current value."
            ),
        ));
    }
    state.lease = Some(end);
    drop(state);
    group.touch();
    Ok(())
}

/// Ends the role of a primary when its lease is over.
pub async fn keep(group: Arc<Group>) {
    loop {
        let end = {
            let state = group.state();
            if !state.copy.config.external_lease {
                return;
            }
            state.lease.unwrap_or(state.since)
        };
        sleep_until(end).await;
        let over = {
            let state = group.state();
            state.role == Role::Primary && state.lease.is_none_or(|lease| lease <= Instant::now())
        };
        if over {
            tracing::error!(
                group = group.name,
                "the availability group is going offline because its write lease expired (41091, 19407)"
            );
            let _ = group.become_role(Role::Resolving);
            return;
        }
    }
}
