//! A batch to statements: control of flow here, the rest in one file per family.

mod cursor;
mod data;
mod group;
mod message;
mod object;
mod security;

use super::ast::{Argument, Callee, Located, Statement, TransactionStatement};
use crate::errors::{Message, SqlResult};
use cursor::Cursor;
use sqlparser::{
    ast::{Expr, SetExpr, Statement as Parsed},
    tokenizer::Token,
};
use std::collections::BTreeSet;

pub use message::not_supported;

/// Parses a batch. `variables`: names of its parameters with `@`. Errors: 102, 105, 137, 156, 191 and the like; then
/// nothing of the batch runs.
pub fn batch(sql: &str, variables: impl IntoIterator<Item = String>) -> SqlResult<Vec<Located>> {
    let variables: BTreeSet<String> = variables.into_iter().map(|name| name.to_lowercase()).collect();
    let mut cursor = Cursor::new(sql, variables)?;
    let mut statements = Vec::new();
    while separators(&mut cursor) {
        statements.push(statement(&mut cursor)?);
    }
    Ok(statements)
}

/// Parses a stored expression or query part.
pub fn expression(text: &str) -> SqlResult<Expr> {
    let mut cursor = Cursor::new(text, BTreeSet::new())?;
    let result = cursor.expression(false)?;
    if cursor.is_done() { Ok(result) } else { Err(cursor.wrong()) }
}

/// Parses a name in up to three parts.
pub fn object_name(text: &str) -> SqlResult<super::ast::ObjectName> {
    let mut cursor = Cursor::new(text, BTreeSet::new())?;
    let name = cursor.object_name()?;
    if cursor.is_done() { Ok(name) } else { Err(cursor.wrong()) }
}

/// Parses the declarations of `sp_executesql`: `@a int, @b nvarchar(10) OUTPUT`.
pub fn declarations(text: &str) -> SqlResult<Vec<super::ast::ProcedureParameter>> {
    let mut cursor = Cursor::new(text, BTreeSet::new())?;
    let parameters = object::parameters(&mut cursor)?;
    if cursor.is_done() { Ok(parameters) } else { Err(cursor.wrong()) }
}

/// Skips semicolons; false at the end.
fn separators(cursor: &mut Cursor) -> bool {
    while cursor.accept_symbol(&Token::SemiColon) {}
    !cursor.is_done()
}

fn statement(cursor: &mut Cursor) -> SqlResult<Located> {
    cursor.enter()?;
    let line = cursor.line();
    let result = one(cursor).map_err(|mut message| {
        if message.line == 0 {
            message.line = line;
        }
        message
    });
    cursor.leave();
    cursor.accept_symbol(&Token::SemiColon);
    Ok(Located { line, statement: result? })
}

fn one(c: &mut Cursor) -> SqlResult<Statement> {
    let Token::Word(word) = c.token(0) else {
        return if *c.token(0) == Token::LParen { Ok(Statement::Query(c.query()?)) } else { Err(c.wrong()) };
    };
    if word.quote_style.is_some() {
        return call(c);
    }
    let word = word.value.to_ascii_uppercase();
    match word.as_str() {
        "SELECT" => Ok(Statement::Query(c.query()?)),
        "WITH" => with(c),
        "INSERT" => modification(c, &["INSERT", "SELECT"]),
        "UPDATE" => modification(c, &["UPDATE", "SET"]),
        "DELETE" => modification(c, &["DELETE"]),
        "IF" => condition(c),
        "WHILE" => {
            c.skip();
            let condition = c.expression(false)?;
            separators(c);
            Ok(Statement::While { condition, body: Box::new(statement(c)?) })
        }
        "BEGIN" => begin(c),
        "DECLARE" => declare(c),
        "SET" => set(c),
        "EXEC" | "EXECUTE" => execute(c),
        "PRINT" => {
            c.skip();
            Ok(Statement::Print(c.expression(false)?))
        }
        "RAISERROR" => raise_error(c),
        "THROW" => throw(c),
        "BREAK" => keyword(c, Statement::Break),
        "CONTINUE" => keyword(c, Statement::Continue),
        "RETURN" => {
            c.skip();
            let more = !matches!(c.token(0), Token::SemiColon | Token::EOF) && !starts_statement(c);
            Ok(Statement::Return(if more { Some(c.expression(false)?) } else { None }))
        }
        "WAITFOR" => {
            c.skip();
            if !c.accept(&["DELAY"]) {
                return Err(c.unsupported("WAITFOR other than DELAY"));
            }
            Ok(Statement::Wait(c.expression(false)?))
        }
        "USE" => {
            c.skip();
            Ok(Statement::Use(c.name()?))
        }
        "KILL" => {
            c.skip();
            Ok(Statement::Kill(c.integer()?))
        }
        "COMMIT" | "ROLLBACK" => transaction(c),
        "GOTO" | "MERGE" | "RESTORE" | "SAVE" | "OPENROWSET" | "BULK" | "DBCC" | "RECONFIGURE" | "CHECKPOINT" => {
            match word.as_str() {
                "CHECKPOINT" | "RECONFIGURE" => keyword(c, Statement::Block(vec![])),
                _ => Err(c.unsupported(&format!("The statement {word}"))),
            }
        }
        "CREATE" | "ALTER" | "DROP" | "GRANT" | "DENY" | "REVOKE" | "BACKUP" | "TRUNCATE" | "OPEN" | "CLOSE" => {
            definition(c)
        }
        _ => call(c),
    }
}

fn keyword(c: &mut Cursor, statement: Statement) -> SqlResult<Statement> {
    c.skip();
    Ok(statement)
}

fn starts_statement(c: &Cursor) -> bool {
    ["END", "ELSE", "IF", "SELECT", "INSERT", "UPDATE", "DELETE", "SET", "EXEC", "DECLARE", "PRINT", "BEGIN"]
        .iter()
        .any(|word| c.is(word))
}

/// CREATE, ALTER, DROP and permissions go to their families.
fn definition(c: &mut Cursor) -> SqlResult<Statement> {
    if c.is_at(1, "AVAILABILITY") {
        return group::parse(c);
    }
    if let Some(statement) = data::parse(c)? {
        return Ok(statement);
    }
    if let Some(statement) = object::parse(c)? {
        return Ok(statement);
    }
    if let Some(statement) = security::parse(c)? {
        return Ok(statement);
    }
    let verb = c.keyword()?;
    let what = c.keyword()?;
    Err(c.unsupported(&format!("The statement {verb} {what}")))
}

fn with(c: &mut Cursor) -> SqlResult<Statement> {
    for verbs in [&["INSERT", "SELECT"][..], &["UPDATE", "SET"], &["DELETE"]] {
        let start = c.position();
        // The verb right after the CTEs' closing parenthesis decides.
        let mut ahead = 1;
        let mut depth = 0usize;
        while *c.token(ahead) != Token::EOF {
            match c.token(ahead) {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && (c.is_at(ahead, "SELECT") || verbs.first().is_some_and(|verb| c.is_at(ahead, verb))) {
                break;
            }
            ahead += 1;
        }
        if verbs.first().is_some_and(|verb| c.is_at(ahead, verb)) {
            return Err(c.unsupported("A common table expression before INSERT, UPDATE or DELETE"));
        }
        c.back_to(start);
    }
    Ok(Statement::Query(c.query()?))
}

fn modification(c: &mut Cursor, verbs: &[&str]) -> SqlResult<Statement> {
    let start = c.position();
    let line = c.line();
    let parsed = c.statement(verbs);
    match parsed? {
        Parsed::Insert(insert) => Ok(Statement::Insert(Box::new(insert))),
        Parsed::Update(update) => Ok(Statement::Update(Box::new(update))),
        Parsed::Delete(delete) => Ok(Statement::Delete(Box::new(delete))),
        Parsed::Query(query) if matches!(*query.body, SetExpr::Insert(_) | SetExpr::Update(_)) => {
            Err(not_supported("A common table expression before INSERT or UPDATE"))
        }
        _ => {
            c.back_to(start);
            let mut message = c.wrong();
            message.line = line;
            Err(message)
        }
    }
}

fn condition(c: &mut Cursor) -> SqlResult<Statement> {
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

fn begin(c: &mut Cursor) -> SqlResult<Statement> {
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

fn transaction(c: &mut Cursor) -> SqlResult<Statement> {
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

fn declare(c: &mut Cursor) -> SqlResult<Statement> {
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

fn set(c: &mut Cursor) -> SqlResult<Statement> {
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

fn raise_error(c: &mut Cursor) -> SqlResult<Statement> {
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

fn throw(c: &mut Cursor) -> SqlResult<Statement> {
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

/// A procedure's name as the first word of a statement: EXEC may be left out there.
fn call(c: &mut Cursor) -> SqlResult<Statement> {
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

fn execute(c: &mut Cursor) -> SqlResult<Statement> {
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
