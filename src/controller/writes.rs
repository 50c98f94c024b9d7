//! The Kubernetes steps of a plan.

use crate::{
    api::{
        self, AvailabilityGroup, Failover,
        condition::{condition, renew},
        v1alpha1::FailoverStatus,
    },
    decide::{Observation, Reason, Record, Step, fence_is_closed},
    k8s::{self, Kube},
    leader::Permits,
    model::{ActiveUpgrade, Group, ReplicaName},
    resources,
};
use k8s_openapi::jiff::Timestamp;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Makes names of events unique within a process.
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// What a plan's Kubernetes steps are taken with.
pub struct Writes {
    /// The door.
    pub kube: Kube,
    /// Who may act.
    pub permits: Permits,
    /// The object as it was read last; a written record replaces it.
    pub object: AvailabilityGroup,
    /// The request that is served.
    pub request: Option<Failover>,
    /// Wall clock of this pass.
    pub wall: Timestamp,
}

impl Writes {
    /// Takes one step. Errors: the call's.
    pub async fn step(&self, step: &Step, seen: &Observation) -> Result<(), k8s::Error> {
        let group = &seen.group;
        match step {
            Step::KeepCertificate { replica, certificate } => self.keep_certificate(group, replica, certificate).await,
            Step::Route(to) => {
                for fields in resources::route(group, to.as_ref(), fence_is_closed(seen)) {
                    self.kube.apply_fields(&fields, k8s::manager::ROUTE).await?;
                }
                Ok(())
            }
            Step::Label { replica, role, readable } => {
                let labels = BTreeMap::from([
                    (resources::ROLE.to_string(), role.clone()),
                    (resources::READABLE.to_string(), readable.to_string()),
                ]);
                self.kube.label(&group.namespace, replica.as_str(), &labels).await.map(drop)
            }
            Step::Gate { replica, ready } => {
                let at = self.wall.to_string();
                self.kube.gate(&group.namespace, replica.as_str(), resources::GATE, *ready, &at).await
            }
            Step::Answer { request, epoch, finished, reason, message } => {
                self.answer(&group.namespace, request, *epoch, *finished, *reason, message).await
            }
            Step::Announce { reason, message } => {
                self.announce(*reason, message);
                Ok(())
            }
            // The record and steps for instances are sent elsewhere.
            _ => Ok(()),
        }
    }

    /// Writes the record against the object as it was read.
    pub async fn record(&mut self, record: &Record) -> Result<(), k8s::Error> {
        let value = serde_json::to_value(record).map_err(|error| k8s::Error::Retry(error.to_string()))?;
        self.object = self.kube.record(&self.object, &value).await?;
        Ok(())
    }

    /// Writes which upgrade the group takes part in against the object as it was read.
    pub async fn upgrade(&mut self, upgrade: Option<&ActiveUpgrade>) -> Result<(), k8s::Error> {
        let value = api::upgrade_to_merge(upgrade);
        self.object = self.kube.upgrade(&self.object, &value).await?;
        Ok(())
    }

    /// The map is read first: an entry of a silent instance cannot be made again.
    async fn keep_certificate(
        &self,
        group: &Group,
        replica: &ReplicaName,
        certificate: &str,
    ) -> Result<(), k8s::Error> {
        let mut kept = self.kube.config_map(&group.namespace, &resources::certificates_name(group)).await?;
        kept.insert(replica.to_string(), certificate.into());
        self.kube.apply(&resources::kept_certificates(group, &kept)).await.map(drop)
    }

    /// Tells people, beside everything else: a lost event changes nothing.
    pub fn announce(&self, reason: Reason, message: &str) {
        let id = format!("{:x}.{}", self.wall.as_millisecond(), EVENTS.fetch_add(1, Ordering::Relaxed));
        let (kube, object, message) = (self.kube.clone(), self.object.clone(), message.to_string());
        tokio::spawn(async move {
            let told = kube.announce(&object, is_warning(reason), reason.as_str(), &message, &id).await;
            if let Err(error) = told {
                tracing::debug!(%error, %reason, "event lost");
            }
        });
    }

    async fn answer(
        &self,
        namespace: &str,
        name: &str,
        epoch: Option<u64>,
        finished: Option<bool>,
        reason: Reason,
        message: &str,
    ) -> Result<(), k8s::Error> {
        let Some(request) = self.request.as_ref().filter(|request| request.metadata.name.as_deref() == Some(name))
        else {
            return Ok(());
        };
        let before = request.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let generation = request.metadata.generation.unwrap_or_default();
        let word = |truth: Option<bool>| match truth {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let kind = |kind: &str, status: &str| condition(kind, status, reason.as_str(), message);
        let mut wanted = vec![kind("Succeeded", word(finished)), kind("Ready", word(Some(finished == Some(true))))];
        match finished {
            None => wanted.push(kind("Reconciling", "True")),
            Some(false) => wanted.push(kind("Stalled", "True")),
            Some(true) => {}
        }
        let status = FailoverStatus {
            observed_generation: Some(generation),
            conditions: renew(before, wanted, generation, self.wall),
            epoch: epoch.and_then(|epoch| i64::try_from(epoch).ok()),
        };
        let status = serde_json::to_value(status).map_err(|error| k8s::Error::Retry(error.to_string()))?;
        self.kube.answer(namespace, name, &status).await
    }
}

fn is_warning(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PrimarySuspected
            | Reason::FailoverBlocked
            | Reason::PrimaryAdopted
            | Reason::Forced
            | Reason::RecordRestored
            | Reason::DatabaseMissing
            | Reason::LogBackupOverdue
            | Reason::LongName
            | Reason::MovingTag
            | Reason::NameTaken
            | Reason::InvalidSpec
            | Reason::TwoSynchronousReplicas
    )
}
