//! Setting instances up before they are members: logins, certificates, endpoint, and the exchange of public halves.

use super::{
    observation::{Facts, Observation, Probe},
    plan::Step,
};
use crate::model::ReplicaName;

/// Steps that bring every answering instance to the point where it can be a member. None while elections run.
pub fn steps(seen: &Observation) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, replica) in seen.replicas.iter().filter(|(_, replica)| replica.wanted) {
        match &replica.probe {
            Probe::LoginRefused => steps.push(Step::Provision(name.clone())),
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
    let partners = seen.replicas.keys().filter(|partner| *partner != name);
    partners.filter_map(|partner| import(seen, name, facts, partner)).collect()
}

fn import(seen: &Observation, name: &ReplicaName, facts: &Facts, partner: &ReplicaName) -> Option<Step> {
    let certificate = certificate_of(seen, partner)?;
    let entry = facts.setup.partners.get(partner);
    let present = entry.and_then(|entry| entry.certificate.as_ref()) == Some(certificate);
    let (replica, partner, certificate) = (name.clone(), partner.clone(), certificate.clone());
    (!present && entry.is_none_or(|entry| entry.admitted)).then_some(Step::ImportPartner {
        replica,
        partner,
        certificate,
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
