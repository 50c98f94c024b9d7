//! Triggers of the server: CREATE, ALTER, DROP, ENABLE and DISABLE TRIGGER .. ON ALL SERVER (SQL Server docs, the pages of
//! those names).

use super::cursor::Cursor;
use crate::{
    errors::{Message, SqlResult},
    tsql::ast::{Definition, RunsAs, Statement, TriggerStatement},
};
use sqlparser::tokenizer::Token;

/// `None`: another family's statement.
pub(super) fn parse(c: &mut Cursor) -> SqlResult<Option<Statement>> {
    let start = c.position();
    let how = if c.accept(&["CREATE", "OR", "ALTER", "TRIGGER"]) {
        Definition::CreateOrAlter
    } else if c.accept(&["CREATE", "TRIGGER"]) {
        Definition::Create
    } else if c.accept(&["ALTER", "TRIGGER"]) {
        Definition::Alter
    } else if c.accept(&["DROP", "TRIGGER"]) {
        let if_exists = c.accept(&["IF", "EXISTS"]);
        let names = names(c)?;
        on_all_server(c)?;
        return Ok(Some(Statement::Trigger(TriggerStatement::Drop { names, if_exists })));
    } else {
        return Ok(None);
    };
    if start != 0 {
        let verb = if how == Definition::Alter { "ALTER" } else { "CREATE" };
        let text = format!("'{verb} TRIGGER' must be the first statement in a query batch.");
        return Err(Message::new(111, 15, text));
    }
    create(c, how).map(|statement| Some(Statement::Trigger(statement)))
}

/// ENABLE TRIGGER, DISABLE TRIGGER
pub(super) fn switch(c: &mut Cursor) -> SqlResult<Statement> {
    let enable = c.keyword()? == "ENABLE";
    c.skip();
    let names = if c.accept(&["ALL"]) { vec![] } else { names(c)? };
    on_all_server(c)?;
    let statement = if enable { TriggerStatement::Enable(names) } else { TriggerStatement::Disable(names) };
    Ok(Statement::Trigger(statement))
}

fn names(c: &mut Cursor) -> SqlResult<Vec<String>> {
    let mut names = vec![c.name()?];
    while c.accept_symbol(&Token::Comma) {
        names.push(c.name()?);
    }
    Ok(names)
}

fn on_all_server(c: &mut Cursor) -> SqlResult<()> {
    if c.accept(&["ON", "ALL", "SERVER"]) {
        return Ok(());
    }
    Err(c.unsupported("CREATE TRIGGER, or another statement on a trigger, without ON ALL SERVER"))
}

fn create(c: &mut Cursor, how: Definition) -> SqlResult<TriggerStatement> {
    let name = c.name()?;
    on_all_server(c)?;
    let mut runs_as = RunsAs::Caller;
    if c.accept(&["WITH"]) {
        loop {
            if c.is("ENCRYPTION") {
                return Err(c.unsupported("A trigger WITH ENCRYPTION"));
            }
            runs_as = execute_as(c)?;
            if !c.accept_symbol(&Token::Comma) {
                break;
            }
        }
    }
    if !(c.accept(&["FOR"]) || c.accept(&["AFTER"])) {
        return Err(c.wrong());
    }
    if !c.accept(&["LOGON"]) || *c.token(0) == Token::Comma {
        return Err(c.unsupported("A trigger of the server for anything but LOGON"));
    }
    c.expect(&["AS"])?;
    let at = c.position();
    let body = c.rest();
    c.back_to(0);
    let text = c.rest();
    c.back_to(at);
    if c.is_done() {
        return Err(c.wrong());
    }
    super::batch(&body, [])?;
    c.rest();
    Ok(TriggerStatement::Create { name, how, runs_as, body, text })
}

/// `EXECUTE AS CALLER | SELF | 'login'`. (OWNER is not for triggers of the server.)
fn execute_as(c: &mut Cursor) -> SqlResult<RunsAs> {
    if !(c.accept(&["EXECUTE"]) || c.accept(&["EXEC"])) {
        return Err(c.wrong());
    }
    c.expect(&["AS"])?;
    if c.accept(&["CALLER"]) {
        return Ok(RunsAs::Caller);
    }
    if c.accept(&["SELF"]) {
        return Ok(RunsAs::Creator);
    }
    Ok(RunsAs::Login(c.string()?))
}
