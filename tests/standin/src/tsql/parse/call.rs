//! EXECUTE, with or without the word.

use super::{cursor::Cursor, starts_statement};
use crate::{
    errors::{Message, SqlResult},
    tsql::ast::{Argument, Callee, Statement},
};
use sqlparser::{ast::Expr, tokenizer::Token};

/// A procedure's name as the first word of a statement: EXEC may be left out there.
pub(super) fn bare(c: &mut Cursor) -> SqlResult<Statement> {
    let looks_like_a_call = matches!(
        c.token(1),
        Token::EOF | Token::SemiColon | Token::Period | Token::SingleQuotedString(_) | Token::NationalStringLiteral(_)
    ) || c.is_at(0, "sp_executesql");
    let named = matches!(c.token(1), Token::Word(word) if word.value.starts_with('@'));
    let system = matches!(c.token(0), Token::Word(word) if word.value.to_ascii_lowercase().starts_with("sp_"));
    if !(named || system || (looks_like_a_call && c.position() == 0)) {
        return Err(c.wrong());
    }
    let name = c.object_name()?;
    Ok(Statement::Execute { into: None, callee: Callee::Procedure(name), arguments: arguments(c)? })
}

pub(super) fn execute(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    if c.accept_symbol(&Token::LParen) {
        let text = c.expression(false)?;
        c.expect_symbol(&Token::RParen)?;
        return Ok(Statement::Execute { into: None, callee: Callee::Text(text), arguments: vec![] });
    }
    let mut into = None;
    if c.at_variable() {
        into = Some(c.variable()?);
        c.expect_symbol(&Token::Eq)?;
    }
    if c.is("AS") {
        return Err(c.unsupported("EXECUTE AS"));
    }
    let name = c.object_name()?;
    Ok(Statement::Execute { into, callee: Callee::Procedure(name), arguments: arguments(c)? })
}

fn arguments(c: &mut Cursor) -> SqlResult<Vec<Argument>> {
    let mut arguments = Vec::new();
    while !matches!(c.token(0), Token::SemiColon | Token::EOF) && !starts_statement(c) && !c.is("WITH") {
        let name = if c.at_variable() && *c.token(1) == Token::Eq {
            let name = c.variable()?;
            c.skip();
            Some(name)
        } else {
            None
        };
        arguments.push(argument(c, name)?);
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    Ok(arguments)
}

fn argument(c: &mut Cursor, name: Option<String>) -> SqlResult<Argument> {
    if c.at_variable() && (c.is_at(1, "OUTPUT") || c.is_at(1, "OUT")) {
        let variable = c.variable()?;
        c.skip();
        if !c.variables.contains(&variable) {
            return Err(Message::new(137, 15, format!("Must declare the scalar variable \"{variable}\".")));
        }
        let value = Expr::Identifier(sqlparser::ast::Ident::new(variable.clone()));
        return Ok(Argument { name, value, output: Some(variable) });
    }
    // EXEC takes bare words as strings: sp_configure show, sp_who active.
    if matches!(c.token(0), Token::Word(word) if word.quote_style.is_none() && !word.value.starts_with('@'))
        && !c.is("NULL")
        && !matches!(c.token(1), Token::LParen)
    {
        let text = c.name()?;
        let value = sqlparser::ast::Value::SingleQuotedString(text).into();
        return Ok(Argument { name, value: Expr::Value(value), output: None });
    }
    Ok(Argument { name, value: c.expression(true)?, output: None })
}
