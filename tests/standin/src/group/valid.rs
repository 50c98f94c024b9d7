//! What CREATE, ADD and MODIFY must satisfy.

use super::config::{Config, ReplicaConfig};
use crate::{
    ddl::ReplicaOptions,
    errors::{Message, SqlResult},
    instance::Shared,
};
use std::sync::Arc;

/// A replica as CREATE or ADD REPLICA describes it.
pub fn replica_config(
    shared: &Arc<Shared>,
    group: &str,
    name: &str,
    options: &ReplicaOptions,
) -> SqlResult<ReplicaConfig> {
    let mode = availability_mode(name, options)?;
    let Some(endpoint_url) = options.endpoint_url.clone() else {
        return Err(Message::new(
            35_236,
            15,
            format!("The endpoint URL has not been specified for the availability replica '{name}'."),
        ));
    };
    if mode == 4 {
        only_configuration(name, options)?;
    } else {
        external_failover(group, name, options)?;
    }
    let session_timeout = options.session_timeout.unwrap_or(10);
    check_timeout(name, session_timeout)?;
    Ok(ReplicaConfig {
        id: shared.uuid(),
        endpoint_url,
        availability_mode: mode,
        failover_mode: 2,
        seeding_mode: u8::from(options.seeding_mode.as_deref() != Some("AUTOMATIC")),
        session_timeout,
        backup_priority: options.backup_priority.unwrap_or(50),
        secondary_connections: connections(options.secondary_connections.as_deref()).unwrap_or(0),
        primary_connections: if options.primary_connections.as_deref() == Some("READ_WRITE") { 3 } else { 2 },
        read_only_routing_url: options.read_only_routing_url.clone(),
        read_write_routing_url: options.read_write_routing_url.clone(),
        read_only_routing_list: options.read_only_routing_list.clone().unwrap_or_default(),
        joined: false,
    })
}

/// 41196
fn availability_mode(name: &str, options: &ReplicaOptions) -> SqlResult<u8> {
    match options.availability_mode.as_deref() {
        Some("SYNCHRONOUS_COMMIT") => Ok(1),
        Some("ASYNCHRONOUS_COMMIT") => Ok(0),
        Some("CONFIGURATION_ONLY") => Ok(4),
        _ => Err(Message::new(
            41_196,
            16,
            format!(
                "Failed to create availability replica '{name}': the option AVAILABILITY_MODE is missing or not valid."
            ),
        )),
    }
}

/// 47110: a configuration-only replica takes no options of a database.
fn only_configuration(name: &str, options: &ReplicaOptions) -> SqlResult<()> {
    let given = [
        (options.failover_mode.is_some(), "FAILOVER_MODE"),
        (options.seeding_mode.is_some(), "SEEDING_MODE"),
        (options.secondary_connections.is_some(), "SECONDARY_ROLE"),
        (options.backup_priority.is_some(), "BACKUP_PRIORITY"),
    ];
    let Some((_, option)) = given.into_iter().find(|(given, _)| *given) else { return Ok(()) };
    Err(Message::new(
        47_110,
        15,
        format!(
            "The '{option}' option is not valid for the '{name}' replica as it is a configuration-only. Remove this option, then retry the operation"
        ),
    ))
}

/// 41197, 47102
fn external_failover(group: &str, name: &str, options: &ReplicaOptions) -> SqlResult<()> {
    match options.failover_mode.as_deref() {
        Some("EXTERNAL") => Ok(()),
        Some(_) => Err(Message::new(
            47_102,
            16,
            format!("The cluster type of availability group '{group}' only supports EXTERNAL failover mode."),
        )),
        None => Err(Message::new(
            41_197,
            15,
            format!(
                "The FAILOVER_MODE option has not been specified for the replica '{name}'. Reenter the command, specifying a failover mode for the replica."
            ),
        )),
    }
}

/// `ALLOW_CONNECTIONS` as a number.
pub fn connections(word: Option<&str>) -> Option<u8> {
    match word? {
        "NO" => Some(0),
        "READ_ONLY" => Some(1),
        _ => Some(2),
    }
}

/// 35214
pub fn check_timeout(name: &str, seconds: i64) -> SqlResult<()> {
    if seconds >= 5 {
        return Ok(());
    }
    Err(Message::new(
        35_214,
        16,
        format!(
            "The {seconds} second session timeout of availability replica '{name}' is smaller than the minimum of 5 seconds."
        ),
    ))
}

/// 41199: Express and Web have no availability groups, Standard has basic ones only (SQL Server docs, "Editions and
/// supported features", "Basic availability groups for a single database").
pub fn edition(shared: &Arc<Shared>, basic: bool) -> SqlResult<()> {
    let edition = shared.config.edition.as_str();
    let without = ["Express", "Web"].iter().any(|word| edition.starts_with(word));
    if without || (edition.starts_with("Standard") && !basic) { Err(not_in_this_edition("non-basic")) } else { Ok(()) }
}

fn not_in_this_edition(feature: &str) -> Message {
    Message::new(
        41_199,
        16,
        format!(
            "The specified command is invalid because the Always On Availability Groups {feature} feature is not supported by this edition of SQL Server. For information about features supported by the editions of SQL Server, see SQL Server Books Online."
        ),
    )
    .state(8)
}

/// 35233 and 35223: two replicas with data in a basic group, nine in any other; a configuration-only one does not count.
fn replicas_allowed(config: &Config, operation: &str) -> SqlResult<()> {
    let (most, kind) = if config.basic { (2, "with basic functionality") } else { (9, "") };
    let data = config.replicas.values().filter(|replica| replica.holds_data()).count();
    if data <= most {
        return Ok(());
    }
    if operation == "CREATE AVAILABILITY GROUP" {
        let text = format!(
            "Cannot create an availability group containing {data} availability replica(s). The maximum number of availability replicas in an availability group {kind} is {most}. Reenter your CREATE AVAILABILITY GROUP command specifying fewer availability replicas."
        );
        return Err(Message::new(35_233, 16, text));
    }
    let text = format!(
        "Cannot add 1 availability replica(s) to availability group '{}'. The availability group already contains {} replica(s), and the maximum number of replicas supported in an availability group is {most}.",
        config.name,
        data - 1
    );
    Err(Message::new(35_223, 16, text))
}

/// 35212: three synchronous replicas in 2017, five from 2019 on (SQL Server docs, "Availability modes", by version).
fn synchronous_allowed(version: &str, config: &Config, operation: &str, synchronous: i64) -> SqlResult<()> {
    let most = if version.starts_with("14.") { 3 } else { 5 };
    if synchronous <= most {
        return Ok(());
    }
    let text = format!(
        "The {operation} operation is not allowed by the current availability group configuration. This operation would exceed the maximum number of {most} synchronous-commit availability replicas in availability group '{}'. Change one of the existing synchronous-commit replicas to the asynchronous-commit availability mode, and retry the operation.",
        config.name
    );
    Err(Message::new(35_212, 16, text))
}

/// 41199: the secondary of a basic group is not readable, and backups are taken on the primary.
fn basic_allowed(config: &Config) -> SqlResult<()> {
    let readable = |replica: &ReplicaConfig| replica.holds_data() && replica.secondary_connections != 0;
    if config.basic && config.replicas.values().any(readable) {
        return Err(not_in_this_edition("allow_connections"));
    }
    if config.basic && config.automated_backup_preference != 0 {
        return Err(not_in_this_edition("automated_backup_preference"));
    }
    Ok(())
}

/// What every configuration must satisfy.
pub fn check(shared: &Arc<Shared>, config: &Config, operation: &str) -> SqlResult<()> {
    replicas_allowed(config, operation)?;
    basic_allowed(config)?;
    let synchronous = config.replicas.values().filter(|replica| replica.availability_mode == 1).count() as i64;
    synchronous_allowed(&shared.config.version, config, operation, synchronous)?;
    let witnesses = config.replicas.values().filter(|replica| replica.availability_mode == 4).count();
    if witnesses > 1 {
        return Err(Message::new(
            47_107,
            16,
            format!(
                "The {operation} operation is not allowed by the current availability group configuration. The availability group '{}' only supports one replica which has configuration-only availability mode. Verify that the specified availability replica availability mode is correct, then retry the operation.",
                config.name
            ),
        ));
    }
    let strict = !shared.faults.get().commit_quorum_beside_configuration_only;
    if witnesses == 1 && strict && (config.commit_quorum > 0 || synchronous > 2) {
        return Err(Message::new(
            47_108,
            16,
            format!(
                "The {operation} operation is not allowed by the current availability group configuration. The availability group '{}' only supports two synchronous mode replicas and required_synchronized_secondaries_to_commit is zero when configuration-only mode replica is specified. Verify that the specified availability replica availability mode is correct, then retry the operation.",
                config.name
            ),
        ));
    }
    if config.commit_quorum > (synchronous - 1).max(0) {
        return Err(Message::new(
            35_248,
            16,
            format!(
                "The {operation} operation is not allowed by the current availability group configuration. The required_synchronized_secondaries_to_commit {} is greater than the {} possible secondary synchronous-commit availability replicas in availability group '{}'. Verify that the specified availability replica availability mode is correct, then retry the operation.",
                config.commit_quorum,
                synchronous - 1,
                config.name
            ),
        ));
    }
    Ok(())
}
