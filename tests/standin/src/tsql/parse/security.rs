//! Logins, users, roles, permissions, master key, certificates, endpoints.

use super::Cursor;
use crate::{
    errors::SqlResult,
    tsql::ast::{CertificateSource, EndpointOptions, LoginOptions, Securable, SecurityStatement, Statement, Verb},
};
use sqlparser::tokenizer::Token;

/// `None`: another family's statement.
pub fn parse(c: &mut Cursor) -> SqlResult<Option<Statement>> {
    let start = c.position();
    let verb = c.keyword()?;
    let found = match verb.as_str() {
        "GRANT" => Some(permission(c, Verb::Grant)?),
        "DENY" => Some(permission(c, Verb::Deny)?),
        "REVOKE" => Some(permission(c, Verb::Revoke)?),
        "CREATE" => create(c)?,
        "ALTER" => alter(c)?,
        "DROP" => drop_statement(c)?,
        "OPEN" | "CLOSE" if c.accept(&["MASTER", "KEY"]) => {
            if c.accept(&["DECRYPTION", "BY", "PASSWORD"]) {
                c.expect_symbol(&Token::Eq)?;
                c.string()?;
            }
            Some(SecurityStatement::KeepMasterKey)
        }
        _ => None,
    };
    if found.is_none() {
        c.back_to(start);
    }
    Ok(found.map(Statement::Security))
}

fn create(c: &mut Cursor) -> SqlResult<Option<SecurityStatement>> {
    Ok(Some(if c.accept(&["LOGIN"]) {
        let name = c.name()?;
        let mut options = LoginOptions::default();
        if c.accept(&["FROM", "CERTIFICATE"]) {
            options.certificate = Some(c.name()?);
        } else if c.accept(&["WITH"]) {
            login_options(c, &mut options)?;
        } else {
            return Err(if c.is("FROM") { c.unsupported("CREATE LOGIN FROM this source") } else { c.wrong() });
        }
        SecurityStatement::CreateLogin(name, options)
    } else if c.accept(&["USER"]) {
        let name = c.name()?;
        let login = if c.accept(&["WITHOUT", "LOGIN"]) {
            None
        } else if c.accept(&["FOR", "LOGIN"]) || c.accept(&["FROM", "LOGIN"]) {
            Some(c.name()?)
        } else {
            Some(name.clone())
        };
        if c.accept(&["WITH"]) {
            c.expect(&["DEFAULT_SCHEMA"])?;
            c.expect_symbol(&Token::Eq)?;
            c.name()?;
        }
        SecurityStatement::CreateUser(name, login)
    } else if c.accept(&["ROLE"]) {
        let name = c.name()?;
        if c.accept(&["AUTHORIZATION"]) {
            c.name()?;
        }
        SecurityStatement::CreateRole(name)
    } else if c.accept(&["MASTER", "KEY"]) {
        let password = if c.accept(&["ENCRYPTION", "BY", "PASSWORD"]) {
            c.expect_symbol(&Token::Eq)?;
            Some(c.string()?)
        } else {
            None
        };
        SecurityStatement::CreateMasterKey(password)
    } else if c.accept(&["CERTIFICATE"]) {
        certificate(c)?
    } else if c.accept(&["ENDPOINT"]) {
        let name = c.name()?;
        let options = endpoint(c)?;
        SecurityStatement::CreateEndpoint(name, options)
    } else {
        return Ok(None);
    }))
}

fn alter(c: &mut Cursor) -> SqlResult<Option<SecurityStatement>> {
    Ok(Some(if c.accept(&["LOGIN"]) {
        let name = c.name()?;
        let mut options = LoginOptions::default();
        if c.accept(&["ENABLE"]) {
            options.enable = Some(true);
        } else if c.accept(&["DISABLE"]) {
            options.enable = Some(false);
        } else {
            c.expect(&["WITH"])?;
            login_options(c, &mut options)?;
        }
        SecurityStatement::AlterLogin(name, options)
    } else if c.accept(&["USER"]) {
        let name = c.name()?;
        c.expect(&["WITH"])?;
        let (mut login, mut new_name) = (None, None);
        loop {
            let option = c.keyword()?;
            c.expect_symbol(&Token::Eq)?;
            match option.as_str() {
                "LOGIN" => login = Some(c.name()?),
                "NAME" => new_name = Some(c.name()?),
                "DEFAULT_SCHEMA" => drop(c.name()?),
                _ => return Err(c.wrong()),
            }
            if !c.accept_symbol(&Token::Comma) {
                break;
            }
        }
        SecurityStatement::AlterUser(name, login, new_name)
    } else if c.accept(&["SERVER", "ROLE"]) {
        let (role, member, add) = membership(c)?;
        SecurityStatement::AlterServerRole(role, member, add)
    } else if c.accept(&["ROLE"]) {
        let (role, member, add) = membership(c)?;
        SecurityStatement::AlterRole(role, member, add)
    } else if c.accept(&["MASTER", "KEY"]) {
        while !matches!(c.token(0), Token::SemiColon | Token::EOF) {
            c.skip();
        }
        SecurityStatement::KeepMasterKey
    } else if c.accept(&["ENDPOINT"]) {
        let name = c.name()?;
        SecurityStatement::AlterEndpoint(name, endpoint(c)?)
    } else if c.accept(&["AUTHORIZATION", "ON"]) {
        let securable = securable(c)?;
        c.expect(&["TO"])?;
        SecurityStatement::AlterAuthorization(securable, c.name()?)
    } else {
        return Ok(None);
    }))
}

fn drop_statement(c: &mut Cursor) -> SqlResult<Option<SecurityStatement>> {
    Ok(Some(if c.accept(&["LOGIN"]) {
        SecurityStatement::DropLogin(c.name()?)
    } else if c.accept(&["USER"]) {
        let if_exists = c.accept(&["IF", "EXISTS"]);
        SecurityStatement::DropUser { name: c.name()?, if_exists }
    } else if c.accept(&["ROLE"]) {
        let if_exists = c.accept(&["IF", "EXISTS"]);
        SecurityStatement::DropRole { name: c.name()?, if_exists }
    } else if c.accept(&["MASTER", "KEY"]) {
        SecurityStatement::DropMasterKey
    } else if c.accept(&["CERTIFICATE"]) {
        let if_exists = c.accept(&["IF", "EXISTS"]);
        SecurityStatement::DropCertificate { name: c.name()?, if_exists }
    } else if c.accept(&["ENDPOINT"]) {
        SecurityStatement::DropEndpoint(c.name()?)
    } else {
        return Ok(None);
    }))
}

fn membership(c: &mut Cursor) -> SqlResult<(String, String, bool)> {
    let role = c.name()?;
    let add = c.accept(&["ADD"]);
    if !add {
        c.expect(&["DROP"])?;
    }
    c.expect(&["MEMBER"])?;
    Ok((role, c.name()?, add))
}

fn on_off(c: &mut Cursor) -> SqlResult<bool> {
    match c.keyword()?.as_str() {
        "ON" => Ok(true),
        "OFF" => Ok(false),
        _ => Err(c.wrong()),
    }
}

fn login_options(c: &mut Cursor, options: &mut LoginOptions) -> SqlResult<()> {
    loop {
        let option = c.keyword()?;
        c.expect_symbol(&Token::Eq)?;
        match option.as_str() {
            "PASSWORD" => {
                if matches!(c.token(0), Token::HexStringLiteral(_)) {
                    options.hashed = Some(c.binary()?);
                    c.expect(&["HASHED"])?;
                } else {
                    options.password = Some(c.string()?);
                }
                let _ = c.accept(&["MUST_CHANGE"]) || c.accept(&["UNLOCK"]);
            }
            "OLD_PASSWORD" => drop(c.string()?),
            "SID" => options.sid = Some(c.binary()?),
            "DEFAULT_DATABASE" => options.default_database = Some(c.name()?),
            "DEFAULT_LANGUAGE" => drop(c.name()?),
            "CHECK_POLICY" => options.check_policy = Some(on_off(c)?),
            "CHECK_EXPIRATION" => drop(on_off(c)?),
            "NAME" => options.name = Some(c.name()?),
            _ => return Err(c.unsupported(&format!("The login option {option}"))),
        }
        if !c.accept_symbol(&Token::Comma) {
            return Ok(());
        }
    }
}

fn certificate(c: &mut Cursor) -> SqlResult<SecurityStatement> {
    let name = c.name()?;
    let owner = if c.accept(&["AUTHORIZATION"]) { Some(c.name()?) } else { None };
    if c.accept(&["FROM"]) {
        if !c.accept(&["BINARY"]) {
            return Err(c.unsupported("CREATE CERTIFICATE FROM a file or assembly; FROM BINARY is: this source"));
        }
        c.expect_symbol(&Token::Eq)?;
        let der = c.binary()?;
        let key = if c.accept(&["WITH", "PRIVATE", "KEY"]) { Some(private_key(c)?) } else { None };
        return Ok(SecurityStatement::CreateCertificate(name, owner, CertificateSource::Binary { der, key }));
    }
    if c.accept(&["ENCRYPTION", "BY", "PASSWORD"]) {
        return Err(c.unsupported("A certificate encrypted by a password"));
    }
    c.expect(&["WITH"])?;
    let (mut subject, mut begin, mut expiry) = (None, None, None);
    loop {
        let option = c.keyword()?;
        c.expect_symbol(&Token::Eq)?;
        match option.as_str() {
            "SUBJECT" => subject = Some(c.string()?),
            "START_DATE" => begin = Some(c.string()?),
            "EXPIRY_DATE" => expiry = Some(c.string()?),
            _ => return Err(c.wrong()),
        }
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    let subject = subject.ok_or_else(|| c.wrong())?;
    Ok(SecurityStatement::CreateCertificate(name, owner, CertificateSource::New { subject, start: begin, expiry }))
}

/// `(BINARY = 0x.., DECRYPTION BY PASSWORD = '..')`
fn private_key(c: &mut Cursor) -> SqlResult<(Vec<u8>, String)> {
    c.expect_symbol(&Token::LParen)?;
    let (mut key, mut password) = (None, None);
    loop {
        if c.accept(&["BINARY"]) {
            c.expect_symbol(&Token::Eq)?;
            key = Some(c.binary()?);
        } else if c.accept(&["DECRYPTION", "BY", "PASSWORD"]) {
            c.expect_symbol(&Token::Eq)?;
            password = Some(c.string()?);
        } else if c.accept(&["ENCRYPTION", "BY", "PASSWORD"]) {
            return Err(c.unsupported("A certificate encrypted by a password"));
        } else {
            return Err(c.wrong());
        }
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    c.expect_symbol(&Token::RParen)?;
    Ok((key.ok_or_else(|| c.wrong())?, password.ok_or_else(|| c.wrong())?))
}

fn endpoint(c: &mut Cursor) -> SqlResult<EndpointOptions> {
    let mut options = EndpointOptions::default();
    if c.accept(&["AUTHORIZATION"]) {
        c.name()?;
    }
    if c.accept(&["STATE"]) {
        c.expect_symbol(&Token::Eq)?;
        let state = c.keyword()?;
        if !["STARTED", "STOPPED", "DISABLED"].contains(&state.as_str()) {
            return Err(c.wrong());
        }
        options.state = Some(state);
    }
    if c.accept(&["AS"]) {
        c.expect(&["TCP"])?;
        c.expect_symbol(&Token::LParen)?;
        loop {
            let option = c.keyword()?;
            c.expect_symbol(&Token::Eq)?;
            match option.as_str() {
                "LISTENER_PORT" => {
                    options.port = Some(u16::try_from(c.integer()?).map_err(|_| c.wrong())?);
                }
                "LISTENER_IP" => {
                    if !c.accept(&["ALL"]) {
                        while *c.token(0) != Token::RParen && !c.is_done() {
                            c.skip();
                        }
                        c.expect_symbol(&Token::RParen)?;
                    }
                }
                _ => return Err(c.wrong()),
            }
            if !c.accept_symbol(&Token::Comma) {
                break;
            }
        }
        c.expect_symbol(&Token::RParen)?;
    }
    if c.accept(&["FOR"]) {
        if !(c.accept(&["DATABASE_MIRRORING"]) || c.accept(&["DATA_MIRRORING"])) {
            return Err(c.unsupported("An endpoint FOR anything but DATABASE_MIRRORING"));
        }
        mirroring(c, &mut options)?;
    }
    Ok(options)
}

fn mirroring(c: &mut Cursor, options: &mut EndpointOptions) -> SqlResult<()> {
    c.expect_symbol(&Token::LParen)?;
    loop {
        let option = c.keyword()?;
        c.expect_symbol(&Token::Eq)?;
        match option.as_str() {
            "ROLE" => {
                let role = c.keyword()?;
                if !["ALL", "PARTNER", "WITNESS"].contains(&role.as_str()) {
                    return Err(c.wrong());
                }
                options.role = Some(role);
            }
            "AUTHENTICATION" => {
                if !c.accept(&["CERTIFICATE"]) {
                    return Err(c.unsupported("Endpoint authentication other than CERTIFICATE"));
                }
                options.certificate = Some(c.name()?);
            }
            "ENCRYPTION" => {
                options.encryption = Some(c.keyword()?);
                if c.accept(&["ALGORITHM"]) {
                    c.keyword()?;
                    let _ = c.accept(&["RC4"]) || c.accept(&["AES"]);
                }
            }
            _ => return Err(c.wrong()),
        }
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    c.expect_symbol(&Token::RParen)
}

/// Words of a permission until a comma, ON, TO or FROM.
fn permission_name(c: &mut Cursor) -> SqlResult<String> {
    let mut words = vec![c.keyword()?];
    while !(c.is("ON") || c.is("TO") || c.is("FROM")) && *c.token(0) != Token::Comma {
        if *c.token(0) == Token::LParen {
            return Err(c.unsupported("A permission on columns"));
        }
        words.push(c.keyword()?);
    }
    let name = words.join(" ");
    Ok(match name.as_str() {
        "ALL" | "ALL PRIVILEGES" => return Err(c.unsupported("The permission ALL")),
        "EXEC" => "EXECUTE".into(),
        _ => name,
    })
}

fn permission(c: &mut Cursor, verb: Verb) -> SqlResult<SecurityStatement> {
    let mut grant_option = verb == Verb::Revoke && c.accept(&["GRANT", "OPTION", "FOR"]);
    let mut permissions = vec![permission_name(c)?];
    while c.accept_symbol(&Token::Comma) {
        permissions.push(permission_name(c)?);
    }
    let on = if c.accept(&["ON"]) { Some(securable(c)?) } else { None };
    if !(c.accept(&["TO"]) || verb == Verb::Revoke && c.accept(&["FROM"])) {
        return Err(c.wrong());
    }
    let mut principals = vec![c.name()?];
    while c.accept_symbol(&Token::Comma) {
        principals.push(c.name()?);
    }
    grant_option |= c.accept(&["WITH", "GRANT", "OPTION"]);
    let _ = c.accept(&["CASCADE"]);
    if c.accept(&["AS"]) {
        c.name()?;
    }
    Ok(SecurityStatement::Permission { verb, permissions, on, principals, grant_option })
}

fn securable(c: &mut Cursor) -> SqlResult<Securable> {
    let class = [
        (&["ENDPOINT"][..], "ENDPOINT"),
        (&["AVAILABILITY", "GROUP"], "GROUP"),
        (&["LOGIN"], "LOGIN"),
        (&["CERTIFICATE"], "CERTIFICATE"),
        (&["DATABASE"], "DATABASE"),
        (&["SCHEMA"], "SCHEMA"),
        (&["OBJECT"], "OBJECT"),
    ]
    .into_iter()
    .find(|(words, _)| c.are(words) && *c.token(words.len()) == Token::DoubleColon);
    let Some((words, class)) = class else { return Ok(Securable::Object(c.object_name()?)) };
    c.expect(words)?;
    c.expect_symbol(&Token::DoubleColon)?;
    Ok(match class {
        "ENDPOINT" => Securable::Endpoint(c.name()?),
        "GROUP" => Securable::Group(c.name()?),
        "LOGIN" => Securable::Login(c.name()?),
        "CERTIFICATE" => Securable::Certificate(c.name()?),
        "DATABASE" => Securable::Database(Some(c.name()?)),
        "SCHEMA" => Securable::Schema(c.name()?),
        _ => Securable::Object(c.object_name()?),
    })
}
