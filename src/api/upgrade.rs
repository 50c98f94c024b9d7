//! `status.upgrade` of a group, both ways.

use super::v1alpha1::status::{FenceStatus, Upgrade};
use crate::model::{ActiveUpgrade, Fence, FenceState, LoginName, Slot};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

/// As it stands in a status.
pub fn upgrade_to_status(upgrade: &ActiveUpgrade) -> Upgrade {
    Upgrade {
        name: upgrade.name.clone(),
        namespace: upgrade.namespace.clone(),
        uid: upgrade.uid.clone(),
        slot: format!("{:?}", upgrade.slot),
        fence: upgrade.fence.as_ref().map(|fence| FenceStatus {
            state: format!("{:?}", fence.state),
            until: (fence.state == FenceState::On)
                .then(|| Timestamp::from_second(fence.until).ok().map(Time))
                .flatten(),
            allowed_logins: fence.allowed.iter().map(|login| login.as_str().into()).collect(),
        }),
    }
}

/// As a merge writes it: what is not there is said to be so. `None`: nothing of it stays.
pub fn upgrade_to_merge(upgrade: Option<&ActiveUpgrade>) -> Value {
    let Some(status) = upgrade.map(upgrade_to_status) else { return Value::Null };
    let fence =
        status.fence.map(|it| json!({ "state": it.state, "until": it.until, "allowedLogins": it.allowed_logins }));
    json!({
        "name": status.name, "namespace": status.namespace, "uid": status.uid, "slot": status.slot, "fence": fence,
    })
}

/// From a status. Whatever stands there is somebody's wish: what cannot be read is taken for the least that it may mean.
pub fn upgrade_from_status(upgrade: &Upgrade) -> ActiveUpgrade {
    ActiveUpgrade {
        name: upgrade.name.clone(),
        namespace: upgrade.namespace.clone(),
        uid: upgrade.uid.clone(),
        slot: match upgrade.slot.as_str() {
            "Stage" => Slot::Stage,
            "ProductionDr" => Slot::ProductionDr,
            "StageDr" => Slot::StageDr,
            _ => Slot::Production,
        },
        fence: upgrade.fence.as_ref().map(|fence| Fence {
            state: match fence.state.as_str() {
                "Prepared" => FenceState::Prepared,
                "On" => FenceState::On,
                "Kept" => FenceState::Kept,
                _ => FenceState::Lifted,
            },
            until: fence.until.as_ref().map_or(0, |time| time.0.as_second()),
            allowed: fence.allowed_logins.iter().filter_map(|login| LoginName::new(login).ok()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (state, until) in [(FenceState::Prepared, 0), (FenceState::On, 1_800_000_000), (FenceState::Kept, 0)] {
            for slot in [Slot::Production, Slot::Stage, Slot::ProductionDr, Slot::StageDr] {
                let allowed = [LoginName::new("monitoring").unwrap()].into();
                let upgrade = ActiveUpgrade {
                    name: "shop-v2".into(),
                    namespace: "shop".into(),
                    uid: "1".into(),
                    slot,
                    fence: Some(Fence { state, until, allowed }),
                };
                assert_eq!(upgrade_from_status(&upgrade_to_status(&upgrade)), upgrade);
            }
        }
    }
}
