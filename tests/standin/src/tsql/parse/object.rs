//! Tables, indexes, views, procedures, schemas.

use super::Cursor;
use crate::{
    errors::{Message, SqlResult},
    tsql::ast::{
        ColumnDefinition, Constraint, ConstraintKind, Definition, ObjectStatement, ProcedureParameter, Statement,
    },
};
use sqlparser::tokenizer::Token;

/// `None`: another family's statement.
pub fn parse(c: &mut Cursor) -> SqlResult<Option<Statement>> {
    let start = c.position();
    let found = if c.accept(&["CREATE"]) {
        create(c, start == 0)?
    } else if c.accept(&["ALTER"]) {
        alter(c, start == 0)?
    } else if c.accept(&["DROP"]) {
        drop_object(c)?
    } else if c.accept(&["TRUNCATE", "TABLE"]) {
        Some(ObjectStatement::Truncate(c.object_name()?))
    } else {
        None
    };
    if found.is_none() {
        c.back_to(start);
    }
    Ok(found.map(Statement::Object))
}

/// `first`: nothing of the batch stands before it.
fn create(c: &mut Cursor, first: bool) -> SqlResult<Option<ObjectStatement>> {
    let how = if c.accept(&["OR", "ALTER"]) { Definition::CreateOrAlter } else { Definition::Create };
    if c.accept(&["TABLE"]) {
        return table(c).map(Some);
    }
    if c.accept(&["SCHEMA"]) {
        let name = c.name()?;
        if c.accept(&["AUTHORIZATION"]) {
            c.name()?;
        }
        return Ok(Some(ObjectStatement::CreateSchema(name)));
    }
    if c.accept(&["VIEW"]) {
        return view(c, how, first).map(Some);
    }
    if c.accept(&["PROCEDURE"]) || c.accept(&["PROC"]) {
        return procedure(c, how).map(Some);
    }
    let unique = c.is("UNIQUE");
    let skipped = usize::from(unique);
    let clustered = usize::from(c.is_at(skipped, "CLUSTERED") || c.is_at(skipped, "NONCLUSTERED"));
    if c.is_at(skipped + clustered, "INDEX") {
        for _ in 0..=(skipped + clustered) {
            c.skip();
        }
        return index(c, unique).map(Some);
    }
    Ok(None)
}

fn index(c: &mut Cursor, unique: bool) -> SqlResult<ObjectStatement> {
    let name = c.name()?;
    c.expect(&["ON"])?;
    let table = c.object_name()?;
    let columns = key(c)?;
    if c.accept(&["INCLUDE"]) {
        key(c)?;
    }
    if c.is("WHERE") {
        return Err(c.unsupported("A filtered index"));
    }
    with_options(c)?;
    Ok(ObjectStatement::CreateIndex { name, table, unique, columns })
}

/// `WITH (..)` changes nothing here.
fn with_options(c: &mut Cursor) -> SqlResult<()> {
    if c.accept(&["WITH"]) {
        c.expect_symbol(&Token::LParen)?;
        while *c.token(0) != Token::RParen && !c.is_done() {
            c.skip();
        }
        c.expect_symbol(&Token::RParen)?;
    }
    if c.accept(&["ON"]) {
        c.name()?;
    }
    Ok(())
}

/// `(a, b DESC)`
fn key(c: &mut Cursor) -> SqlResult<Vec<String>> {
    c.expect_symbol(&Token::LParen)?;
    let mut columns = Vec::new();
    loop {
        columns.push(c.name()?);
        let _ = c.accept(&["ASC"]) || c.accept(&["DESC"]);
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    c.expect_symbol(&Token::RParen)?;
    Ok(columns)
}

fn table(c: &mut Cursor) -> SqlResult<ObjectStatement> {
    let name = c.object_name()?;
    c.expect_symbol(&Token::LParen)?;
    let (mut columns, mut constraints) = (Vec::new(), Vec::new());
    loop {
        if *c.token(0) == Token::RParen {
            break;
        }
        if is_constraint(c) {
            constraints.push(constraint(c, None)?);
        } else if c.is("INDEX") {
            return Err(c.unsupported("INDEX inside CREATE TABLE"));
        } else {
            columns.push(column(c, &mut constraints)?);
        }
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    c.expect_symbol(&Token::RParen)?;
    with_options(c)?;
    Ok(ObjectStatement::CreateTable { name, columns, constraints })
}

fn is_constraint(c: &Cursor) -> bool {
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK"].iter().any(|word| c.is(word))
}

fn column(c: &mut Cursor, constraints: &mut Vec<Constraint>) -> SqlResult<ColumnDefinition> {
    let name = c.name()?;
    if c.is("AS") {
        return Err(c.unsupported("A computed column"));
    }
    let kind = c.data_type()?;
    let mut column = ColumnDefinition { name, kind, not_null: false, identity: None, default: None };
    loop {
        if c.accept(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if c.accept(&["NULL"]) || c.accept(&["ROWGUIDCOL"]) || c.accept(&["CLUSTERED"]) {
        } else if c.accept(&["COLLATE"]) {
            c.name()?;
        } else if c.accept(&["IDENTITY"]) {
            column.identity = Some((1, 1));
            column.not_null = true;
            if c.accept_symbol(&Token::LParen) {
                let seed = c.integer()?;
                c.expect_symbol(&Token::Comma)?;
                column.identity = Some((seed, c.integer()?));
                c.expect_symbol(&Token::RParen)?;
            }
        } else if c.is("DEFAULT") || (c.is("CONSTRAINT") && c.is_at(2, "DEFAULT")) {
            if c.accept(&["CONSTRAINT"]) {
                c.name()?;
            }
            c.skip();
            column.default = Some(default(c)?);
        } else if is_constraint(c) || c.is("REFERENCES") {
            let constraint = constraint(c, Some(&column.name))?;
            column.not_null |= matches!(constraint.kind, ConstraintKind::PrimaryKey(_));
            constraints.push(constraint);
        } else {
            return Ok(column);
        }
    }
}

/// A default: a literal, or something in parentheses or with arguments.
fn default(c: &mut Cursor) -> SqlResult<sqlparser::ast::Expr> {
    let start = c.position();
    let mut depth = 0usize;
    // Take one operand: a signed literal, a call, or a parenthesis.
    let mut text = String::new();
    loop {
        let token = c.token(0).clone();
        match token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            Token::EOF => return Err(c.wrong()),
            _ => {}
        }
        let signed = matches!(token, Token::Minus | Token::Plus);
        text.push_str(&token.to_string());
        text.push(' ');
        c.skip();
        if depth == 0 && !signed && *c.token(0) != Token::LParen {
            break;
        }
    }
    super::expression(&text).inspect_err(|_| c.back_to(start))
}

fn constraint(c: &mut Cursor, column: Option<&str>) -> SqlResult<Constraint> {
    let name = if c.accept(&["CONSTRAINT"]) { Some(c.name()?) } else { None };
    let columns = |c: &mut Cursor| -> SqlResult<Vec<String>> {
        let _ = c.accept(&["CLUSTERED"]) || c.accept(&["NONCLUSTERED"]);
        match column {
            Some(column) if *c.token(0) != Token::LParen => Ok(vec![column.to_string()]),
            _ => key(c),
        }
    };
    let kind = if c.accept(&["PRIMARY", "KEY"]) {
        ConstraintKind::PrimaryKey(columns(c)?)
    } else if c.accept(&["UNIQUE"]) {
        ConstraintKind::Unique(columns(c)?)
    } else if c.accept(&["CHECK"]) {
        c.expect_symbol(&Token::LParen)?;
        let check = c.expression(false)?;
        c.expect_symbol(&Token::RParen)?;
        ConstraintKind::Check(check)
    } else {
        let own =
            if c.accept(&["FOREIGN", "KEY"]) { columns(c)? } else { column.into_iter().map(Into::into).collect() };
        c.expect(&["REFERENCES"])?;
        let table = c.object_name()?;
        let theirs = if *c.token(0) == Token::LParen { key(c)? } else { vec![] };
        if c.is("ON") {
            return Err(c.unsupported("A referential action"));
        }
        ConstraintKind::ForeignKey(own, table, theirs)
    };
    with_options(c)?;
    Ok(Constraint { name, kind })
}

fn alter(c: &mut Cursor, first: bool) -> SqlResult<Option<ObjectStatement>> {
    if c.accept(&["VIEW"]) {
        return view(c, Definition::Alter, first).map(Some);
    }
    if c.accept(&["PROCEDURE"]) || c.accept(&["PROC"]) {
        return procedure(c, Definition::Alter).map(Some);
    }
    if !c.accept(&["TABLE"]) {
        return Ok(None);
    }
    let table = c.object_name()?;
    if c.accept(&["ADD"]) {
        if is_constraint(c) {
            return Err(c.unsupported("ALTER TABLE ADD CONSTRAINT"));
        }
        let mut constraints = Vec::new();
        let column = column(c, &mut constraints)?;
        if !constraints.is_empty() {
            return Err(c.unsupported("ALTER TABLE ADD CONSTRAINT"));
        }
        return Ok(Some(ObjectStatement::AddColumn { table, column }));
    }
    if c.accept(&["DROP", "COLUMN"]) {
        let mut columns = vec![c.name()?];
        while c.accept_symbol(&Token::Comma) {
            columns.push(c.name()?);
        }
        return Ok(Some(ObjectStatement::DropColumn { table, columns }));
    }
    Err(c.unsupported("ALTER TABLE other than ADD and DROP COLUMN"))
}

fn drop_object(c: &mut Cursor) -> SqlResult<Option<ObjectStatement>> {
    if c.accept(&["INDEX"]) {
        let if_exists = c.accept(&["IF", "EXISTS"]);
        let name = c.name()?;
        c.expect(&["ON"])?;
        return Ok(Some(ObjectStatement::DropIndex { name, table: c.object_name()?, if_exists }));
    }
    let what = if c.accept(&["TABLE"]) {
        "table"
    } else if c.accept(&["VIEW"]) {
        "view"
    } else if c.accept(&["PROCEDURE"]) || c.accept(&["PROC"]) {
        "procedure"
    } else {
        return Ok(None);
    };
    let if_exists = c.accept(&["IF", "EXISTS"]);
    let mut names = vec![c.object_name()?];
    while c.accept_symbol(&Token::Comma) {
        names.push(c.object_name()?);
    }
    Ok(Some(ObjectStatement::Drop { what, if_exists, names }))
}

/// A view is a batch of its own: 111, and 156 for what follows it.
fn view(c: &mut Cursor, how: Definition, first: bool) -> SqlResult<ObjectStatement> {
    if !first {
        let verb = if how == Definition::Alter { "ALTER" } else { "CREATE" };
        let text = format!("'{verb} VIEW' must be the first statement in a query batch.");
        return Err(Message::new(111, 15, text));
    }
    let name = c.object_name()?;
    if name.database.is_some() {
        return Err(Message::new(
            166,
            15,
            "'CREATE/ALTER VIEW' does not allow specifying the database name as a prefix to the object name.",
        ));
    }
    if *c.token(0) == Token::LParen || c.is("WITH") {
        return Err(c.unsupported("A column list or option of a view"));
    }
    c.expect(&["AS"])?;
    let query = c.query()?;
    while c.accept_symbol(&Token::SemiColon) {}
    if !c.is_done() {
        return Err(c.wrong());
    }
    Ok(ObjectStatement::CreateView { name, how, query })
}

/// `@a int = 1 OUTPUT, ..`
pub(super) fn parameters(c: &mut Cursor) -> SqlResult<Vec<ProcedureParameter>> {
    let mut parameters = Vec::new();
    while c.at_variable() {
        let name = c.variable()?;
        c.accept(&["AS"]);
        let kind = c.data_type()?;
        let value = if c.accept_symbol(&Token::Eq) { Some(default(c)?) } else { None };
        let output = c.accept(&["OUTPUT"]) || c.accept(&["OUT"]);
        c.variables.insert(name.clone());
        parameters.push(ProcedureParameter { name, kind, default: value, output });
        if !c.accept_symbol(&Token::Comma) {
            break;
        }
    }
    Ok(parameters)
}

fn procedure(c: &mut Cursor, how: Definition) -> SqlResult<ObjectStatement> {
    let name = c.object_name()?;
    let parens = c.accept_symbol(&Token::LParen);
    let parameters = parameters(c)?;
    if parens {
        c.expect_symbol(&Token::RParen)?;
    }
    if c.is("WITH") {
        return Err(c.unsupported("An option of a procedure"));
    }
    c.expect(&["AS"])?;
    let text = c.rest();
    super::batch(&text, c.variables.iter().cloned())?;
    Ok(ObjectStatement::CreateProcedure { name, how, parameters, text })
}
