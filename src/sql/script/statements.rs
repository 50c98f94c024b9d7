//! T-SQL of the runner itself. Each batch answers with one row: a session that was told to execute nothing answers with none.

use super::{BARRIER, DONE, JOURNAL, Order, STAGE};
use crate::model::{DatabaseName, name::literal};

/// Number of the guard's errors; one is told from the other by its text.
const GUARD: i32 = 50_010;
/// The lock is waited for no longer, milliseconds: the session of a runner whose pod was deleted ends at once.
const LOCK_WAIT: u32 = 10_000;

/// Options that every file begins with, whatever the one before it left; those of sqlcmd and of indexed views.
const OPTIONS: &str = "\
SET NOEXEC OFF;
SET PARSEONLY OFF;
SET FMTONLY OFF;
SET IMPLICIT_TRANSACTIONS OFF;
SET XACT_ABORT ON;
SET NOCOUNT ON;
SET ROWCOUNT 0;
SET ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ANSI_NULL_DFLT_ON ON;
SET ARITHABORT, CONCAT_NULL_YIELDS_NULL, QUOTED_IDENTIFIER ON;
SET NUMERIC_ROUNDABORT OFF;
SET LOCK_TIMEOUT -1;
SET DEADLOCK_PRIORITY HIGH;
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
";

/// The first batch: guard, then the lock that one runner at a time has, for as long as its session lasts.
pub(super) fn open(order: &Order) -> String {
    let busy = throw("another run of this script has not ended: its session has the program_name quorate-script");
    format!(
        "{OPTIONS}{}\nDECLARE @got int;\nEXEC @got = sp_getapplock @Resource = N'quorate_script', \
         @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = {LOCK_WAIT};\nIF @got < 0\n{busy}\nSELECT N'open' AS answer;",
        guard(order)
    )
}

/// Before a file: options, guard, and what the journal says of it (an empty text when nothing).
pub(super) fn look(order: &Order, file: &str) -> String {
    let entry = property(&entry(file));
    format!(
        "{OPTIONS}{}\nDECLARE @entry nvarchar(4000);\nSELECT @entry = CAST(p.value AS nvarchar(4000)) {entry};\n\
         SELECT ISNULL(@entry, N'') AS answer;",
        guard(order)
    )
}

/// Notes that a file is about to be run.
pub(super) fn started(order: &Order, file: &str, sha256: &str) -> String {
    note(order, &entry(file), &format!("{} {sha256} started", order.attempt))
}

/// After a file: notes that it was run, unless it left a transaction open. The options that a file may have left are set
/// back only as far as they would be in the way: one that left NOEXEC on was not run to its end, and gets no answer.
pub(super) fn done(order: &Order, file: &str, sha256: &str) -> String {
    let open = throw("it left a transaction open, which is rolled back: end it with COMMIT in the same file");
    format!(
        "SET IMPLICIT_TRANSACTIONS OFF;\nSET XACT_ABORT ON;\nSET NOCOUNT ON;\nSET ROWCOUNT 0;\nIF @@TRANCOUNT > 0\n{open}\n{}",
        note(order, &entry(file), &format!("{} {sha256} done", order.attempt))
    )
}

/// After the last file.
pub(super) fn finished(order: &Order) -> String {
    note(order, DONE, &order.completion)
}

/// The guard, then a property.
fn note(order: &Order, name: &str, value: &str) -> String {
    format!("{}\n{}\nSELECT N'noted' AS answer;", guard(order), set(&order.database, name, value))
}

/// T-SQL that sets an extended property of a database, whether it is there or not; it changes to that database.
pub fn set(database: &DatabaseName, name: &str, value: &str) -> String {
    let arguments = format!("@name = {}, @value = {}", literal(name), literal(value));
    format!(
        "USE {};\nIF EXISTS (SELECT 1 {})\n    EXEC sys.sp_updateextendedproperty {arguments};\nELSE\n    \
         EXEC sys.sp_addextendedproperty {arguments};",
        database.quoted(),
        property(name)
    )
}

fn entry(file: &str) -> String {
    format!("{JOURNAL}{file}")
}

fn property(name: &str) -> String {
    format!("FROM sys.extended_properties AS p WHERE p.class = 0 AND p.name = {}", literal(name))
}

/// Throws anywhere but in the promoted stage database. Production is writable and has the barrier, too: the stage property
/// alone tells them apart. Texts have no percent sign: THROW formats them.
fn guard(order: &Order) -> String {
    let without = |name: &str, value: &str| {
        format!("IF NOT EXISTS (SELECT 1 {} AND CAST(p.value AS nvarchar(4000)) = {})", property(name), literal(value))
    };
    let links: Vec<_> = order.links.iter().map(|link| format!(" AND g.name <> {}", link.literal())).collect();
    [
        format!("USE {};", order.database.quoted()),
        without(STAGE, &order.attempt),
        throw("this is not the stage of this attempt: the property quorate_stage, which is written there after the promotion, is another or missing"),
        without(BARRIER, &order.barrier),
        throw("the property quorate_barrier is another or missing: this copy is not the one that was promoted, or a file dropped what it does not know (sqlpackage: IgnoreExtendedProperties)"),
        "IF ISNULL(CAST(DATABASEPROPERTYEX(DB_NAME(), N'Updateability') AS nvarchar(20)), N'') <> N'READ_WRITE'".into(),
        throw("the database is not writable here: this replica is not the primary of the stage"),
        "IF ISNULL(HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW ANY DEFINITION'), 0) = 0".into(),
        throw("the login does not see distributed groups: grant it VIEW ANY DEFINITION"),
        format!("IF EXISTS (SELECT 1 FROM sys.availability_groups AS g WHERE g.is_distributed = 1{})", links.concat()),
        throw("a distributed group is still here: the stage is linked to production, or this is production"),
    ]
    .join("\n")
}

fn throw(message: &str) -> String {
    format!("BEGIN\n    THROW {GUARD}, {}, 1;\nEND;", literal(message))
}
