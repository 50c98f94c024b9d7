//! Setting instances up before they are members: logins, certificates, endpoint, and the exchange of public halves.

use super::{
    diagnose::View,
    observation::{Facts, Observation, Probe, Replica},
    plan::{Plan, Reason, Step},
    promote,
};
use crate::model::ReplicaName;
use std::time::Duration;

/// Steps that bring every answering instance to the point where it can be a member. None while elections run.
pub fn steps(seen: &Observation) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, replica) in seen.replicas.iter().filter(|(_, replica)| replica.wanted) {
        match &replica.probe {
            Probe::LoginRefused => steps.extend(as_admin(replica).then(|| Step::Provision(name.clone()))),
            Probe::Silent { .. } => {}
            Probe::Answered(facts) => steps.extend(instance(seen, name, facts)),
        }
    }
    steps
}

fn instance(seen: &Observation, name: &ReplicaName, facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(own) = &facts.setup.certificate else { return vec![Step::Provision(name.clone())] };
    match facts.setup.endpoint_started {
        None => return vec![Step::Provision(name.clone())],
        Some(false) => steps.push(Step::RestartEndpoint(name.clone())),
        Some(true) => {}
    }
    if seen.certificates.get(name) != Some(own) {
        steps.push(Step::KeepCertificate { replica: name.clone(), certificate: own.clone() });
    }
    steps.extend(imports(seen, name, facts));
    steps
}

/// Public certificates that an instance lacks, or has in an older form. Partners that it denies are to have none there.
fn imports(seen: &Observation, name: &ReplicaName, facts: &Facts) -> Vec<Step> {
    let admin = seen.replicas.get(name).is_some_and(as_admin);
    let partners = seen.replicas.keys().filter(|partner| *partner != name && admin);
    partners.filter_map(|partner| import(seen, name, facts, partner)).collect()
}

fn import(seen: &Observation, name: &ReplicaName, facts: &Facts, partner: &ReplicaName) -> Option<Step> {
    let certificate = certificate_of(seen, partner)?;
    let entry = facts.setup.partners.get(partner);
    let present = entry.and_then(|entry| entry.certificate.as_ref()) == Some(certificate);
    (!present && entry.is_none_or(|entry| entry.admitted)).then(|| Step::ImportPartner {
        replica: name.clone(),
        partner: partner.clone(),
        certificate: certificate.clone(),
    })
}

/// Whether an instance has to import the certificate of a partner before it can talk to it.
pub fn is_stranger(seen: &Observation, name: &ReplicaName, partner: &ReplicaName) -> bool {
    seen.facts(name).is_some_and(|facts| import(seen, name, facts, partner).is_some())
}

/// Certificates of partners that are admitted again, on every instance that answers: elections need them before the next
/// ordinary pass.
pub fn exchange(seen: &Observation) -> Vec<Step> {
    let answering = seen.replicas.iter().filter_map(|(name, replica)| Some((name, replica.facts()?)));
    answering.flat_map(|(name, facts)| imports(seen, name, facts)).collect()
}

/// An instance that starts for the first time refuses `sa` for some seconds, until its setup has set the password.
const FIRST_START: Duration = Duration::from_secs(30);
/// One that refuses it for longer is left alone for so long: each attempt is a line in its error log.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

fn as_admin(replica: &Replica) -> bool {
    replica.admin_refused.is_none_or(|refusal| refusal.lasting < FIRST_START || refusal.asked >= ASKED_AGAIN)
}

/// The next instance whose endpoint certificate is older than the wish: one at a time, the primary last, and only while
/// everybody is connected and knows the certificate of everybody.
pub fn rotate(view: &View<'_>) -> Vec<Step> {
    let (seen, primary) = (view.seen, &view.record.primary);
    let Some(word) = seen.group.certificate_rotation.as_ref().filter(|_| seen.upgrade.is_none()) else { return vec![] };
    let wanted = seen.replicas.iter().filter(|(_, replica)| replica.wanted);
    let old = |name: &&ReplicaName| seen.facts(name).is_some_and(|facts| facts.setup.rotation != *word);
    let names: Vec<_> = wanted.map(|(name, _)| name).collect();
    let connected = |name: &&ReplicaName| **name == *primary || promote::is_following(view, name, primary);
    if !complete(seen) || !names.iter().all(connected) {
        return vec![];
    }
    let may = |name: &&ReplicaName| seen.replicas.get(*name).is_some_and(as_admin);
    let next = names.iter().copied().filter(old).filter(may).min_by_key(|name| (*name == primary, name.ordinal()));
    let Some(next) = next else { return vec![] };
    let message = format!("{next} makes itself another endpoint certificate, for {word}; its partners import it");
    vec![Step::RotateCertificate(next.clone()), Step::Announce { reason: Reason::CertificateReplaced, message }]
}

/// Instances that let none of our logins in are set up again, whatever else goes on: the logins were changed, or are new.
pub fn let_in(seen: &Observation, plan: Plan) -> Plan {
    let refused = seen.replicas.iter().filter(|(_, replica)| replica.wanted && replica.probe == Probe::LoginRefused);
    let steps = refused.filter(|(_, replica)| as_admin(replica)).map(|(name, _)| Step::Provision(name.clone()));
    let steps: Vec<_> = steps.filter(|step| !plan.steps().any(|known| known == step)).collect();
    plan.wave(steps)
}

/// Instances that were told other passwords than the Secrets hold now.
pub fn passwords(seen: &Observation) -> Vec<Step> {
    let version = &seen.passwords;
    let others = seen.replicas.iter().filter(|(_, replica)| {
        let told = replica.facts().filter(|facts| facts.group.is_some()).map(|facts| &facts.stored.passwords);
        replica.wanted && as_admin(replica) && told.is_some_and(|told| told.as_ref() != Some(version))
    });
    if version.is_empty() {
        return vec![];
    }
    others.map(|(name, _)| Step::SetPasswords { replica: name.clone(), version: version.clone() }).collect()
}

/// Instances that refuse the password of `sa` which they need, with the way out.
pub fn refused(seen: &Observation) -> Option<(Reason, String)> {
    let refused: Vec<_> = seen
        .replicas
        .iter()
        .filter(|(_, replica)| replica.admin_refused.is_some_and(|refusal| refusal.lasting >= FIRST_START))
        .map(|(name, _)| name.as_str())
        .collect();
    let (secret, key) = &seen.group.pods.admin_secret;
    (!refused.is_empty()).then(|| {
        let message = format!(
            "{} refuses the password of sa in Secret {secret}, key {key}: it was changed while the operator or the replica \
             was away, or on the instance alone; to go on: put the password that the instance has into the Secret (and \
             change it once the group is ready), or say ALTER LOGIN [sa] WITH PASSWORD there",
            refused.join(", ")
        );
        (Reason::CredentialsRefused, message)
    })
}

/// A partner's public certificate: its own word, else what was kept.
fn certificate_of<'a>(seen: &'a Observation, partner: &ReplicaName) -> Option<&'a String> {
    let own = seen.facts(partner).and_then(|facts| facts.setup.certificate.as_ref());
    own.or_else(|| seen.certificates.get(partner))
}

/// Whether an answering instance has its certificate, its endpoint and every known partner.
pub fn ready(seen: &Observation, name: &ReplicaName) -> bool {
    seen.facts(name).is_some_and(|facts| {
        facts.setup.certificate.is_some()
            && facts.setup.endpoint_started == Some(true)
            && instance(seen, name, facts).is_empty()
    })
}

/// Whether every wanted instance is ready.
pub fn complete(seen: &Observation) -> bool {
    seen.replicas.iter().filter(|(_, replica)| replica.wanted).all(|(name, _)| ready(seen, name))
}

/// A primary admits every partner.
pub fn admit_all(seen: &Observation, primary: &ReplicaName) -> Option<Step> {
    let facts = seen.facts(primary)?;
    let denied = facts.setup.partners.values().any(|partner| !partner.admitted);
    denied.then(|| Step::AdmitAll(primary.clone()))
}
