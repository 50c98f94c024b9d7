//! Options of CREATE and ALTER ENDPOINT.

use crate::{
    errors::SqlResult,
    tsql::{ast::EndpointOptions, parse::cursor::Cursor},
};
use sqlparser::tokenizer::Token;

pub(super) fn options(c: &mut Cursor) -> SqlResult<EndpointOptions> {
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
