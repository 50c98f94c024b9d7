//! The Kubernetes objects of a group, and the secrets that it takes to talk to its instances.

use super::instances::Access;
use crate::{
    k8s::{Error, Kube},
    model::{Group, LoginName, ReplicaName},
    resources::{self, Authority},
    sql::Secret,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Random bytes for passwords.
pub type Random = dyn Fn() -> [u8; 24] + Send + Sync;

/// Key of the certificate in the CA's objects and in a TLS secret.
const CA: &str = "ca.crt";

/// Applies everything: secrets first, then what uses them. `members` keep their pods until they have left the group.
pub async fn apply(kube: &Kube, group: &Group, members: &BTreeSet<ReplicaName>, random: &Random) -> Result<(), Error> {
    if group.pods.admin_generated {
        kube.keep(&resources::admin_secret(group, &random())).await?;
    }
    kube.keep(&resources::operator_secret(group, &random(), &random())).await?;
    if group.pods.tls_secret.is_none() {
        certificates(kube, group).await?;
    }
    for service in resources::services(group) {
        kube.apply(&service).await?;
    }
    kube.apply(&resources::disruption_budget(group)).await?;
    for set in resources::stateful_sets(&with_members(group, members)) {
        kube.apply(&set).await?;
    }
    for set in resources::retired_sets(group, members) {
        kube.remove(&set).await?;
    }
    for (claim, size) in resources::claims(group) {
        // A class that cannot expand must not hold up the rest: the claim says so itself.
        if let Err(Error::Refused(why)) = kube.grow(&group.namespace, &claim, &size).await {
            tracing::warn!(group = %group.name, namespace = group.namespace, why, "volume not grown");
        }
    }
    Ok(())
}

/// A replica that is not wanted any more keeps its pod while it is a member: the set shrinks after it was removed.
fn with_members(group: &Group, members: &BTreeSet<ReplicaName>) -> Group {
    let mut all = group.clone();
    let base = |name: &ReplicaName| name.as_str().rsplit_once('-').map(|(base, _)| base.to_string());
    for member in members.iter().filter(|member| !group.replicas.contains_key(*member)) {
        let mode = group.replicas.iter().find(|(name, _)| base(name) == base(member)).map(|(_, mode)| *mode);
        if let Some(mode) = mode {
            all.replicas.insert(member.clone(), mode);
        }
    }
    all
}

/// Our own CA and the server certificate, each made once.
async fn certificates(kube: &Kube, group: &Group) -> Result<(), Error> {
    let kept = match kube.secret(&group.namespace, &resources::authority_secret_name(group)).await? {
        Some(secret) => read_authority(&secret),
        None => {
            let (made, [secret, _]) = resources::authority(group).map_err(|error| Error::Retry(error.to_string()))?;
            kube.keep(&secret).await?;
            Some(made)
        }
    };
    let Some(authority) = kept else {
        return Err(Error::Refused(format!("Secret {} holds no CA", resources::authority_secret_name(group))));
    };
    kube.apply(&resources::published_authority(group, &authority)).await?;
    let there = kube.secret(&group.namespace, &resources::server_secret_name(group)).await?;
    if there.is_none() {
        let server =
            resources::server_certificate(group, &authority).map_err(|error| Error::Retry(error.to_string()))?;
        kube.keep(&server).await?;
    }
    Ok(())
}

fn read_authority(secret: &BTreeMap<String, Vec<u8>>) -> Option<Authority> {
    Some(Authority { certificate: text(secret, CA)?, key: text(secret, "ca.key")? })
}

/// A value of a Secret, if it is text.
pub fn text(secret: &BTreeMap<String, Vec<u8>>, key: &str) -> Option<String> {
    String::from_utf8(secret.get(key)?.clone()).ok()
}

/// Reads what it takes to be let in. `None`: something is not there yet.
pub async fn access(kube: &Kube, group: &Group) -> Result<Option<Access>, Error> {
    let namespace = &group.namespace;
    let (admin_name, admin_key) = &group.pods.admin_secret;
    let ours = kube.versioned_secret(namespace, &resources::operator_secret_name(group)).await?;
    let admin = kube.versioned_secret(namespace, admin_name).await?;
    let server = kube.secret(namespace, &resources::server_secret_name(group)).await?;
    let (Some((ours, ours_at)), Some((admin, admin_at)), Some(server)) = (ours, admin, server) else { return Ok(None) };
    // A certificate that brings no authority is its own.
    let authorities = server.get(CA).filter(|pem| !pem.is_empty()).or_else(|| server.get("tls.crt")).cloned();
    let mut logins: BTreeMap<LoginName, Secret> = BTreeMap::new();
    let mut version = format!("sa {admin_at}; operator {ours_at}");
    for login in &group.logins {
        let (name, key) = &login.password_secret;
        let Some((secret, at)) = kube.versioned_secret(namespace, name).await? else { continue };
        if let Some(password) = text(&secret, key) {
            logins.insert(login.name.clone(), Secret::new(password));
            version.push_str(&format!("; {} {at}", login.name));
        }
    }
    let password = |secret: &BTreeMap<String, Vec<u8>>, key: &str| text(secret, key).map(Secret::new);
    Ok((|| {
        Some(Access {
            authorities: authorities?.into(),
            look: password(&ours, "look")?,
            act: password(&ours, "act")?,
            admin: password(&admin, admin_key)?,
            logins,
            version,
        })
    })())
}

/// Public certificates of instances, as they are kept. Error: the API server does not answer.
pub async fn kept(kube: &Kube, group: &Group) -> Result<BTreeMap<ReplicaName, String>, Error> {
    let kept = kube.config_map(&group.namespace, &resources::certificates_name(group)).await?;
    Ok(kept.into_iter().filter_map(|(name, hex)| Some((ReplicaName::new(name).ok()?, hex))).collect())
}

/// What the objects of a group are made of, as one text that changes with it.
pub fn fingerprint(group: &Group, members: &BTreeSet<ReplicaName>) -> String {
    let members: Vec<Value> = members.iter().map(|name| Value::from(name.as_str())).collect();
    format!("{}/{}/{}", group.uid, group.generation, Value::from(members))
}
