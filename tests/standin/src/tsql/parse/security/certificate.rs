//! CREATE CERTIFICATE.

use crate::{
    errors::SqlResult,
    tsql::{
        ast::{CertificateSource, SecurityStatement},
        parse::cursor::Cursor,
    },
};
use sqlparser::tokenizer::Token;

pub(super) fn create(c: &mut Cursor) -> SqlResult<SecurityStatement> {
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
