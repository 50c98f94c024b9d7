//! CREATE, ALTER and DROP AVAILABILITY GROUP (SQL Server docs, the three pages of that name).

use super::Cursor;
use crate::{
    ddl::{GroupOptions, GroupStatement, ReplicaOptions},
    errors::SqlResult,
    tsql::ast::Statement,
};
use sqlparser::tokenizer::Token;

/// Parses one, whose second word is AVAILABILITY.
pub fn parse(c: &mut Cursor) -> SqlResult<Statement> {
    let verb = c.keyword()?;
    c.expect(&["AVAILABILITY", "GROUP"])?;
    let name = c.name()?;
    let statement = match verb.as_str() {
        "CREATE" => create(c)?,
        "ALTER" => alter(c)?,
        "DROP" => GroupStatement::Drop,
        _ => return Err(c.wrong()),
    };
    Ok(Statement::Group(name, statement))
}

fn create(c: &mut Cursor) -> SqlResult<GroupStatement> {
    let mut options = GroupOptions::default();
    if c.accept(&["WITH"]) {
        c.expect_symbol(&Token::LParen)?;
        list(c, |c| group_option(c, &mut options))?;
        c.expect_symbol(&Token::RParen)?;
    }
    if c.accept(&["AVAILABILITY", "GROUP", "ON"]) {
        return Ok(GroupStatement::CreateDistributed { options, members: members(c)? });
    }
    c.expect(&["FOR"])?;
    let mut databases = Vec::new();
    if c.accept(&["DATABASE"]) && !c.is("REPLICA") {
        list(c, |c| {
            databases.push(c.name()?);
            Ok(())
        })?;
    }
    c.expect(&["REPLICA", "ON"])?;
    let mut replicas = Vec::new();
    list(c, |c| {
        replicas.push(replica(c)?);
        Ok(())
    })?;
    if c.is("LISTENER") {
        return Err(c.unsupported("LISTENER"));
    }
    Ok(GroupStatement::Create { options, databases, replicas })
}

fn alter(c: &mut Cursor) -> SqlResult<GroupStatement> {
    let verb = c.keyword()?;
    match verb.as_str() {
        "FAILOVER" => Ok(GroupStatement::Failover),
        "FORCE_FAILOVER_ALLOW_DATA_LOSS" => Ok(GroupStatement::ForceFailover),
        "OFFLINE" => Ok(GroupStatement::Offline),
        "JOIN" => {
            let mut options = GroupOptions::default();
            if c.accept(&["AVAILABILITY", "GROUP", "ON"]) {
                return Ok(GroupStatement::JoinDistributed(members(c)?));
            }
            if c.accept(&["WITH"]) {
                c.expect_symbol(&Token::LParen)?;
                list(c, |c| group_option(c, &mut options))?;
                c.expect_symbol(&Token::RParen)?;
            }
            Ok(GroupStatement::Join { cluster_type: options.cluster_type })
        }
        "GRANT" | "DENY" => {
            c.expect(&["CREATE", "ANY", "DATABASE"])?;
            Ok(if verb == "GRANT" {
                GroupStatement::GrantCreateAnyDatabase
            } else {
                GroupStatement::DenyCreateAnyDatabase
            })
        }
        "SET" => set(c),
        "ADD" | "MODIFY" | "REMOVE" => member(c, &verb),
        _ => Err(c.wrong()),
    }
}

fn set(c: &mut Cursor) -> SqlResult<GroupStatement> {
    c.expect_symbol(&Token::LParen)?;
    if c.accept(&["ROLE"]) {
        c.expect_symbol(&Token::Eq)?;
        c.expect(&["SECONDARY"])?;
        c.expect_symbol(&Token::RParen)?;
        return Ok(GroupStatement::SetRoleSecondary);
    }
    let mut options = GroupOptions::default();
    list(c, |c| group_option(c, &mut options))?;
    c.expect_symbol(&Token::RParen)?;
    Ok(GroupStatement::Set(options))
}

fn member(c: &mut Cursor, verb: &str) -> SqlResult<GroupStatement> {
    if c.is("LISTENER") {
        return Err(c.unsupported("LISTENER"));
    }
    if c.accept(&["DATABASE"]) {
        let mut names = Vec::new();
        list(c, |c| {
            names.push(c.name()?);
            Ok(())
        })?;
        return match verb {
            "ADD" => Ok(GroupStatement::AddDatabases(names)),
            "REMOVE" => Ok(GroupStatement::RemoveDatabases(names)),
            _ => Err(c.wrong()),
        };
    }
    if verb == "MODIFY" && c.accept(&["AVAILABILITY", "GROUP", "ON"]) {
        return Ok(GroupStatement::ModifyGroups(members(c)?));
    }
    c.expect(&["REPLICA", "ON"])?;
    if verb == "REMOVE" {
        return Ok(GroupStatement::RemoveReplica(c.string()?));
    }
    let (name, options) = replica(c)?;
    Ok(if verb == "ADD" {
        GroupStatement::AddReplica(name, options)
    } else {
        GroupStatement::ModifyReplica(name, options)
    })
}

/// The groups of a distributed one.
fn members(c: &mut Cursor) -> SqlResult<Vec<(String, ReplicaOptions)>> {
    let mut members = Vec::new();
    list(c, |c| {
        members.push(replica(c)?);
        Ok(())
    })?;
    Ok(members)
}

/// `item, item, ..`
fn list(c: &mut Cursor, mut item: impl FnMut(&mut Cursor) -> SqlResult<()>) -> SqlResult<()> {
    loop {
        item(c)?;
        if !c.accept_symbol(&Token::Comma) {
            return Ok(());
        }
    }
}

fn on_off(c: &mut Cursor) -> SqlResult<bool> {
    match c.keyword()?.as_str() {
        "ON" => Ok(true),
        "OFF" => Ok(false),
        _ => Err(c.wrong()),
    }
}

fn group_option(c: &mut Cursor, options: &mut GroupOptions) -> SqlResult<()> {
    let start = c.position();
    let name = c.keyword()?;
    match name.as_str() {
        "BASIC" => options.basic = true,
        "DISTRIBUTED" => options.distributed = true,
        "CONTAINED" => {
            options.contained = true;
            let _ = c.accept(&["REUSE_SYSTEM_DATABASES"]) || c.accept(&["AUTOSEEDING_SYSTEM_DATABASES"]);
        }
        _ => {
            if *c.token(0) != Token::Eq {
                c.back_to(start);
                return Err(c.wrong());
            }
            c.skip();
            match name.as_str() {
                "CLUSTER_TYPE" => {
                    let kind = c.keyword()?;
                    if !["EXTERNAL", "NONE", "WSFC"].contains(&kind.as_str()) {
                        return Err(c.wrong());
                    }
                    options.cluster_type = Some(kind);
                }
                "DB_FAILOVER" => options.db_failover = Some(on_off(c)?),
                "DTC_SUPPORT" => {
                    options.dtc_per_db = one_of(c, &["PER_DB", "NONE"])?.map(|word| word == "PER_DB");
                }
                "REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT" => {
                    options.required_synchronized_secondaries_to_commit = Some(c.integer()?);
                }
                "WRITE_LEASE_VALIDITY" => options.write_lease_validity = Some(c.integer()?),
                "FAILURE_CONDITION_LEVEL" => options.failure_condition_level = Some(c.integer()?),
                "HEALTH_CHECK_TIMEOUT" => options.health_check_timeout = Some(c.integer()?),
                "AUTOMATED_BACKUP_PREFERENCE" => {
                    options.automated_backup_preference =
                        one_of(c, &["PRIMARY", "SECONDARY_ONLY", "SECONDARY", "NONE"])?;
                }
                _ => {
                    c.back_to(start);
                    return Err(c.wrong());
                }
            }
        }
    }
    Ok(())
}

fn replica(c: &mut Cursor) -> SqlResult<(String, ReplicaOptions)> {
    let name = c.string()?;
    c.expect(&["WITH"])?;
    c.expect_symbol(&Token::LParen)?;
    let mut options = ReplicaOptions::default();
    list(c, |c| replica_option(c, &mut options))?;
    c.expect_symbol(&Token::RParen)?;
    Ok((name, options))
}

fn one_of(c: &mut Cursor, words: &[&str]) -> SqlResult<Option<String>> {
    let start = c.position();
    let word = c.keyword()?;
    if words.contains(&word.as_str()) {
        return Ok(Some(word));
    }
    c.back_to(start);
    Err(c.wrong())
}

fn replica_option(c: &mut Cursor, options: &mut ReplicaOptions) -> SqlResult<()> {
    let start = c.position();
    let name = c.keyword()?;
    if name == "SECONDARY_ROLE" || name == "PRIMARY_ROLE" {
        c.expect_symbol(&Token::LParen)?;
        list(c, |c| role_option(c, name == "PRIMARY_ROLE", options))?;
        return c.expect_symbol(&Token::RParen);
    }
    if !c.accept_symbol(&Token::Eq) {
        c.back_to(start);
        return Err(c.wrong());
    }
    match name.as_str() {
        "ENDPOINT_URL" | "LISTENER_URL" => options.endpoint_url = Some(c.string()?),
        "AVAILABILITY_MODE" => {
            options.availability_mode =
                one_of(c, &["SYNCHRONOUS_COMMIT", "ASYNCHRONOUS_COMMIT", "CONFIGURATION_ONLY"])?;
        }
        "FAILOVER_MODE" => options.failover_mode = one_of(c, &["EXTERNAL", "MANUAL", "AUTOMATIC"])?,
        "SEEDING_MODE" => options.seeding_mode = one_of(c, &["AUTOMATIC", "MANUAL"])?,
        "SESSION_TIMEOUT" => options.session_timeout = Some(c.integer()?),
        "BACKUP_PRIORITY" => options.backup_priority = Some(c.integer()?),
        _ => {
            c.back_to(start);
            return Err(c.wrong());
        }
    }
    Ok(())
}

fn role_option(c: &mut Cursor, primary: bool, options: &mut ReplicaOptions) -> SqlResult<()> {
    let start = c.position();
    let name = c.keyword()?;
    c.expect_symbol(&Token::Eq)?;
    match (name.as_str(), primary) {
        ("ALLOW_CONNECTIONS", false) => options.secondary_connections = one_of(c, &["NO", "READ_ONLY", "ALL"])?,
        ("ALLOW_CONNECTIONS", true) => options.primary_connections = one_of(c, &["READ_WRITE", "ALL"])?,
        ("READ_ONLY_ROUTING_URL", false) => options.read_only_routing_url = Some(c.string()?),
        ("READ_WRITE_ROUTING_URL", true) => options.read_write_routing_url = Some(c.string()?),
        ("READ_ONLY_ROUTING_LIST", true) => {
            options.read_only_routing_list = Some(if c.accept(&["NONE"]) { vec![] } else { routing_list(c)? });
        }
        _ => {
            c.back_to(start);
            return Err(c.wrong());
        }
    }
    Ok(())
}

/// `('a', 'b')` tries in order, `(('a', 'b'))` balances.
fn routing_list(c: &mut Cursor) -> SqlResult<Vec<Vec<String>>> {
    c.expect_symbol(&Token::LParen)?;
    let mut lists = Vec::new();
    list(c, |c| {
        if c.accept_symbol(&Token::LParen) {
            let mut set = Vec::new();
            list(c, |c| {
                set.push(c.string()?);
                Ok(())
            })?;
            lists.push(set);
            c.expect_symbol(&Token::RParen)
        } else {
            lists.push(vec![c.string()?]);
            Ok(())
        }
    })?;
    c.expect_symbol(&Token::RParen)?;
    Ok(lists)
}
