//! Membership and options of the group.

use super::{
    Batch, Context, Login,
    role::{epoch_not_newer, in_turn},
};
use crate::model::{Mode, ReplicaName, name::literal};

/// CREATE AVAILABILITY GROUP on the first primary, with commit quorum 0.
pub(super) fn create(members: &[(ReplicaName, Mode)], context: &Context<'_>) -> Vec<Batch> {
    let group = &context.group.name;
    let replicas: Vec<_> = members.iter().map(|(name, mode)| replica(name, *mode, context)).collect();
    let basic = if context.group.is_basic() { "BASIC, " } else { "" };
    let create = format!(
        "\
IF NOT EXISTS (SELECT 1 FROM sys.availability_groups AS g WHERE g.name = {})
CREATE AVAILABILITY GROUP {}
WITH ({basic}CLUSTER_TYPE = EXTERNAL, DB_FAILOVER = ON, REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT = 0)
FOR REPLICA ON
    {};",
        group.literal(),
        group.quoted(),
        replicas.join(",\n    ")
    );
    vec![Batch::new(Login::Admin, create).within(30), grant_create_any_database(context)]
}

/// JOIN, then GRANT CREATE ANY DATABASE where it holds data.
pub(super) fn join(holds_data: bool, context: &Context<'_>) -> Vec<Batch> {
    let group = &context.group.name;
    let join = format!(
        "\
IF NOT EXISTS (SELECT 1 FROM sys.availability_groups AS g WHERE g.name = {})
ALTER AVAILABILITY GROUP {} JOIN WITH (CLUSTER_TYPE = EXTERNAL);",
        group.literal(),
        group.quoted()
    );
    let mut batches = vec![Batch::new(Login::Admin, join).within(30)];
    if holds_data {
        batches.push(grant_create_any_database(context));
    }
    batches
}

/// Lets automatic seeding create databases on this instance.
fn grant_create_any_database(context: &Context<'_>) -> Batch {
    let text = format!("ALTER AVAILABILITY GROUP {} GRANT CREATE ANY DATABASE;", context.group.name.quoted());
    Batch::new(Login::Admin, text)
}

/// ADD REPLICA on the primary.
pub(super) fn add_replica(name: &ReplicaName, mode: Mode, context: &Context<'_>) -> Batch {
    let text = format!(
        "ALTER AVAILABILITY GROUP {} ADD REPLICA ON {};",
        context.group.name.quoted(),
        replica(name, mode, context)
    );
    Batch::new(Login::Act, text).within(15)
}

/// REMOVE REPLICA on the primary.
pub(super) fn remove_replica(name: &ReplicaName, context: &Context<'_>) -> Batch {
    let text =
        format!("ALTER AVAILABILITY GROUP {} REMOVE REPLICA ON {};", context.group.name.quoted(), name.literal());
    Batch::new(Login::Act, text).within(15)
}

/// MODIFY REPLICA on the recorded primary.
pub(super) fn set_mode(name: &ReplicaName, mode: Mode, epoch: u64, context: &Context<'_>) -> Batch {
    let group = &context.group.name;
    let lines = [
        epoch_not_newer(group, epoch),
        format!(
            "ALTER AVAILABILITY GROUP {} MODIFY REPLICA ON {} WITH (AVAILABILITY_MODE = {});",
            group.quoted(),
            name.literal(),
            mode.keyword()
        ),
    ];
    Batch::new(Login::Act, in_turn(&lines)).within(15)
}

/// SET (REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT) on the recorded primary.
pub(super) fn set_commit_quorum(epoch: u64, value: u32, context: &Context<'_>) -> Batch {
    let group = &context.group.name;
    let lines = [
        epoch_not_newer(group, epoch),
        format!(
            "ALTER AVAILABILITY GROUP {} SET (REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT = {value});",
            group.quoted()
        ),
    ];
    Batch::new(Login::Act, in_turn(&lines)).within(15)
}

/// A replica with its options; a configuration-only one takes no others (47110).
fn replica(name: &ReplicaName, mode: Mode, context: &Context<'_>) -> String {
    let url = literal(&context.group.endpoint_url(name));
    let options = if mode.holds_data() {
        format!(
            "FAILOVER_MODE = EXTERNAL, SEEDING_MODE = AUTOMATIC, SECONDARY_ROLE (ALLOW_CONNECTIONS = {}), ",
            context.group.secondary_connections.keyword()
        )
    } else {
        String::new()
    };
    format!("{} WITH (ENDPOINT_URL = {url}, {options}AVAILABILITY_MODE = {})", name.literal(), mode.keyword())
}
