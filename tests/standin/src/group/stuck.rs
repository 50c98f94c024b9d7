//! The 41104 trap: a restarted ex-primary that calls a very young primary is stuck afterwards, until it was taken
//! OFFLINE and both endpoints were restarted, or for about a quarter of an hour. Seen by others on SQL Server 2025.

use super::roles::{Group, Role};
use crate::errors::Message;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Longest time that anybody saw it last.
const LAST: Duration = Duration::from_secs(14 * 60);

/// What is stuck.
#[derive(Debug, Default)]
pub struct Stuck {
    /// The local replica was PRIMARY when its instance ended, and has followed nobody since.
    pub ex_primary: bool,
    /// The local replica: since when, and how often its endpoint had been stopped.
    own: Option<(Instant, u64)>,
    /// It was taken OFFLINE since.
    offline: bool,
    /// Partners that this primary turns away, with how often its endpoint had been stopped.
    partners: BTreeMap<String, (Instant, u64)>,
}

impl Group {
    /// A restarted ex-primary calls: whether it gets stuck, or is still.
    pub fn turns_away(self: &Arc<Self>, partner: &str, ex_primary: bool) -> bool {
        let Ok(shared) = self.instance() else { return false };
        let Some(young) = shared.faults.get().stuck_41104 else { return false };
        let stops = shared.identity.stops();
        let mut state = self.state();
        if ex_primary && !self.distributed && state.role == Role::Primary && state.since.elapsed() < young {
            state.stuck.partners.entry(partner.into()).or_insert((Instant::now(), stops));
        }
        let still = state.stuck.partners.get(partner).is_some_and(|(since, at)| since.elapsed() < LAST && *at == stops);
        if !still {
            state.stuck.partners.remove(partner);
        }
        still
    }

    /// This replica was turned away: the role is lost and SET (ROLE = SECONDARY) fails from now on.
    pub fn get_stuck(self: &Arc<Self>) {
        let Ok(shared) = self.instance() else { return };
        let stops = shared.identity.stops();
        {
            let mut state = self.state();
            state.stuck.own.get_or_insert((Instant::now(), stops));
            state.stuck.offline = false;
        }
        tracing::error!(group = self.name, "the availability group resource did not come online (41104)");
        let _ = self.become_role(Role::Resolving);
    }

    /// OFFLINE was said.
    pub fn loosen(&self) {
        self.state().stuck.offline = true;
    }

    /// 41104 while this replica is stuck.
    pub fn check_stuck(&self) -> Result<(), Message> {
        let stops = self.instance()?.identity.stops();
        let mut state = self.state();
        let stuck = &mut state.stuck;
        let still = stuck.own.is_some_and(|(since, at)| since.elapsed() < LAST && !(stuck.offline && at != stops));
        if !still {
            stuck.own = None;
            return Ok(());
        }
        Err(not_online(&self.name))
    }
}

/// 41104
pub fn not_online(name: &str) -> Message {
    Message::new(
        41_104,
        16,
        format!(
            "Failover of the availability group '{name}' to the local replica failed because the availability group resource did not come online due to a previous error. To identify that error, check the SQL Server error log, cluster logs and system event logs. For information about how to view events and logs for a cluster, see the Windows Server documentation."
        ),
    )
}
