//! What the running instances cannot do (product.md, "What is refused, and where"): facts that no schema knows.

use super::{
    observation::{Facts, Observation, Server},
    plan::Reason,
};
use crate::model::{Mode, ReplicaName};

/// First build with configuration-only replicas: 2017 CU1.
const CONFIGURATION_ONLY: [u32; 3] = [14, 0, 3006];
/// Editions without availability groups; Express may be a configuration-only replica.
const WITHOUT_GROUPS: [&str; 2] = ["Express", "Web"];

/// The first requirement that wanted instances do not meet, with the way out.
pub fn unmet(seen: &Observation) -> Option<(Reason, String)> {
    let wanted = || seen.replicas.iter().filter(|(_, replica)| replica.wanted);
    let mut problems = wanted().filter_map(|(name, replica)| {
        let server = &replica.facts()?.server;
        alone(name, replica.mode, server)
            .or_else(|| beside_configuration_only(seen, name, server))
            .or_else(|| too_many_synchronous(seen.group.synchronous(), name, server))
    });
    let problem = problems.next().or_else(|| other_version(seen)).or_else(|| basic(seen));
    problem.map(|message| (Reason::Unsupported, message))
}

fn alone(name: &ReplicaName, mode: Mode, server: &Server) -> Option<String> {
    if !server.hadr_enabled {
        return Some(format!(
            "{name} runs without Always On (IsHadrEnabled is 0): its mssql.conf is not the one that the init container \
             wrote; to go on: delete the pod"
        ));
    }
    let edition = WITHOUT_GROUPS.iter().find(|edition| server.edition.starts_with(**edition))?;
    mode.holds_data().then(|| {
        format!(
            "{name} runs {edition}, which has no availability groups; to go on: set spec.edition, then delete the pod"
        )
    })
}

fn beside_configuration_only(seen: &Observation, name: &ReplicaName, server: &Server) -> Option<String> {
    let wanted = seen.group.replicas.values().any(|mode| *mode == Mode::ConfigurationOnly);
    let old = version(server).is_some_and(|version| version < CONFIGURATION_ONLY);
    (wanted && old).then(|| {
        format!(
            "{name} runs {}: configuration-only replicas need 14.0.3006 (2017 CU1) or later on every replica; to go on: set \
             a later spec.image, then delete the pods, or take spec.configurationOnly out",
            server.version
        )
    })
}

/// SQL Server docs, "Availability modes": three synchronous replicas in 2017, five from 2019 on (error 35212).
fn too_many_synchronous(wanted: u32, name: &ReplicaName, server: &Server) -> Option<String> {
    let [major, ..] = version(server)?;
    let most = if major < 15 { 3 } else { 5 };
    (wanted > most).then(|| {
        format!(
            "{name} runs {}, which allows {most} synchronous replicas, and spec.synchronous.replicas is {wanted}; to go on: \
             set it to {most}, and spec.asynchronous.replicas for more copies",
            server.version
        )
    })
}

/// Standard has basic groups only, and a basic group stays one: two replicas with data, one database (errors 35223, 35200).
fn basic(seen: &Observation) -> Option<String> {
    let data = seen.group.replicas.values().filter(|mode| mode.holds_data()).count();
    let databases = seen.group.databases.len();
    if data <= 2 && databases <= 1 {
        return None;
    }
    let wanted = format!("{data} replicas with data and {databases} databases are asked for");
    if let Some((name, _, _)) = seen.members().find(|(_, _, group)| group.basic) {
        return Some(format!(
            "{name} belongs to a basic availability group, made with edition Standard, which holds two replicas with data \
             and one database and stays so; {wanted}; to go on: make another group and move the database"
        ));
    }
    let standard = |facts: &Facts| facts.server.edition.starts_with("Standard");
    let mut replicas = seen.replicas.iter().filter(|(_, replica)| replica.wanted && replica.mode.holds_data());
    let (name, _) = replicas.find(|(_, replica)| replica.facts().is_some_and(standard))?;
    Some(format!(
        "{name} runs Standard, whose groups hold two replicas with data and one database; {wanted}; to go on: delete the \
         pod, which then runs {}",
        seen.group.pods.edition
    ))
}

/// Instances that are to become members of one group have one major version: only a rolling upgrade of members mixes them.
fn other_version(seen: &Observation) -> Option<String> {
    let primary = seen.record.as_ref().map(|record| &record.primary).or(seen.group.first());
    let (leader, major) = primary.and_then(|name| seen.facts(name)).and_then(|facts| Some((facts, major(facts)?)))?;
    let newcomers = seen.replicas.iter().filter(|(_, replica)| replica.wanted).filter_map(|(name, replica)| {
        let facts = replica.facts().filter(|facts| facts.group.is_none())?;
        Some((name, facts))
    });
    let mut others = newcomers.filter(|(_, facts)| self::major(facts).is_some_and(|other| other != major));
    others.next().map(|(name, facts)| {
        format!(
            "{name} runs {}, the group {}: a replica of another major version cannot be added; to go on: one spec.image for \
             all, then delete the pod",
            facts.server.version, leader.server.version
        )
    })
}

fn version(server: &Server) -> Option<[u32; 3]> {
    let mut parts = server.version.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

fn major(facts: &Facts) -> Option<u32> {
    version(&facts.server).map(|[major, ..]| major)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, edition: &str, hadr_enabled: bool) -> Server {
        Server { version: version.into(), edition: edition.into(), hadr_enabled, ..Server::default() }
    }

    #[test]
    fn an_instance_without_always_on_or_groups_is_named_with_its_remedy() {
        let name = ReplicaName::new("orders-1").unwrap();
        let table = [
            (server("16.0.4225.2", "Developer Edition (64-bit)", true), Mode::Synchronous, None),
            (server("16.0.4225.2", "Developer Edition (64-bit)", false), Mode::Synchronous, Some("IsHadrEnabled is 0")),
            (server("16.0.4225.2", "Express Edition (64-bit)", true), Mode::Asynchronous, Some("runs Express")),
            (server("16.0.4225.2", "Web Edition (64-bit)", true), Mode::Synchronous, Some("runs Web")),
            (server("16.0.4225.2", "Express Edition (64-bit)", true), Mode::ConfigurationOnly, None),
        ];
        for (server, mode, wanted) in table {
            let told = alone(&name, mode, &server);
            assert_eq!(told.is_some(), wanted.is_some(), "{server:?}");
            assert!(wanted.is_none_or(|wanted| told.unwrap().contains(wanted)), "{server:?}");
        }
    }

    #[test]
    fn a_version_with_fewer_synchronous_replicas_than_asked_for_is_named() {
        let name = ReplicaName::new("orders-1").unwrap();
        let table =
            [("14.0.3456.2", 3, false), ("14.0.3456.2", 4, true), ("15.0.4385.2", 5, false), ("17.0.1000.7", 6, true)];
        for (version, wanted, refused) in table {
            let told = too_many_synchronous(wanted, &name, &server(version, "", true));
            assert_eq!(told.is_some(), refused, "{version} {wanted}: {told:?}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        let of = |text: &str| version(&server(text, "", true));
        assert!(of("14.0.900.75").unwrap() < CONFIGURATION_ONLY && of("14.0.3006.16").unwrap() >= CONFIGURATION_ONLY);
        assert_eq!(of("17.0.1000.7"), Some([17, 0, 1000]));
        assert_eq!((of(""), of("16"), of("x.y.z")), (None, None, None));
    }
}
