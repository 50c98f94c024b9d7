//! Logins, users, roles, permissions, master key, certificates, endpoints.

mod certificate;
mod endpoint;
mod permission;

use super::cursor::Cursor;
use crate::{
    errors::SqlResult,
    tsql::ast::{LoginOptions, SecurityStatement, Statement, Verb},
};
use permission::{permission, securable};
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
        certificate::create(c)?
    } else if c.accept(&["ENDPOINT"]) {
        let name = c.name()?;
        let options = endpoint::options(c)?;
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
        SecurityStatement::AlterEndpoint(name, endpoint::options(c)?)
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
