//! Logins that are carried over, and the one that a script runs as.

use super::{
    super::{
        name::ADMIN,
        role::{in_turn, refuse_if},
    },
    Batch, Context, Login, Unbuildable, indented, leads,
    mark::{inside, is_writable, only_stage, only_writable},
    only_where_it_leads,
    session::kill_all,
};
use crate::{
    decide::upgrade::{Instance, observation::LoginFacts, plan::runner},
    model::{
        DatabaseName, LoginName,
        name::{bracket, literal},
    },
    sql::{error::guard, is_hex},
};
use std::collections::{BTreeMap, BTreeSet};

/// CREATE LOGIN with hash and SID, or the hash of the login with this SID set again.
pub(super) fn carry(login: &LoginName, facts: &LoginFacts, context: &Context<'_>) -> Result<Batch, Unbuildable> {
    if is_kept_back(login) {
        return Err(Unbuildable::NotCarried(login.clone()));
    }
    let hash = context.hashes.get(login).ok_or_else(|| Unbuildable::NoPassword(login.clone()))?.reveal();
    for (text, what) in [(hash, "password hash"), (facts.sid.as_str(), "SID")] {
        if !is_hex(text) {
            return Err(Unbuildable::NotHex(what));
        }
    }
    let (quoted, text, sid) = (login.quoted(), login.literal(), &facts.sid);
    let mut lines = vec![
        refuse_if(
            &format!(
                "EXISTS (SELECT 1 FROM sys.server_principals AS p \
                 WHERE p.name = {text} AND (p.type <> 'S' OR p.sid <> 0x{sid}))"
            ),
            guard::TAKEN,
            &format!("login {login} has another SID here"),
        ),
        refuse_if(
            &format!("EXISTS (SELECT 1 FROM sys.server_principals AS p WHERE p.sid = 0x{sid} AND p.name <> {text})"),
            guard::TAKEN,
            &format!("the SID of login {login} belongs to another one here"),
        ),
        // A hash is only taken where no policy would have to judge the password.
        format!(
            "\
IF SUSER_ID({text}) IS NULL
    CREATE LOGIN {quoted} WITH PASSWORD = 0x{hash} HASHED, SID = 0x{sid}, CHECK_EXPIRATION = OFF, CHECK_POLICY = OFF;
ELSE
BEGIN
    ALTER LOGIN {quoted} WITH CHECK_EXPIRATION = OFF, CHECK_POLICY = OFF;
    ALTER LOGIN {quoted} WITH PASSWORD = 0x{hash} HASHED;
END;"
        ),
        format!("ALTER LOGIN {quoted} {};", if facts.disabled { "DISABLE" } else { "ENABLE" }),
    ];
    if facts.check_policy {
        let expiration = if facts.check_expiration { ", CHECK_EXPIRATION = ON" } else { "" };
        lines.push(format!("ALTER LOGIN {quoted} WITH CHECK_POLICY = ON{expiration};"));
    }
    lines.extend(facts.default_database.as_ref().map(|database| {
        format!(
            "IF DB_ID({}) IS NOT NULL\n    ALTER LOGIN {quoted} WITH DEFAULT_DATABASE = {};",
            literal(database),
            bracket(database)
        )
    }));
    Ok(Batch::new(Login::Admin, in_turn(&lines)).within(10))
}

/// The server's own logins and ours are what every instance has of itself.
fn is_kept_back(login: &LoginName) -> bool {
    let name = login.as_str().to_lowercase();
    name == ADMIN || name.starts_with("##") || name.starts_with("quorate_")
}

/// Name of a runner's login. Errors: longer than a name may be, or no name at all.
fn runner_name(attempt: &str) -> Result<LoginName, Unbuildable> {
    LoginName::new(runner(attempt)).map_err(|_| Unbuildable::NotAName("login of a script"))
}

/// The login, where every database is that of this stage; then its user in each.
pub(super) fn create_runner(
    at: &Instance,
    attempt: &str,
    databases: &BTreeMap<DatabaseName, String>,
    context: &Context<'_>,
) -> Result<Vec<Batch>, Unbuildable> {
    let name = runner_name(attempt)?;
    let password = context.runner.ok_or_else(|| Unbuildable::NoPassword(name.clone()))?;
    let (quoted, text, password) = (name.quoted(), name.literal(), literal(password.reveal()));
    let mut lines = vec![only_where_it_leads(&at.group)];
    lines.extend(databases.iter().map(|(database, mark)| only_stage(database, mark)));
    lines.push(format!(
        "\
IF SUSER_ID({text}) IS NULL
    CREATE LOGIN {quoted} WITH PASSWORD = {password}, CHECK_POLICY = OFF;
ELSE
BEGIN
    ALTER LOGIN {quoted} WITH PASSWORD = {password};
    ALTER LOGIN {quoted} ENABLE;
END;
GRANT VIEW ANY DEFINITION TO {quoted};"
    ));
    let mut batches = vec![Batch::new(Login::Admin, in_turn(&lines)).within(10)];
    batches.extend(databases.iter().map(|(database, mark)| {
        let lines = [
            "SET XACT_ABORT ON;".to_string(),
            only_where_it_leads(&at.group),
            only_writable(&at.group),
            only_stage(database, mark),
            format!(
                "IF USER_ID({text}) IS NULL\n    CREATE USER {quoted} FOR LOGIN {quoted};\n\
                 ELSE\n    ALTER USER {quoted} WITH LOGIN = {quoted};\n\
                 ALTER ROLE [db_owner] ADD MEMBER {quoted};"
            ),
        ];
        inside(database, lines.join("\n"))
    }));
    Ok(batches)
}

/// No new sessions and no old ones, then the users, then the login. A session that still rolls back holds the login (15434):
/// the step is sent again.
pub(super) fn drop_runner(
    at: &Instance,
    attempt: &str,
    databases: &BTreeSet<DatabaseName>,
) -> Result<Vec<Batch>, Unbuildable> {
    let name = runner_name(attempt)?;
    let (quoted, text) = (name.quoted(), name.literal());
    let end = format!(
        "\
IF SUSER_ID({text}) IS NOT NULL
BEGIN
    ALTER LOGIN {quoted} DISABLE;
{}
END;",
        indented(&[kill_all(&format!("s.original_login_name = {text} AND s.is_user_process = 1"))])
    );
    let mut batches = vec![Batch::new(Login::Admin, end).within(10)];
    batches.extend(databases.iter().map(|database| {
        let owned = [
            ("SCHEMA", "sys.schemas AS o WHERE o.principal_id"),
            ("ROLE", "sys.database_principals AS o WHERE o.type = 'R' AND o.owning_principal_id"),
        ];
        let given = owned.map(|(class, of)| {
            format!(
                "    SET @give = (SELECT STRING_AGG(CAST(N'ALTER AUTHORIZATION ON {class}::' + QUOTENAME(o.name) + N' TO [dbo];' AS nvarchar(max)), N' ')\n        \
                 FROM {of} = USER_ID({text}));\n    IF @give IS NOT NULL EXEC (@give);"
            )
        });
        let text = format!(
            "\
SET XACT_ABORT ON;
DECLARE @give nvarchar(max);
IF USER_ID({text}) IS NOT NULL AND {} AND {}
BEGIN
{}
    DROP USER {quoted};
END;",
            leads(&at.group),
            is_writable(&at.group),
            given.join("\n")
        );
        inside(database, text)
    }));
    let drop = format!("IF SUSER_ID({text}) IS NOT NULL DROP LOGIN {quoted};");
    batches.push(Batch::new(Login::Admin, drop).within(10));
    Ok(batches)
}
