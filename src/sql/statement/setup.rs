//! Setting an instance up, as `sa`; every statement may run again.

use super::{
    Batch, Context, Login, Unbuildable,
    name::{self, ENDPOINT, partner_literal, partner_quoted},
    role::{drop_certificate, in_turn},
};
use crate::{
    model::{
        ReplicaName,
        group::ENDPOINT_PORT,
        name::{bracket, literal},
    },
    sql::{Secret, is_hex},
};

/// Our table, master key, own certificate, endpoint, and our two logins; the one that looks comes last, so that a look
/// that is let in finds the rest.
pub(super) fn provision(replica: &ReplicaName, context: &Context<'_>) -> Batch {
    let [certificate, _] = name::own_certificates(replica);
    let text = [
        "SET XACT_ABORT ON;".to_string(),
        "IF OBJECT_ID(N'master.dbo.quorate') IS NULL\n    CREATE TABLE master.dbo.quorate (name sysname NOT NULL PRIMARY KEY, epoch bigint NOT NULL, settled nvarchar(max) NULL, passwords nvarchar(max) NULL);".to_string(),
        format!(
            "IF NOT EXISTS (SELECT 1 FROM sys.symmetric_keys AS k WHERE k.name = N'##MS_DatabaseMasterKey##')\n    CREATE MASTER KEY ENCRYPTION BY PASSWORD = {};",
            literal((context.random)().reveal())
        ),
        format!(
            "IF NOT EXISTS (SELECT 1 FROM sys.certificates AS c WHERE c.name = {})\n    {}",
            literal(&certificate),
            own_certificate(&certificate, replica, context),
        ),
        endpoint(&certificate),
        login(name::ACT, context.act),
        format!("GRANT ALTER ANY AVAILABILITY GROUP TO {};", bracket(name::ACT)),
        format!("GRANT VIEW SERVER STATE TO {};", bracket(name::ACT)),
        format!("GRANT VIEW ANY DEFINITION TO {};", bracket(name::ACT)),
        format!("GRANT CONTROL ON ENDPOINT::{} TO {};", bracket(ENDPOINT), bracket(name::ACT)),
        format!("GRANT SELECT, INSERT, UPDATE ON dbo.quorate TO {};", bracket(name::ACT)),
        login(name::LOOK, context.look),
        format!("GRANT VIEW SERVER STATE TO {};", bracket(name::LOOK)),
        format!("GRANT VIEW ANY DEFINITION TO {};", bracket(name::LOOK)),
        format!("GRANT CONNECT ANY DATABASE TO {};", bracket(name::LOOK)),
        format!("GRANT SELECT ON dbo.quorate TO {};", bracket(name::LOOK)),
    ]
    .join("\n");
    Batch::new(Login::Admin, text).within(30)
}

/// It lasts longer than the volumes it lies on; START_DATE in the past allows for clocks that differ.
fn own_certificate(name: &str, replica: &ReplicaName, context: &Context<'_>) -> String {
    format!(
        "CREATE CERTIFICATE {} WITH SUBJECT = {}, START_DATE = '20200101', EXPIRY_DATE = '20991231';",
        bracket(name),
        literal(&name::subject(replica, context.group.certificate_rotation.as_deref())),
    )
}

/// Another own certificate for the endpoint. Connections that are open stay open; partners import it before the next ones.
pub(super) fn rotate(replica: &ReplicaName, context: &Context<'_>) -> Batch {
    let [first, second] = name::own_certificates(replica);
    let exchange = |old: &str, new: &str| {
        format!(
            "\
BEGIN
    IF EXISTS (SELECT 1 FROM sys.certificates AS c WHERE c.name = {}) DROP CERTIFICATE {};
    {}
    ALTER ENDPOINT {} FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE {});
    DROP CERTIFICATE {};
END",
            literal(new),
            bracket(new),
            own_certificate(new, replica, context),
            bracket(ENDPOINT),
            bracket(new),
            bracket(old),
        )
    };
    let text = format!(
        "\
SET XACT_ABORT ON;
IF EXISTS (SELECT 1 FROM sys.database_mirroring_endpoints AS e
           JOIN sys.certificates AS c ON c.certificate_id = e.certificate_id
           WHERE e.name = {} AND c.name = {})
{}
ELSE
{};",
        literal(ENDPOINT),
        literal(&first),
        exchange(&first, &second),
        exchange(&second, &first),
    );
    Batch::new(Login::Admin, text).within(10)
}

/// The present passwords of every login there, and last of all which they are. `sa` goes first, and only when it has
/// another password than the Secret: whoever comes back to a batch that was cut short can enter with the new one.
pub(super) fn passwords(version: &str, context: &Context<'_>) -> Batch {
    let alter = |login: &str, password: &Secret| {
        let (quoted, text, password) = (bracket(login), literal(login), literal(password.reveal()));
        format!("IF SUSER_ID({text}) IS NOT NULL\n    ALTER LOGIN {quoted} WITH PASSWORD = {password};")
    };
    let mut lines = vec!["SET XACT_ABORT ON;".to_string()];
    lines.extend(context.admin.map(|password| alter(name::ADMIN, password)));
    lines.extend([alter(name::ACT, context.act), alter(name::LOOK, context.look)]);
    lines.extend(context.logins.iter().map(|(login, password)| alter(login.as_str(), password)));
    let (group, version) = (context.group.name.literal(), literal(version));
    lines.push(format!(
        "UPDATE master.dbo.quorate SET passwords = {version} WHERE name = {group};\n\
         IF @@ROWCOUNT = 0\n    INSERT INTO master.dbo.quorate (name, epoch, passwords) VALUES ({group}, 0, {version});"
    ));
    Batch::new(Login::Admin, lines.join("\n"))
}

/// Express accepts the role WITNESS only (engine edition 4).
fn endpoint(certificate: &str) -> String {
    let create = |role: &str| {
        format!(
            "CREATE ENDPOINT {} STATE = STARTED AS TCP (LISTENER_PORT = {ENDPOINT_PORT}) FOR DATABASE_MIRRORING \
             (ROLE = {role}, AUTHENTICATION = CERTIFICATE {}, ENCRYPTION = REQUIRED ALGORITHM AES);",
            bracket(ENDPOINT),
            bracket(certificate)
        )
    };
    format!(
        "IF NOT EXISTS (SELECT 1 FROM sys.database_mirroring_endpoints AS e WHERE e.name = {})\nBEGIN\n    IF CAST(SERVERPROPERTY('EngineEdition') AS int) = 4\n        {}\n    ELSE\n        {}\nEND;",
        literal(ENDPOINT),
        create("WITNESS"),
        create("ALL"),
    )
}

/// A login of ours with its user in `master`.
fn login(login: &str, password: &Secret) -> String {
    let (quoted, text, password) = (bracket(login), literal(login), literal(password.reveal()));
    format!(
        "IF SUSER_ID({text}) IS NULL\n    CREATE LOGIN {quoted} WITH PASSWORD = {password}, CHECK_POLICY = OFF;\nELSE\n    ALTER LOGIN {quoted} WITH PASSWORD = {password};\nIF USER_ID({text}) IS NULL\n    CREATE USER {quoted} FOR LOGIN {quoted};"
    )
}

/// A partner's login, user and public certificate. It is admitted when it is new; one that was denied stays so, and
/// without a certificate. The login that acts may drop it again.
pub(super) fn import(partner: &ReplicaName, certificate: &str, context: &Context<'_>) -> Result<Batch, Unbuildable> {
    if !is_hex(certificate) {
        return Err(Unbuildable::NotHex("certificate"));
    }
    let (quoted, text) = (partner_quoted(partner), partner_literal(partner));
    let password = literal((context.random)().reveal());
    let lines = [
        format!(
            "\
IF SUSER_ID({text}) IS NULL
BEGIN
    CREATE LOGIN {quoted} WITH PASSWORD = {password}, CHECK_POLICY = OFF;
    GRANT CONNECT ON ENDPOINT::{} TO {quoted};
END;
IF USER_ID({text}) IS NULL
    CREATE USER {quoted} FOR LOGIN {quoted};",
            bracket(ENDPOINT)
        ),
        drop_certificate(partner),
        format!(
            "\
IF NOT EXISTS (SELECT 1 FROM sys.server_permissions AS p
               WHERE p.grantee_principal_id = SUSER_ID({text}) AND p.class_desc = N'ENDPOINT' AND p.state = N'D')
BEGIN
    CREATE CERTIFICATE {quoted} AUTHORIZATION {quoted} FROM BINARY = 0x{certificate};
    GRANT CONTROL ON CERTIFICATE::{quoted} TO {};
END;",
            bracket(name::ACT)
        ),
    ];
    Ok(Batch::new(Login::Admin, in_turn(&lines)).within(10))
}
