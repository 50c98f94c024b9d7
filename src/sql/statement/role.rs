//! Batches that change a role, and those that keep the epoch and the admission beside it (promotion.md 2 and 3).
//!
//! Each runs outside any transaction, under one session lock: guard and effect of one batch are never interleaved with
//! those of another. It ends whole at its first error, whose number comes back.

use super::{
    Batch, Context, FAILOVER_PROGRAM, Login,
    name::{ENDPOINT, partner_literal, partner_quoted},
};
use crate::{
    decide::Record,
    model::{
        GroupName, ReplicaName, Role, SequenceNumber,
        name::{bracket, literal},
    },
    sql::error::guard,
};
use std::collections::BTreeSet;

/// The parts of a stand-down.
pub(super) struct StandDown<'a> {
    pub replica: &'a ReplicaName,
    pub epoch: u64,
    pub unless_connected_to: Option<&'a ReplicaName>,
    pub admit: &'a BTreeSet<ReplicaName>,
    pub configuration_only: bool,
}

/// Guard, store the epoch, admission, OFFLINE, cut what is still open. A primary is not cut: its role, and every session with
/// it, ends only after OFFLINE has returned, and one that loses its secondaries before that raises its number alone, so
/// that no other replica could be elected.
pub(super) fn stand_down(step: &StandDown<'_>, context: &Context<'_>) -> Batch {
    let group = &context.group.name;
    let mut lines = Vec::new();
    lines.extend(step.unless_connected_to.map(|primary| not_connected_to(group, primary)));
    lines.push(store_epoch(group, step.epoch));
    lines.extend(admission(step.replica, step.admit, context));
    lines.push("DECLARE @serves bit = 0;".into());
    lines.push(format!("IF {} SET @serves = 1;", is_here(group, &format!("rs.role = {}", Role::Primary.number()))));
    lines.push(offline(group, step.configuration_only));
    // An established connection outlives DENY.
    lines.extend(endpoint_states(&["STOPPED", "STARTED"]).into_iter().map(|line| format!("IF @serves = 0 {line}")));
    Batch::new(Login::Act, in_turn(&lines))
}

/// Guard, store the epoch, admit the primary alone, SET (ROLE = SECONDARY).
pub(super) fn follow(replica: &ReplicaName, epoch: u64, primary: &ReplicaName, context: &Context<'_>) -> Batch {
    let group = &context.group.name;
    let mut lines = vec![store_epoch(group, epoch)];
    lines.extend(admission(replica, &BTreeSet::from([primary.clone()]), context));
    lines.extend(endpoint_states(&["STARTED"]));
    lines.push(format!("ALTER AVAILABILITY GROUP {} SET (ROLE = SECONDARY);", group.quoted()));
    Batch::new(Login::Act, in_turn(&lines))
}

/// Guard on epoch, role and connection, OFFLINE, DROP AVAILABILITY GROUP: its own copy of the configuration goes, its databases stay.
pub(super) fn leave(epoch: u64, primary: &ReplicaName, configuration_only: bool, context: &Context<'_>) -> Batch {
    let group = &context.group.name;
    let serves = format!("rs.role = {}", Role::Primary.number());
    let lines = [
        epoch_not_newer(group, epoch),
        refuse_if(&is_here(group, &serves), guard::CHANGED, "it is primary"),
        not_connected_to(group, primary),
        offline(group, configuration_only),
        format!("DROP AVAILABILITY GROUP {};", group.quoted()),
    ];
    Batch::new(Login::Act, in_turn(&lines))
}

/// OFFLINE; a configuration-only replica may refuse it, and has stood down once its epoch is stored and its connections cut.
fn offline(group: &GroupName, configuration_only: bool) -> String {
    let offline = format!("ALTER AVAILABILITY GROUP {} OFFLINE;", group.quoted());
    if configuration_only {
        return format!("BEGIN TRY {offline} END TRY BEGIN CATCH PRINT ERROR_MESSAGE(); END CATCH;");
    }
    offline
}

/// What a promotion is guarded by.
pub(super) struct Promotion {
    pub epoch: u64,
    pub number: SequenceNumber,
    pub deadline: i64,
}

/// Guard on epoch, role, number and the instance's own clock; FAILOVER, or its form that loses what others have; then
/// admit everyone.
pub(super) fn failover(replica: &ReplicaName, guards: &Promotion, force: bool, context: &Context<'_>) -> Batch {
    let Promotion { epoch, number, deadline } = guards;
    let verb = if force { "FORCE_FAILOVER_ALLOW_DATA_LOSS" } else { "FAILOVER" };
    let group = &context.group.name;
    let name = group.literal();
    let primary = Role::Primary.number();
    let mut lines = vec![
        refuse_unless(
            &format!("EXISTS (SELECT 1 FROM master.dbo.quorate AS q WHERE q.name = {name} AND q.epoch = {epoch})"),
            guard::NEWER_EPOCH,
            &format!("the epoch stored here is not {epoch}"),
        ),
        refuse_unless(
            &is_here(group, &format!("rs.role <> {primary} AND g.sequence_number = {}", number.0)),
            guard::CHANGED,
            &format!("the role or the sequence number {number} changed"),
        ),
        refuse_unless(
            &format!("EXISTS (SELECT 1 FROM sys.dm_os_sys_info AS i WHERE i.ms_ticks <= {deadline})"),
            guard::TOO_LATE,
            "the deadline of the election has passed",
        ),
        "EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes';".to_string(),
        format!("ALTER AVAILABILITY GROUP {} {verb};", group.quoted()),
    ];
    lines.extend(admission(replica, &context.partners, context));
    Batch { program: FAILOVER_PROGRAM, ..Batch::new(Login::Act, in_turn(&lines)).within(20) }
}

/// Guard, store the epoch and the settled election.
pub(super) fn store_settled(record: &Record, context: &Context<'_>) -> Batch {
    let group = &context.group.name;
    let json = serde_json::to_string(record).unwrap_or_default();
    let lines = [
        store_epoch(group, record.epoch),
        format!(
            "UPDATE master.dbo.quorate SET settled = {} WHERE name = {} AND epoch = {};",
            literal(&json),
            group.literal(),
            record.epoch
        ),
    ];
    Batch::new(Login::Act, in_turn(&lines))
}

/// Stops and starts the endpoint.
pub(super) fn restart_endpoint() -> Batch {
    Batch::new(Login::Act, in_turn(&endpoint_states(&["STOPPED", "STARTED"])))
}

/// Grants every partner.
pub(super) fn admit_all(replica: &ReplicaName, context: &Context<'_>) -> Batch {
    Batch::new(Login::Act, in_turn(&admission(replica, &context.partners, context)))
}

/// Refuses when a newer epoch is stored, else stores this one: one statement, so that two batches cannot both pass.
pub(super) fn store_epoch(group: &GroupName, epoch: u64) -> String {
    let name = group.literal();
    format!(
        "UPDATE master.dbo.quorate SET epoch = {epoch} WHERE name = {name} AND epoch <= {epoch};\n\
         IF @@ROWCOUNT = 0\n\
         BEGIN\n\
         \x20   IF EXISTS (SELECT 1 FROM master.dbo.quorate AS q WHERE q.name = {name})\n\
         \x20   BEGIN\n\
         \x20       THROW {}, N'an epoch newer than {epoch} is stored here', 1;\n\
         \x20   END;\n\
         \x20   INSERT INTO master.dbo.quorate (name, epoch) VALUES ({name}, {epoch});\n\
         END;",
        guard::NEWER_EPOCH
    )
}

/// Refuses when a newer epoch is stored; stores nothing.
pub(super) fn epoch_not_newer(group: &GroupName, epoch: u64) -> String {
    let name = group.literal();
    refuse_if(
        &format!("EXISTS (SELECT 1 FROM master.dbo.quorate AS q WHERE q.name = {name} AND q.epoch > {epoch})"),
        guard::NEWER_EPOCH,
        &format!("an epoch newer than {epoch} is stored here"),
    )
}

/// A condition on the group's row `g` and the state `rs` of the local replica.
pub(super) fn is_here(group: &GroupName, condition: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM sys.availability_groups AS g \
         JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.group_id = g.group_id AND rs.is_local = 1 \
         WHERE g.name = {} AND {condition})",
        group.literal()
    )
}

/// A secondary that does not say to whom it is connected counts as connected.
fn not_connected_to(group: &GroupName, primary: &ReplicaName) -> String {
    let secondary = Role::Secondary.number();
    refuse_if(
        &format!(
            "EXISTS (SELECT 1 FROM sys.availability_groups AS g \
             JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.group_id = g.group_id AND rs.is_local = 1 \
             LEFT JOIN sys.dm_hadr_availability_group_states AS gs ON gs.group_id = g.group_id \
             WHERE g.name = {} AND rs.role = {secondary} AND rs.connected_state = 1 \
             AND (gs.primary_replica IS NULL OR gs.primary_replica = {}))",
            group.literal(),
            primary.literal()
        ),
        guard::STILL_CONNECTED,
        "still connected to the primary",
    )
}

/// GRANT or DENY for every partner that is set up here. Whether the engine asks for CONNECT on connections that it opens
/// itself is not documented, so that a denied partner loses its certificate, too; it comes back by an import.
fn admission(replica: &ReplicaName, admit: &BTreeSet<ReplicaName>, context: &Context<'_>) -> Vec<String> {
    let partners = context.partners.iter().filter(|partner| *partner != replica);
    let lines = |partner: &ReplicaName| {
        let admitted = admit.contains(partner);
        let grant = format!(
            "IF SUSER_ID({}) IS NOT NULL {} CONNECT ON ENDPOINT::{} TO {};",
            partner_literal(partner),
            if admitted { "GRANT" } else { "DENY" },
            bracket(ENDPOINT),
            partner_quoted(partner)
        );
        std::iter::once(grant).chain((!admitted).then(|| drop_certificate(partner)))
    };
    partners.flat_map(lines).collect()
}

/// Without its certificate a partner is a stranger, whichever side opens the connection.
pub(super) fn drop_certificate(partner: &ReplicaName) -> String {
    let (quoted, text) = (partner_quoted(partner), partner_literal(partner));
    format!("IF EXISTS (SELECT 1 FROM sys.certificates AS c WHERE c.name = {text}) DROP CERTIFICATE {quoted};")
}

fn endpoint_states(states: &[&str]) -> Vec<String> {
    states.iter().map(|state| format!("ALTER ENDPOINT {} STATE = {state};", bracket(ENDPOINT))).collect()
}

pub(super) fn refuse_if(condition: &str, number: i32, message: &str) -> String {
    format!("IF {condition}\nBEGIN\n    THROW {number}, {}, 1;\nEND;", literal(message))
}

pub(super) fn refuse_unless(condition: &str, number: i32, message: &str) -> String {
    refuse_if(&format!("NOT {condition}"), number, message)
}

/// One batch of ours at a time on an instance; whatever fails comes back with its own number.
pub(super) fn in_turn(lines: &[String]) -> String {
    let body: Vec<_> = lines.iter().flat_map(|line| line.lines()).map(|line| format!("    {line}")).collect();
    format!(
        "\
SET NOCOUNT ON;
SET XACT_ABORT ON;
DECLARE @turn int;
BEGIN TRY
    EXEC @turn = sp_getapplock @Resource = N'quorate', @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0;
    IF @turn < 0
    BEGIN
        THROW {}, N'another batch of the operator runs here', 1;
    END;
{}
    EXEC sp_releaseapplock @Resource = N'quorate', @LockOwner = N'Session';
END TRY
BEGIN CATCH
    IF @turn >= 0 EXEC sp_releaseapplock @Resource = N'quorate', @LockOwner = N'Session';
    THROW;
END CATCH;",
        guard::BUSY,
        body.join("\n")
    )
}
