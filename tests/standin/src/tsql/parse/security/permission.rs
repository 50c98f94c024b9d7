//! GRANT, DENY, REVOKE, and what they are on.

use crate::{
    errors::SqlResult,
    tsql::{
        ast::{Securable, SecurityStatement, Verb},
        parse::cursor::Cursor,
    },
};
use sqlparser::tokenizer::Token;

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

pub(super) fn permission(c: &mut Cursor, verb: Verb) -> SqlResult<SecurityStatement> {
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

pub(super) fn securable(c: &mut Cursor) -> SqlResult<Securable> {
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
