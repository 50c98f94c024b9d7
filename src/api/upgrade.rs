//! `status.upgrade` of a group, both ways; who approved an upgrade.

use super::{
    RollingUpgrade,
    v1alpha1::status::{FenceStatus, Upgrade},
};
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

/// Who wrote `spec.approved` last: the field manager, which is all that Kubernetes tells a controller. `None`: nobody did.
pub fn approver(object: &RollingUpgrade) -> Option<&str> {
    let managers = object.metadata.managed_fields.iter().flatten();
    let wrote = managers.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:approved").is_some())
    });
    wrote.max_by_key(|entry| entry.time.as_ref().map(|time| time.0)).and_then(|entry| entry.manager.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wrote_the_approvals_last_is_the_one_who_approved() {
        let entry = |manager: &str, minute: u8, field: &str| {
            json!({
                "manager": manager, "operation": "Update", "time": format!("2026-01-01T10:{minute:02}:00Z"),
                "fieldsV1": { "f:spec": { field: {} } },
            })
        };
        let slot = |group: &str, endpoint: &str| json!({ "availabilityGroup": group, "endpoint": endpoint });
        let upgrade = |entries: Value| -> RollingUpgrade {
            let upgrade = json!({
                "apiVersion": "quorate.dev/v1alpha1", "kind": "RollingUpgrade",
                "metadata": { "name": "shop-v2", "managedFields": entries },
                "spec": {
                    "production": slot("orders", "shop-v1"), "stage": slot("orders-v2", "shop-v2"),
                    "traffic": { "service": "shop" }, "script": { "configMap": { "name": "shop-v2-sql" } },
                },
            });
            serde_json::from_value(upgrade).unwrap()
        };
        let entries = json!([
            entry("argocd-controller", 1, "f:approved"),
            entry("kubectl-patch", 2, "f:approved"),
            entry("kubectl-edit", 3, "f:abort"),
        ]);
        assert_eq!(approver(&upgrade(entries)), Some("kubectl-patch"));
        assert_eq!(approver(&upgrade(json!([entry("kubectl-edit", 3, "f:abort")]))), None);
    }

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
