//! Statements on whole databases: CREATE, ALTER SET, DROP, BACKUP.

use super::Cursor;
use crate::{
    ddl::HadrStatement,
    errors::SqlResult,
    tsql::ast::{DatabaseStatement, Statement},
};
use sqlparser::tokenizer::Token;

/// `None`: another family's statement.
pub fn parse(c: &mut Cursor) -> SqlResult<Option<Statement>> {
    if c.are(&["CREATE", "DATABASE", "AUDIT"]) || c.are(&["CREATE", "DATABASE", "SCOPED"]) {
        return Ok(None);
    }
    let statement = if c.accept(&["CREATE", "DATABASE"]) {
        let name = c.name()?;
        if c.accept(&["COLLATE"]) {
            c.name()?;
        }
        if c.is("ON") || c.is("WITH") || c.is("CONTAINMENT") {
            return Err(c.unsupported("A file or option in CREATE DATABASE"));
        }
        DatabaseStatement::Create(name)
    } else if c.accept(&["DROP", "DATABASE"]) {
        let if_exists = c.accept(&["IF", "EXISTS"]);
        let mut names = vec![c.name()?];
        while c.accept_symbol(&Token::Comma) {
            names.push(c.name()?);
        }
        DatabaseStatement::Drop { names, if_exists }
    } else if c.accept(&["ALTER", "DATABASE"]) {
        let name = c.name()?;
        alter(c, name)?
    } else if c.accept(&["BACKUP"]) {
        backup(c)?
    } else {
        return Ok(None);
    };
    Ok(Some(Statement::Database(statement)))
}

fn alter(c: &mut Cursor, name: String) -> SqlResult<DatabaseStatement> {
    if !c.accept(&["SET"]) {
        return Err(c.unsupported("ALTER DATABASE other than SET"));
    }
    if c.accept(&["HADR"]) {
        let statement = if c.accept(&["AVAILABILITY", "GROUP"]) {
            c.expect_symbol(&Token::Eq)?;
            HadrStatement::Join(c.name()?)
        } else if c.accept(&["OFF"]) {
            HadrStatement::Off
        } else if c.accept(&["SUSPEND"]) {
            HadrStatement::Suspend
        } else if c.accept(&["RESUME"]) {
            HadrStatement::Resume
        } else {
            return Err(c.wrong());
        };
        return Ok(DatabaseStatement::Hadr(name, statement));
    }
    if c.accept(&["RECOVERY"]) {
        let model = c.keyword()?;
        let full = match model.as_str() {
            "FULL" => true,
            "SIMPLE" => false,
            _ => return Err(c.unsupported(&format!("RECOVERY {model}"))),
        };
        termination(c)?;
        return Ok(DatabaseStatement::Recovery(name, full));
    }
    let option = c.keyword()?;
    let harmless = [
        "READ_COMMITTED_SNAPSHOT",
        "ALLOW_SNAPSHOT_ISOLATION",
        "AUTO_CLOSE",
        "AUTO_SHRINK",
        "AUTO_CREATE_STATISTICS",
        "AUTO_UPDATE_STATISTICS",
        "PAGE_VERIFY",
        "COMPATIBILITY_LEVEL",
        "QUERY_STORE",
        "TARGET_RECOVERY_TIME",
        "MULTI_USER",
    ];
    let outside = ["READ_ONLY", "READ_WRITE", "SINGLE_USER", "RESTRICTED_USER", "EMERGENCY", "OFFLINE", "ONLINE"];
    if outside.contains(&option.as_str()) || option.ends_with("ABLE_BROKER") {
        termination(c)?;
        return Ok(DatabaseStatement::Outside(name, option));
    }
    if !harmless.contains(&option.as_str()) {
        return Err(c.unsupported(&format!("ALTER DATABASE SET {option}")));
    }
    if c.accept_symbol(&Token::Eq) {
        c.skip();
        let _ = c.accept(&["SECONDS"]);
    } else if option != "MULTI_USER" {
        c.keyword()?;
    }
    termination(c)?;
    Ok(DatabaseStatement::Ignored(name))
}

/// `WITH NO_WAIT | ROLLBACK IMMEDIATE`: nothing here waits for other sessions.
fn termination(c: &mut Cursor) -> SqlResult<()> {
    if c.accept(&["WITH"]) {
        c.keyword()?;
        if c.accept(&["AFTER"]) {
            c.integer()?;
            let _ = c.accept(&["SECONDS"]);
        }
        let _ = c.accept(&["IMMEDIATE"]);
    }
    Ok(())
}

/// RESTORE DATABASE .. WITH RECOVERY, which brings back what is RESTORING.
pub(super) fn restore(c: &mut Cursor) -> SqlResult<Statement> {
    c.skip();
    if c.accept(&["DATABASE"]) {
        let name = c.name()?;
        if c.accept(&["WITH", "RECOVERY"]) {
            return Ok(Statement::Database(DatabaseStatement::Recover(name)));
        }
    }
    Err(c.unsupported("RESTORE other than RESTORE DATABASE .. WITH RECOVERY"))
}

fn backup(c: &mut Cursor) -> SqlResult<DatabaseStatement> {
    let log = match c.keyword()?.as_str() {
        "DATABASE" => false,
        "LOG" => true,
        what => {
            return Err(
                c.unsupported(&format!("BACKUP {what}; CERTENCODED and CERTPRIVATEKEY export a certificate; it"))
            );
        }
    };
    let name = c.name()?;
    c.expect(&["TO", "DISK"])?;
    c.expect_symbol(&Token::Eq)?;
    c.string()?;
    if c.accept(&["WITH"]) {
        loop {
            let option = c.keyword()?;
            if c.accept_symbol(&Token::Eq) {
                c.skip();
            }
            if option == "DIFFERENTIAL" {
                return Err(c.unsupported("A differential backup"));
            }
            if !c.accept_symbol(&Token::Comma) {
                break;
            }
        }
    }
    Ok(if log { DatabaseStatement::BackupLog(name) } else { DatabaseStatement::Backup(name) })
}
