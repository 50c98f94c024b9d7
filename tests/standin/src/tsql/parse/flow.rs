//! Control of flow: blocks, conditions, loops, errors, transactions.

use super::{cursor::Cursor, separators, starts_statement, statement};
use crate::{
    errors::SqlResult,
    tsql::ast::{Located, Statement, TransactionStatement},
};
use sqlparser::tokenizer::Token;

pub(super) fn condition(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    let condition = c.expression(false)?;
    separators(c);
    let then = Box::new(statement(c)?);
    let position = c.position();
    separators(c);
    let otherwise = if c.accept(&["ELSE"]) {
        separators(c);
        Some(Box::new(statement(c)?))
    } else {
        c.back_to(position);
        None
    };
    Ok(Statement::If { condition, then, otherwise })
}

pub(super) fn begin(c: &mut Cursor) -> SqlResult<Statement> {
    if c.is_at(1, "TRAN") || c.is_at(1, "TRANSACTION") {
        return transaction(c);
    }
    if c.accept(&["BEGIN", "TRY"]) {
        let body = until_end(c)?;
        c.expect(&["TRY"])?;
        c.accept_symbol(&Token::SemiColon);
        c.expect(&["BEGIN", "CATCH"])?;
        let catch = until_end(c)?;
        c.expect(&["CATCH"])?;
        return Ok(Statement::Try { body, catch });
    }
    c.skip();
    Ok(Statement::Block(until_end(c)?))
}

fn until_end(c: &mut Cursor) -> SqlResult<Vec<Located>> {
    let mut statements = Vec::new();
    loop {
        if !separators(c) {
            return Err(c.wrong());
        }
        if c.accept(&["END"]) {
            return Ok(statements);
        }
        statements.push(statement(c)?);
    }
}

pub(super) fn transaction(c: &mut Cursor) -> SqlResult<Statement> {
    let verb = c.keyword()?;
    let _ = c.accept(&["TRANSACTION"]) || c.accept(&["TRAN"]) || c.accept(&["WORK"]);
    if matches!(c.token(0), Token::Word(_)) && !starts_statement(c) && !c.is("COMMIT") && !c.is("ROLLBACK") {
        let position = c.position();
        let _name = if c.at_variable() { c.variable()? } else { c.name()? };
        // A word that goes on as a statement is not the transaction's name.
        if !matches!(c.token(0), Token::SemiColon | Token::EOF) && !starts_statement(c) {
            c.back_to(position);
        }
    }
    Ok(Statement::Transaction(match verb.as_str() {
        "BEGIN" => TransactionStatement::Begin,
        "COMMIT" => TransactionStatement::Commit,
        _ => TransactionStatement::Rollback,
    }))
}

/// WHILE
pub(super) fn repeat(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    let condition = c.expression(false)?;
    separators(c);
    Ok(Statement::While { condition, body: Box::new(statement(c)?) })
}

/// KILL of a session
pub(super) fn kill(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    if matches!(c.token(0), Token::SingleQuotedString(_) | Token::NationalStringLiteral(_)) {
        return Err(c.unsupported("KILL of a unit of work"));
    }
    let spid = c.integer()?;
    if c.is("WITH") {
        return Err(c.unsupported("KILL WITH STATUSONLY"));
    }
    Ok(Statement::Kill(spid))
}

/// RETURN
pub(super) fn give_back(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    let more = !matches!(c.token(0), Token::SemiColon | Token::EOF) && !starts_statement(c);
    Ok(Statement::Return(if more { Some(c.expression(false)?) } else { None }))
}

/// WAITFOR
pub(super) fn wait(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    if !c.accept(&["DELAY"]) {
        return Err(c.unsupported("WAITFOR other than DELAY"));
    }
    Ok(Statement::Wait(c.expression(false)?))
}

pub(super) fn raise_error(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    c.expect_symbol(&Token::LParen)?;
    let mut arguments = vec![c.expression(true)?];
    while c.accept_symbol(&Token::Comma) {
        arguments.push(c.expression(true)?);
    }
    c.expect_symbol(&Token::RParen)?;
    if c.accept(&["WITH"]) {
        c.keyword()?;
        while c.accept_symbol(&Token::Comma) {
            c.keyword()?;
        }
    }
    Ok(Statement::RaiseError(arguments))
}

pub(super) fn throw(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    if matches!(c.token(0), Token::SemiColon | Token::EOF) || starts_statement(c) {
        return Ok(Statement::Throw(None));
    }
    let number = c.expression(true)?;
    c.expect_symbol(&Token::Comma)?;
    let text = c.expression(true)?;
    c.expect_symbol(&Token::Comma)?;
    Ok(Statement::Throw(Some((number, text, c.expression(true)?))))
}
