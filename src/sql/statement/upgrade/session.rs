//! Sessions that are not ours.

use super::{
    super::{
        FAILOVER_PROGRAM, PROGRAM,
        name::{ACT, ADMIN, LOOK},
    },
    Batch, Login,
};
use crate::model::name::literal;
use std::collections::BTreeMap;

/// A condition on a row `s` of `sys.dm_exec_sessions`: a client that is not ours. A program's name is what the client says,
/// so that it counts for `sa` alone, as which people come, too.
pub(in crate::sql) fn foreign() -> String {
    format!(
        "s.is_user_process = 1 AND s.session_id <> @@SPID AND s.original_login_name NOT IN ({}, {}) \
         AND NOT (s.original_login_name = {} AND ISNULL(s.program_name, N'') IN ({}, {}))",
        literal(LOOK),
        literal(ACT),
        literal(ADMIN),
        literal(PROGRAM),
        literal(FAILOVER_PROGRAM)
    )
}

/// `login_time` of a row `s` as text; with the number it names a session.
pub(in crate::sql) const SINCE: &str = "CONVERT(nvarchar(30), s.login_time, 126)";

/// KILL of every session `s` with this condition, in the middle of a batch. One that ended by itself meanwhile, or cannot be
/// ended, ends no more than that: whoever needs them gone looks again.
pub(in crate::sql) fn kill_all(condition: &str) -> String {
    format!(
        "\
DECLARE @kill nvarchar(max) = (
    SELECT STRING_AGG(CAST(N'KILL ' + CAST(s.session_id AS nvarchar(10)) + N';' AS nvarchar(max)), N' ')
    FROM sys.dm_exec_sessions AS s WHERE {condition});
BEGIN TRY
    IF @kill IS NOT NULL EXEC (@kill);
END TRY
BEGIN CATCH
    PRINT ERROR_MESSAGE();
END CATCH;"
    )
}

/// KILL of each session that is still the one that was seen. One that ended by itself meanwhile (6106) is gone, too.
pub(super) fn kill(sessions: &BTreeMap<i64, String>) -> Batch {
    let foreign = foreign();
    let kill = |(id, since): (&i64, &String)| {
        format!(
            "\
BEGIN TRY
    IF EXISTS (SELECT 1 FROM sys.dm_exec_sessions AS s
               WHERE s.session_id = {id} AND {SINCE} = {} AND {foreign})
        KILL {id};
END TRY
BEGIN CATCH
    IF ERROR_NUMBER() <> 6106
    BEGIN
        THROW;
    END;
END CATCH;",
            literal(since)
        )
    };
    let lines: Vec<_> = std::iter::once("SET NOCOUNT ON;".to_string()).chain(sessions.iter().map(kill)).collect();
    Batch::new(Login::Admin, lines.join("\n"))
}
