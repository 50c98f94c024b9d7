//! The logon trigger of a staged upgrade, as `sa`: nobody but listed logins enters the primary (upgrade.md, step 6).
//!
//! A server trigger stands in `master` of each instance and follows no failover: every replica has it, and it asks for the
//! role. It runs as a login of its own that may see roles, which ordinary logins may not. It holds its own expiry, so that
//! an operator that is gone leaves nobody locked out. An error inside it would refuse everybody, so that it is small.
//! SQL Server docs: "Logon triggers", "sys.fn_hadr_is_primary_replica", "CREATE TRIGGER".

use super::{
    Batch, Context, FAILOVER_PROGRAM, Login, PROGRAM,
    name::{self, FENCE, FENCE_GUARD},
    role::in_turn,
    upgrade::session,
};
use crate::{
    decide::diagnose::utc,
    model::{
        DatabaseName, Fence, FenceState, LoginName,
        name::{bracket, literal},
    },
};
use std::collections::BTreeSet;

/// The trigger as it is wanted: the login it runs as, its text, and whether it is enabled. ALTER enables it, so that a
/// prepared one is open by its text, too.
pub(super) fn set(fence: Option<&Fence>, databases: &BTreeSet<DatabaseName>, context: &Context<'_>) -> Vec<Batch> {
    let trigger = bracket(FENCE);
    let Some(fence) = fence else {
        let there = format!("IF EXISTS (SELECT 1 FROM sys.server_triggers AS t WHERE t.name = {})", literal(FENCE));
        return vec![Batch::new(Login::Admin, format!("{there}\n    DROP TRIGGER {trigger} ON ALL SERVER;"))];
    };
    let (guard, text) = (bracket(FENCE_GUARD), literal(FENCE_GUARD));
    let password = literal((context.random)().reveal());
    let lines = [
        format!(
            "IF SUSER_ID({text}) IS NULL\n    CREATE LOGIN {guard} WITH PASSWORD = {password}, CHECK_POLICY = OFF;"
        ),
        format!("GRANT VIEW SERVER STATE TO {guard};"),
    ];
    let verb = if fence.state == FenceState::Prepared { "DISABLE" } else { "ENABLE" };
    vec![
        Batch::new(Login::Admin, in_turn(&lines)),
        Batch::new(Login::Admin, trigger_text(fence, databases)),
        Batch::new(Login::Admin, format!("{verb} TRIGGER {trigger} ON ALL SERVER;")),
    ]
}

/// People who come as `sa` are refused like others; the dedicated administrator connection passes every logon trigger.
/// Its conditions are nested, since SQL Server evaluates those of one AND in any order.
fn trigger_text(fence: &Fence, databases: &BTreeSet<DatabaseName>) -> String {
    let ours = [name::ACT, name::LOOK, FENCE_GUARD];
    let listed: Vec<_> = ours.into_iter().map(literal).chain(fence.allowed.iter().map(LoginName::literal)).collect();
    // Whether it is the primary is unknown in no role: closed.
    let primary: Vec<_> = databases
        .iter()
        .map(|database| format!("ISNULL(sys.fn_hadr_is_primary_replica({}), 1) = 1", database.literal()))
        .collect();
    format!(
        "\
CREATE OR ALTER TRIGGER {} ON ALL SERVER WITH EXECUTE AS {} FOR LOGON AS
BEGIN
    {}{}{}
    SET NOCOUNT ON;
    IF SYSUTCDATETIME() < {}
        IF ORIGINAL_LOGIN() NOT IN ({}) AND NOT (ORIGINAL_LOGIN() = {} AND APP_NAME() IN ({}))
            IF {}
                ROLLBACK;
END;",
        bracket(FENCE),
        literal(FENCE_GUARD),
        MARK.0,
        fence.mark(databases),
        MARK.1,
        literal(&moment(fence.opens())),
        listed.join(", "),
        literal(name::ADMIN),
        [PROGRAM, FAILOVER_PROGRAM].map(literal).join(", "),
        primary.join("\n                OR "),
    )
}

/// What stands before and after the mark in the text.
const MARK: (&str, &str) = ("/* quorate ", " */");

/// The mark in the text of a trigger; empty if there is none.
pub(in crate::sql) fn mark_of(text: &str) -> String {
    let rest = text.split_once(MARK.0).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once(MARK.1)).map(|(mark, _)| mark.to_string()).unwrap_or_default()
}

/// ISO 8601, which no language setting reads in another way.
fn moment(second: i64) -> String {
    utc(second).trim_end_matches('Z').to_string()
}

/// Ends every session of others: one that was led here as a writer would be told for ever that it may only read.
pub(super) fn end_sessions() -> Batch {
    Batch::new(Login::Admin, session::kill_all(&session::foreign()))
}
