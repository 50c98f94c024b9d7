//! DECLARE and SET.

use super::cursor::Cursor;
use crate::{
    errors::{Message, SqlResult},
    tsql::ast::Statement,
};
use sqlparser::{ast::Expr, tokenizer::Token};

pub(super) fn declare(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    let mut declared = Vec::new();
    loop {
        let name = c.variable()?;
        c.accept(&["AS"]);
        if c.is("TABLE") || c.is("CURSOR") {
            return Err(c.unsupported("A table variable or cursor"));
        }
        let kind = c.data_type()?;
        let value = if c.accept_symbol(&Token::Eq) { Some(c.expression(true)?) } else { None };
        if !c.variables.insert(name.clone()) {
            return Err(Message::new(
                134,
                15,
                format!(
                    "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or stored procedure."
                ),
            ));
        }
        declared.push((name, kind, value));
        if !c.accept_symbol(&Token::Comma) {
            return Ok(Statement::Declare(declared));
        }
    }
}

pub(super) fn set(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    if c.at_variable() {
        let name = c.variable()?;
        if !c.variables.contains(&name) {
            return Err(Message::new(137, 15, format!("Must declare the scalar variable \"{name}\".")));
        }
        let operator = match c.token(0) {
            Token::Eq => None,
            Token::Plus => Some("+"),
            Token::Minus => Some("-"),
            Token::Mul => Some("*"),
            _ => return Err(c.wrong()),
        };
        c.skip();
        if operator.is_some() {
            c.expect_symbol(&Token::Eq)?;
        }
        let value = c.expression(false)?;
        let value = match operator {
            None => value,
            Some(operator) => expression_of(&name, operator, value),
        };
        return Ok(Statement::SetVariable(name, value));
    }
    let mut options = vec![c.keyword()?];
    while c.accept_symbol(&Token::Comma) {
        options.push(c.keyword()?);
    }
    let mut value = Vec::new();
    while !matches!(c.token(0), Token::SemiColon | Token::EOF)
        && (value.last().is_none_or(|last: &String| last == "-") || !ends_option(c, &options))
    {
        value.push(c.token(0).to_string().to_ascii_uppercase());
        c.skip();
    }
    Ok(Statement::SetOption(options, value.join(" ")))
}

/// All options take one word, `TRANSACTION ISOLATION LEVEL ..` up to four.
fn ends_option(c: &Cursor, options: &[String]) -> bool {
    let goes_on = ["ISOLATION", "LEVEL", "READ", "COMMITTED", "UNCOMMITTED", "REPEATABLE", "SERIALIZABLE", "SNAPSHOT"];
    let multi = ["TRANSACTION", "STATISTICS", "IDENTITY_INSERT"].iter().any(|word| options.iter().any(|o| o == word));
    let more = *c.token(0) == Token::Period || c.is("ON") || c.is("OFF");
    !(multi && (more || goes_on.iter().any(|word| c.is(word))))
}

fn expression_of(name: &str, operator: &str, value: Expr) -> Expr {
    use sqlparser::ast::{BinaryOperator, Ident};
    let op = match operator {
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        _ => BinaryOperator::Multiply,
    };
    Expr::BinaryOp {
        left: Box::new(Expr::Identifier(Ident::new(name))),
        op,
        right: Box::new(Expr::Nested(Box::new(value))),
    }
}
