//! Replicas of another group that may connect for a link.
//!
//! Their names are apart from those of the own group's partners, whose admission an election changes.

use super::{
    super::{
        name::{self, ENDPOINT},
        role::in_turn,
    },
    Batch, Context, Login, Unbuildable,
};
use crate::{
    decide::upgrade::Instance,
    model::name::{bracket, literal},
    sql::is_hex,
};

/// Name of a partner's login, user and certificate.
fn name_of(partner: &Instance) -> Result<String, Unbuildable> {
    /// Longest `sysname`, in characters.
    const SYSNAME: usize = 128;
    let name = name::link_partner(&partner.namespace, &partner.replica);
    if name.chars().count() > SYSNAME { Err(Unbuildable::TooLong("name of a partner")) } else { Ok(name) }
}

/// Login, user, public certificate, and CONNECT on the endpoint. A certificate that is there already stays.
pub(super) fn trust(partner: &Instance, certificate: &str, context: &Context<'_>) -> Result<Batch, Unbuildable> {
    if !is_hex(certificate) {
        return Err(Unbuildable::NotHex("certificate"));
    }
    let name = name_of(partner)?;
    let (quoted, text) = (bracket(&name), literal(&name));
    let password = literal((context.random)().reveal());
    let lines = [
        format!(
            "IF SUSER_ID({text}) IS NULL\n    CREATE LOGIN {quoted} WITH PASSWORD = {password}, CHECK_POLICY = OFF;\n\
             IF USER_ID({text}) IS NULL\n    CREATE USER {quoted} FOR LOGIN {quoted};"
        ),
        format!(
            "\
IF NOT EXISTS (SELECT 1 FROM sys.certificates AS c
               WHERE c.name = {text} AND CERTENCODED(c.certificate_id) = 0x{certificate})
BEGIN
    {}
    CREATE CERTIFICATE {quoted} AUTHORIZATION {quoted} FROM BINARY = 0x{certificate};
END;",
            drop_certificate(&quoted, &text)
        ),
        format!("GRANT CONNECT ON ENDPOINT::{} TO {quoted};", bracket(ENDPOINT)),
    ];
    Ok(Batch::new(Login::Admin, in_turn(&lines)).within(10))
}

/// Takes it away again; connections that are open stay open.
pub(super) fn forget(partner: &Instance) -> Result<Batch, Unbuildable> {
    let name = name_of(partner)?;
    let (quoted, text) = (bracket(&name), literal(&name));
    let lines = [
        drop_certificate(&quoted, &text),
        format!("IF USER_ID({text}) IS NOT NULL DROP USER {quoted};"),
        format!("IF SUSER_ID({text}) IS NOT NULL DROP LOGIN {quoted};"),
    ];
    Ok(Batch::new(Login::Admin, in_turn(&lines)).within(10))
}

fn drop_certificate(quoted: &str, text: &str) -> String {
    format!("IF EXISTS (SELECT 1 FROM sys.certificates AS c WHERE c.name = {text}) DROP CERTIFICATE {quoted};")
}
