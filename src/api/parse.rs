//! From spec to model, once: whatever cannot be is refused here with the field, what is wrong and what to do.

mod names;
mod pods;
mod upgrade;

pub use upgrade::parse_upgrade;

use super::v1alpha1::{AvailabilityGroup, AvailabilityGroupSpec, availability_group as spec, status::Effective};
use crate::model::{
    Database, DatabaseName, FailoverMode, Group, GroupName, Login, LoginName, Management, Mode, ReplicaName,
    SecondaryConnections,
    group::{Failover, Pods, ServiceSettings},
    quorum,
};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Collation of the instances unless said; SQL Server's own default on Linux.
pub const DEFAULT_COLLATION: &str = "SQL_Latin1_General_CP1_CI_AS";
/// Silence before a primary is suspected, seconds, unless said.
pub const SUSPECT_AFTER_SECONDS: i32 = 3;
/// Least time between two unplanned failovers, seconds, unless said.
pub const MINIMUM_INTERVAL_SECONDS: i32 = 60;
/// Longest name of a group: the longest name made of it, a pod's label, still fits.
pub const LONGEST_NAME: usize = 40;
/// Most replicas with data; SQL Server's limit.
const MOST_DATA_REPLICAS: i64 = 9;

/// One thing that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field, as in a manifest: `spec.synchronous.replicas`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.field, self.message, self.remedy)
    }
}

/// Everything that cannot be; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, refusal) in self.0.iter().enumerate() {
            write!(f, "{}{refusal}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusals {}

/// Collects refusals while parsing goes on, so that a person sees all of them at once.
#[derive(Default)]
struct Court(Vec<Refusal>);

impl Court {
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Refusal { field: field.into(), message: message.into(), remedy: remedy.into() });
    }

    fn require(&mut self, good: bool, field: &str, message: &str, remedy: &str) {
        if !good {
            self.refuse(field, message, remedy);
        }
    }
}

/// Reads a group. `prepare_image` is the image that holds `quorate prepare`: our own.
///
/// Errors: everything in the spec that cannot be, all at once.
pub fn parse(object: &AvailabilityGroup, prepare_image: &str) -> Result<Group, Refusals> {
    let mut court = Court::default();
    let spec = &object.spec;
    let name = names::group(&mut court, object.metadata.name.as_deref().unwrap_or_default());
    court.require(
        spec.accept_eula,
        "spec.acceptEula",
        "must be true",
        "read the licence terms of SQL Server and accept them",
    );
    check_counts(&mut court, spec);
    let group = name.map(|name| Group {
        replicas: replicas(&name, spec),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        commit_quorum: spec.required_synchronized_secondaries_to_commit.and_then(|value| u32::try_from(value).ok()),
        databases: databases(&mut court, spec),
        logins: logins(&mut court, spec),
        secondary_connections: match spec.secondary_connections {
            // The secondary of a basic group cannot be read.
            None if is_standard(spec) => SecondaryConnections::No,
            None | Some(spec::SecondaryConnections::All) => SecondaryConnections::All,
            Some(spec::SecondaryConnections::ReadIntentOnly) => SecondaryConnections::ReadIntentOnly,
            Some(spec::SecondaryConnections::No) => SecondaryConnections::No,
        },
        failover: failover(&mut court, spec),
        certificate_rotation: names::certificate_rotation(&mut court, spec.certificate_rotation.as_deref()),
        paused: spec.paused.unwrap_or_default(),
        pods: pods(&mut court, spec, &name, prepare_image),
        name,
    });
    match group {
        Some(group) if court.0.is_empty() => Ok(group),
        _ => Err(Refusals(court.0)),
    }
}

/// Every value of a group that was computed or defaulted, as its status shows it.
pub fn effective(group: &Group) -> Effective {
    let quorum = group.wanted_commit_quorum();
    let pods = &group.pods;
    let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
    Effective {
        required_synchronized_secondaries_to_commit: i32::try_from(quorum.value).unwrap_or(i32::MAX),
        required_synchronized_secondaries_to_commit_computed: quorum.computed,
        edition: pods.edition.clone(),
        configuration_only_edition: pods
            .by_mode
            .contains_key(&Mode::ConfigurationOnly)
            .then(|| pods.configuration_only_edition.clone()),
        collation: pods.collation.clone(),
        secondary_connections: format!("{:?}", group.secondary_connections),
        failover_mode: format!("{:?}", group.failover.mode),
        suspect_after_seconds: seconds(group.failover.suspect_after),
        minimum_interval_seconds: seconds(group.failover.minimum_interval),
        admin_secret: format!("{}/{}", pods.admin_secret.0, pods.admin_secret.1),
        tls_secret: pods.tls_secret.clone().unwrap_or_else(|| format!("{}-tls", group.name)),
        memory_limit_mib: pods
            .by_mode
            .iter()
            .map(|(mode, settings)| {
                (format!("{mode:?}"), i64::try_from(settings.server_memory_mib()).unwrap_or(i64::MAX))
            })
            .collect(),
        deletion_policy: if pods.delete_volumes { "Delete" } else { "Retain" }.into(),
    }
}

/// Replicas asked for: synchronous, asynchronous, configuration-only.
fn counts(spec: &AvailabilityGroupSpec) -> (i64, i64, i64) {
    let asynchronous = spec.asynchronous.as_ref().map_or(0, |block| block.replicas);
    let configuration_only = spec.configuration_only.as_ref().map_or(0, |block| block.replicas);
    (spec.synchronous.replicas.into(), asynchronous.into(), configuration_only.into())
}

fn check_counts(court: &mut Court, spec: &AvailabilityGroupSpec) {
    let (s, a, c) = counts(spec);
    let data = s + a;
    court.require(
        s >= 1,
        "spec.synchronous.replicas",
        "must be at least 1",
        "set it to 3 for automatic failover without loss",
    );
    court.require(a >= 0, "spec.asynchronous.replicas", "must not be negative", "set it to 0 or more");
    court.require(
        (0..=1).contains(&c),
        "spec.configurationOnly.replicas",
        "must be 0 or 1",
        "set it to 1: SQL Server allows one",
    );
    court.require(
        data >= 2,
        "spec.synchronous.replicas",
        "and spec.asynchronous.replicas together must be at least 2: a primary needs a secondary that holds data",
        "add a synchronous replica",
    );
    court.require(
        data <= MOST_DATA_REPLICAS,
        "spec.synchronous.replicas",
        "and spec.asynchronous.replicas together must be at most 9",
        "remove replicas",
    );
    if is_standard(spec) {
        check_basic(court, spec, data);
    }
    if let Some(value) = spec.required_synchronized_secondaries_to_commit {
        let most = i64::from(quorum::largest_commit_quorum(u32::try_from(s).unwrap_or(0)));
        court.require(
            (0..=most).contains(&i64::from(value)),
            "spec.requiredSynchronizedSecondariesToCommit",
            &format!("is {value} and must be from 0 to {most}, one less than spec.synchronous.replicas"),
            "lower it, or leave it out to have it computed",
        );
    }
}

fn is_standard(spec: &AvailabilityGroupSpec) -> bool {
    crate::model::group::is_standard(spec.edition.unwrap_or_default().as_str())
}

/// Standard has basic availability groups only (SQL Server docs, "Basic availability groups for a single database").
fn check_basic(court: &mut Court, spec: &AvailabilityGroupSpec, data: i64) {
    court.require(
        data <= 2,
        "spec.edition",
        "Standard allows 2 data replicas, and a configuration-only one beside them",
        "remove replicas or set it to Enterprise",
    );
    court.require(
        spec.databases.len() <= 1,
        "spec.databases",
        "must hold one database with edition Standard",
        "make a group for each database, or set spec.edition to Enterprise",
    );
    court.require(
        matches!(spec.secondary_connections, None | Some(spec::SecondaryConnections::No)),
        "spec.secondaryConnections",
        "must be No with edition Standard, whose secondaries cannot be read",
        "leave it out, or set spec.edition to Enterprise",
    );
}

/// Replicas by name: `<name>-0..`, `<name>-a-0..`, `<name>-c-0`.
fn replicas(name: &GroupName, spec: &AvailabilityGroupSpec) -> BTreeMap<ReplicaName, Mode> {
    let (s, a, c) = counts(spec);
    let sets = [(s, Mode::Synchronous), (a, Mode::Asynchronous), (c, Mode::ConfigurationOnly)];
    sets.into_iter()
        .flat_map(|(count, mode)| (0..count.clamp(0, MOST_DATA_REPLICAS)).map(move |ordinal| (ordinal, mode)))
        .filter_map(|(ordinal, mode)| {
            let text = format!("{}-{ordinal}", crate::model::group::set_name(name, mode));
            Some((ReplicaName::new(text).ok()?, mode))
        })
        .collect()
}

fn databases(court: &mut Court, spec: &AvailabilityGroupSpec) -> Vec<Database> {
    let mut found: Vec<Database> = Vec::new();
    for (i, database) in spec.databases.iter().enumerate() {
        let field = format!("spec.databases[{i}].name");
        let Some(name) = names::database(court, &field, &database.name) else { continue };
        if found.iter().any(|other| other.name.as_str().eq_ignore_ascii_case(name.as_str())) {
            court.refuse(field, format!("{name:?} is there twice"), "remove one; upper and lower case are the same");
            continue;
        }
        let management = match database.management.unwrap_or_default() {
            spec::Management::Managed => Management::Managed,
            spec::Management::Ignore => Management::Ignore,
        };
        found.push(Database { name, management });
    }
    found
}

fn logins(court: &mut Court, spec: &AvailabilityGroupSpec) -> Vec<Login> {
    let mut found: Vec<Login> = Vec::new();
    for (i, login) in spec.logins.iter().enumerate() {
        let at = format!("spec.logins[{i}]");
        let Some(name) = names::login(court, &format!("{at}.name"), &login.name) else { continue };
        if found.iter().any(|other| other.name.as_str().eq_ignore_ascii_case(name.as_str())) {
            court.refuse(format!("{at}.name"), format!("{name:?} is there twice"), "remove one");
            continue;
        }
        let password_secret = names::secret_key(court, &format!("{at}.passwordSecret"), &login.password_secret);
        found.push(Login { name, password_secret, databases: login_databases(court, &at, spec, login) });
    }
    found
}

fn login_databases(
    court: &mut Court,
    at: &str,
    spec: &AvailabilityGroupSpec,
    login: &spec::Login,
) -> BTreeMap<DatabaseName, Vec<String>> {
    let mut found = BTreeMap::new();
    for (i, database) in login.databases.iter().enumerate() {
        let field = format!("{at}.databases[{i}]");
        let listed = spec.databases.iter().any(|known| known.name == database.name);
        court.require(
            listed,
            &format!("{field}.name"),
            "is not one of spec.databases",
            "add it there, or remove it here",
        );
        let Some(name) = names::database(court, &format!("{field}.name"), &database.name) else { continue };
        let roles: Vec<String> = database
            .roles
            .iter()
            .filter_map(|role| LoginName::new(role.clone()).ok())
            .map(|role| role.as_str().to_owned())
            .collect();
        court.require(
            roles.len() == database.roles.len(),
            &format!("{field}.roles"),
            "must be names of 1 to 128 characters without control characters",
            "correct them",
        );
        found.insert(name, roles);
    }
    found
}

fn failover(court: &mut Court, spec: &AvailabilityGroupSpec) -> Failover {
    let policy = spec.failover.clone().unwrap_or_default();
    let suspect = policy.suspect_after_seconds.unwrap_or(SUSPECT_AFTER_SECONDS);
    let interval = policy.minimum_interval_seconds.unwrap_or(MINIMUM_INTERVAL_SECONDS);
    court.require(
        (1..=600).contains(&suspect),
        "spec.failover.suspectAfterSeconds",
        "must be from 1 to 600",
        "leave it out for 3",
    );
    court.require(
        (0..=86_400).contains(&interval),
        "spec.failover.minimumIntervalSeconds",
        "must be from 0 to 86400",
        "leave it out for 60",
    );
    let seconds = |value: i32| Duration::from_secs(u64::try_from(value).unwrap_or(0));
    Failover {
        mode: match policy.mode.unwrap_or_default() {
            spec::FailoverMode::Automatic => FailoverMode::Automatic,
            spec::FailoverMode::RequireCommitQuorum => FailoverMode::RequireCommitQuorum,
            spec::FailoverMode::Manual => FailoverMode::Manual,
        },
        suspect_after: seconds(suspect),
        minimum_interval: seconds(interval),
    }
}

fn pods(court: &mut Court, spec: &AvailabilityGroupSpec, name: &GroupName, prepare_image: &str) -> Pods {
    let image = spec.image.trim();
    court.require(
        !image.is_empty() && image.len() <= 512 && !image.contains(char::is_whitespace),
        "spec.image",
        "must be the name of an image, without spaces",
        "set it to an image of SQL Server with a fixed tag",
    );
    let services = spec.services.clone().unwrap_or_default();
    let service = |settings: Option<super::v1alpha1::pods::ServiceSettings>| {
        let settings = settings.unwrap_or_default();
        ServiceSettings { kind: settings.type_.map(|kind| format!("{kind:?}")), annotations: settings.annotations }
    };
    let tls_secret = spec.tls.as_ref().and_then(|tls| tls.secret_name.clone()).filter(|name| !name.is_empty());
    let edition = spec.configuration_only.as_ref().and_then(|block| block.edition).unwrap_or_default();
    Pods {
        image: image.to_owned(),
        prepare_image: prepare_image.to_owned(),
        edition: spec.edition.unwrap_or_default().as_str().to_owned(),
        configuration_only_edition: edition.as_str().to_owned(),
        collation: names::collation(court, spec.collation.as_deref().unwrap_or(DEFAULT_COLLATION)),
        configuration: names::configuration(court, &spec.configuration),
        admin_secret: match &spec.admin_secret {
            Some(secret) => names::secret_key(court, "spec.adminSecret", secret),
            None => (format!("{name}-admin"), "password".into()),
        },
        admin_generated: spec.admin_secret.is_none(),
        tls_secret,
        by_mode: pods::by_mode(court, spec),
        delete_volumes: spec.storage.deletion_policy.unwrap_or_default()
            == super::v1alpha1::pods::DeletionPolicy::Delete,
        read_write: service(services.read_write),
        read_only: service(services.read_only),
    }
}

#[cfg(test)]
#[path = "parse/tests.rs"]
mod tests;
