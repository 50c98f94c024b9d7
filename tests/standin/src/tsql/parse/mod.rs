//! A batch to statements: which family each belongs to; one file per family.

mod call;
mod cursor;
mod data;
mod extent;
mod flow;
mod group;
mod literal;
mod message;
mod object;
mod security;
mod trigger;
mod variable;

use super::ast::{Located, Statement};
use crate::errors::SqlResult;
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
        return call::bare(c);
    }
    let word = word.value.to_ascii_uppercase();
    match word.as_str() {
        "SELECT" => Ok(Statement::Query(c.query()?)),
        "WITH" => with(c),
        "INSERT" => modification(c, &["INSERT", "SELECT"]),
        "UPDATE" => modification(c, &["UPDATE", "SET"]),
        "DELETE" => modification(c, &["DELETE"]),
        "IF" => flow::condition(c),
        "WHILE" => flow::repeat(c),
        "BEGIN" => flow::begin(c),
        "BREAK" => keyword(c, Statement::Break),
        "CONTINUE" => keyword(c, Statement::Continue),
        "RETURN" => flow::give_back(c),
        "WAITFOR" => flow::wait(c),
        "RAISERROR" => flow::raise_error(c),
        "THROW" => flow::throw(c),
        "COMMIT" | "ROLLBACK" => flow::transaction(c),
        "DECLARE" => variable::declare(c),
        "SET" => variable::set(c),
        "EXEC" | "EXECUTE" => call::execute(c),
        "PRINT" => {
            c.skip();
            Ok(Statement::Print(c.expression(false)?))
        }
        "USE" => {
            c.skip();
            Ok(Statement::Use(c.name()?))
        }
        "KILL" => flow::kill(c),
        "ENABLE" | "DISABLE" if c.is_at(1, "TRIGGER") => trigger::switch(c),
        "CHECKPOINT" | "RECONFIGURE" => keyword(c, Statement::Block(vec![])),
        "RESTORE" => data::restore(c),
        "GOTO" | "MERGE" | "SAVE" | "OPENROWSET" | "BULK" | "DBCC" => {
            Err(c.unsupported(&format!("The statement {word}")))
        }
        "CREATE" | "ALTER" | "DROP" | "GRANT" | "DENY" | "REVOKE" | "BACKUP" | "TRUNCATE" | "OPEN" | "CLOSE" => {
            definition(c)
        }
        _ => call::bare(c),
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
    if let Some(statement) = trigger::parse(c)? {
        return Ok(statement);
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
