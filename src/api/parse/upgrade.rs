//! From the spec of a `RollingUpgrade` to the wish.

use super::{Court, Refusals, names};
use crate::{
    api::v1alpha1::rolling_upgrade::{
        self as spec, ApprovalMode, DRAIN_SECONDS, OnFailure, READ_ONLY_SECONDS, RollingUpgrade, SCRIPT_SECONDS,
        UpgradeSlot,
    },
    model::{
        GroupName,
        upgrade::{Approval, Geo, Place, Script, Verification, Wish},
    },
};
use std::{collections::BTreeSet, time::Duration};

/// Reads an upgrade. Errors: everything in the spec that cannot be, all at once.
pub fn parse_upgrade(object: &RollingUpgrade) -> Result<Wish, Refusals> {
    let mut court = Court::default();
    let spec = &object.spec;
    let read_only = spec.read_only.clone().unwrap_or_default();
    let seconds =
        |value: Option<i32>, unless: i32| Duration::from_secs(value.unwrap_or(unless).max(0).unsigned_abs().into());
    let UpgradeSlot { availability_group, endpoint } = &spec.production;
    let production = slot(&mut court, "spec.production", availability_group, endpoint);
    let UpgradeSlot { availability_group, endpoint } = &spec.stage;
    let stage = slot(&mut court, "spec.stage", availability_group, endpoint);
    let geo = spec.geo.as_ref().and_then(|wanted| geo(&mut court, object, wanted));
    differ(&mut court, spec);
    let wish = Wish {
        name: object.metadata.name.clone().unwrap_or_default(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        slots: match (production, stage) {
            (Some(production), Some(stage)) => [production, stage],
            _ => return Err(Refusals(court.0)),
        },
        geo,
        front: spec.traffic.service.clone(),
        script: match script(&mut court, &spec.script) {
            Some(script) => script,
            None => return Err(Refusals(court.0)),
        },
        script_time: seconds(spec.script.timeout_seconds, SCRIPT_SECONDS),
        pauses: spec.script.on_failure == Some(OnFailure::Pause),
        verify: verifications(&mut court, &spec.verify),
        read_only: seconds(read_only.maximum_seconds, READ_ONLY_SECONDS),
        drain: seconds(read_only.drain_seconds, DRAIN_SECONDS),
        allowed: read_only
            .allowed_logins
            .iter()
            .enumerate()
            .filter_map(|(i, login)| names::login(&mut court, &format!("spec.readOnly.allowedLogins[{i}]"), login))
            .collect(),
        manual: manual(spec),
        approved: spec.approved.iter().map(|approval| approved(*approval)).collect(),
        abort: spec.abort.unwrap_or_default(),
        discards: spec.discard_stage_writes.unwrap_or_default(),
    };
    court.require(
        wish.drain < wish.read_only,
        "spec.readOnly.drainSeconds",
        "must be less than spec.readOnly.maximumSeconds",
        "lower it, or allow more time",
    );
    if court.0.is_empty() { Ok(wish) } else { Err(Refusals(court.0)) }
}

fn slot(court: &mut Court, field: &str, group: &str, endpoint: &str) -> Option<(GroupName, String)> {
    let endpoint = endpoint.trim();
    court.require(
        !endpoint.is_empty(),
        &format!("{field}.endpoint"),
        "must not be empty",
        "name the Service of the application",
    );
    match GroupName::new(group) {
        Ok(name) => Some((name, endpoint.to_owned())),
        Err(error) => {
            court.refuse(format!("{field}.availabilityGroup"), error.to_string(), "name an AvailabilityGroup");
            None
        }
    }
}

/// `None`: refused, and the court knows why.
fn geo(court: &mut Court, object: &RollingUpgrade, wanted: &spec::Geo) -> Option<Geo> {
    let own = object.metadata.namespace.as_deref().unwrap_or_default();
    let mut place = |field: &str, wanted: &spec::GeoSlot| {
        let (group, endpoint) = slot(court, field, &wanted.availability_group, &wanted.endpoint)?;
        Some(Place { group, namespace: wanted.namespace.as_deref().unwrap_or(own).to_string(), endpoint })
    };
    let (production, stage) =
        (place("spec.geo.production", &wanted.production), place("spec.geo.stage", &wanted.stage));
    let all = [
        &object.spec.production.availability_group,
        &object.spec.stage.availability_group,
        &wanted.production.availability_group,
        &wanted.stage.availability_group,
    ];
    court.require(
        all.iter().collect::<BTreeSet<_>>().len() == all.len(),
        "spec.geo",
        "must name two more groups, each with a name of its own, whatever namespace they are in",
        "name the groups of the other region",
    );
    Some(Geo { production: production?, stage: stage?, required: wanted.require_dr_before_switch.unwrap_or(true) })
}

fn differ(court: &mut Court, spec: &spec::RollingUpgradeSpec) {
    court.require(
        spec.production.availability_group != spec.stage.availability_group,
        "spec.stage.availabilityGroup",
        "must be another group than spec.production.availabilityGroup",
        "name the group of the new version",
    );
    court.require(
        spec.production.endpoint != spec.stage.endpoint,
        "spec.stage.endpoint",
        "must be another Service than spec.production.endpoint",
        "name the one of the new version",
    );
    court.require(
        ![&spec.production.endpoint, &spec.stage.endpoint].contains(&&spec.traffic.service),
        "spec.traffic.service",
        "must be another Service than the endpoints",
        "choose another name",
    );
}

fn script(court: &mut Court, script: &spec::Script) -> Option<Script> {
    match (&script.config_map, &script.job) {
        (Some(files), None) => Some(Script::Files {
            config_map: files.name.clone(),
            database: match &files.database {
                Some(name) => Some(names::database(court, "spec.script.configMap.database", name)?),
                None => None,
            },
        }),
        (None, Some(job)) => Some(Script::Job(job.template.clone())),
        _ => {
            court.refuse("spec.script", "must have exactly one of configMap and job", "keep one of them");
            None
        }
    }
}

fn verifications(court: &mut Court, all: &[spec::Verification]) -> Vec<Verification> {
    let mut found = Vec::new();
    for (i, wanted) in all.iter().enumerate() {
        let Some(database) = names::database(court, &format!("spec.verify[{i}].database"), &wanted.database) else {
            continue;
        };
        found.push(Verification { database, query: wanted.query.clone(), expect: wanted.expect.clone() });
    }
    found
}

fn manual(spec: &spec::RollingUpgradeSpec) -> BTreeSet<Approval> {
    let approvals = spec.approvals.clone().unwrap_or_default();
    let modes = [
        (approvals.start, Approval::Start),
        (approvals.switch, Approval::Switch),
        (approvals.retire, Approval::Retire),
    ];
    modes.into_iter().filter(|(mode, _)| *mode == Some(ApprovalMode::Manual)).map(|(_, approval)| approval).collect()
}

fn approved(approval: spec::Approval) -> Approval {
    match approval {
        spec::Approval::Start => Approval::Start,
        spec::Approval::Script => Approval::Script,
        spec::Approval::Switch => Approval::Switch,
        spec::Approval::Retire => Approval::Retire,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn upgrade(change: impl FnOnce(&mut serde_json::Value)) -> RollingUpgrade {
        let slot = |group: &str, endpoint: &str| json!({ "availabilityGroup": group, "endpoint": endpoint });
        let mut object = json!({
            "apiVersion": "quorate.dev/v1alpha1", "kind": "RollingUpgrade",
            "metadata": { "name": "shop-v2", "namespace": "shop", "uid": "1" },
            "spec": {
                "production": slot("orders", "shop-v1"), "stage": slot("orders-v2", "shop-v2"),
                "traffic": { "service": "shop" }, "script": { "configMap": { "name": "shop-v2-sql" } },
            },
        });
        change(&mut object["spec"]);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let wish = parse_upgrade(&upgrade(|_| {})).unwrap();
        let times = [wish.read_only, wish.drain, wish.script_time].map(|time| time.as_secs());
        assert_eq!(times, [900, 10, 600]);
        assert!(wish.manual.is_empty() && wish.approved.is_empty() && !wish.abort && !wish.pauses);
    }

    #[test]
    fn everything_that_cannot_be_is_refused_at_once_with_field_and_remedy() {
        let wrong = upgrade(|spec| {
            spec["stage"] = spec["production"].clone();
            spec["traffic"]["service"] = "shop-v1".into();
            spec["readOnly"] = json!({ "maximumSeconds": 10, "drainSeconds": 10, "allowedLogins": ["sa"] });
            spec["verify"] = json!([{ "database": "master", "query": "SELECT 1", "expect": "1" }]);
        });
        let told = parse_upgrade(&wrong).unwrap_err().to_string();
        for field in [
            "spec.stage.availabilityGroup",
            "spec.stage.endpoint",
            "spec.traffic.service",
            "spec.readOnly.drainSeconds",
            "spec.readOnly.allowedLogins[0]",
            "spec.verify[0].database",
        ] {
            assert!(told.contains(field), "{field} is not in: {told}");
        }
        let both = upgrade(|spec| spec["script"]["job"] = json!({ "template": {} }));
        assert!(parse_upgrade(&both).unwrap_err().to_string().contains("spec.script must have exactly one of"));
    }
}
