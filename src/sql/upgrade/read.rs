//! Answers of the look to facts.

use crate::{
    decide::upgrade::{
        Facts, Mark,
        observation::{
            CopyFacts, DatabaseFacts, GroupFacts, Inside, LinkFacts, LinkMember, LoginFacts, Marks, Member, Seeding,
            Server, Session, Trust,
        },
    },
    model::{DatabaseName, GroupName, LoginName, Lsn, Mode, ReplicaName, Role},
    sql::{
        facts::{Cells, read_fence, upper_hex},
        hex,
        statement::name::LINK,
    },
};
use std::{collections::BTreeMap, time::Duration};
use tiberius::Row;

/// Result sets before those of the databases that are looked into.
const FIXED: usize = 12;

type Sets<'a> = [&'a [Row]; FIXED];

/// The facts in the answer to the look at an instance of `group`.
pub fn read(group: &GroupName, answer: &[Vec<Row>]) -> Result<Facts, String> {
    let sets: Vec<&[Row]> = answer.iter().map(Vec::as_slice).collect();
    let few = || format!("{} result sets where at least {FIXED} were asked for", answer.len());
    let (fixed, insides) = sets.split_at_checked(FIXED).ok_or_else(few)?;
    let fixed: Sets<'_> = fixed.try_into().map_err(|_| few())?;
    let [
        server,
        certificates,
        trusted,
        groups,
        members,
        copies,
        seedings,
        transfers,
        databases,
        sessions,
        logins,
        fence,
    ] = fixed;
    let mut facts = Facts { server: read_server(server)?, ..Facts::default() };
    read_trust(&mut facts, certificates, trusted)?;
    read_groups(&mut facts, group, groups)?;
    read_members(&mut facts, group, members)?;
    facts.databases = read_databases(databases)?;
    read_copies(&mut facts, group, copies)?;
    facts.seedings = read_seedings(seedings, transfers)?;
    facts.sessions = read_sessions(sessions)?;
    facts.logins = read_logins(logins)?;
    facts.fence = read_fence(fence)?;
    read_insides(&mut facts, insides)?;
    Ok(facts)
}

fn read_server(rows: &[Row]) -> Result<Server, String> {
    let row = Cells(rows.first().ok_or("no row about the server")?);
    Ok(Server {
        name: row.text("server_name")?.unwrap_or_default(),
        version: row.text("product_version")?.unwrap_or_default(),
        edition: row.text("edition")?.unwrap_or_default(),
        engine_edition: row.number("engine_edition")?.unwrap_or_default(),
        collation: row.text("collation")?.unwrap_or_default(),
        utc: row.second("utc_now")?.unwrap_or_default(),
        certificate: None,
    })
}

fn read_trust(facts: &mut Facts, certificates: &[Row], trusted: &[Row]) -> Result<(), String> {
    for row in trusted.iter().map(Cells) {
        let Some(name) = row.text("name")? else { continue };
        let Some(partner) = name.strip_prefix(LINK) else { continue };
        let trust = facts.trusted.entry(partner.into()).or_insert(Trust { certificate: None, admitted: true });
        // A DENY counts more than any GRANT beside it; without either it is not admitted.
        trust.admitted &= row.text("state")?.is_some_and(|state| matches!(state.trim(), "G" | "W"));
    }
    for row in certificates.iter().map(Cells) {
        let Some(name) = row.text("name")? else { continue };
        let encoded = row.bytes("encoded")?.map(|bytes| hex(&bytes));
        if row.number("in_use")? == Some(1) {
            facts.server.certificate = encoded;
        } else if let Some(partner) = name.strip_prefix(LINK) {
            facts.trusted.entry(partner.into()).or_default().certificate = encoded;
        }
    }
    Ok(())
}

fn role(row: &Cells<'_>) -> Result<Role, String> {
    let role = row.number("role")?.and_then(|number| u8::try_from(number).ok()).and_then(Role::from_number);
    // A member whose state shows no role yet is in none.
    Ok(role.unwrap_or(Role::Resolving))
}

fn read_groups(facts: &mut Facts, own: &GroupName, rows: &[Row]) -> Result<(), String> {
    for row in rows.iter().map(Cells) {
        let Some(name) = group_name(&row, "name")? else { continue };
        let (id, role) = (row.text("group_id")?.unwrap_or_default().to_ascii_lowercase(), role(&row)?);
        let connected = row.number("connected_state")? == Some(1);
        if row.number("distributed")? == Some(1) {
            let link = LinkFacts { id, role, connected, members: BTreeMap::new(), databases: BTreeMap::new() };
            facts.links.insert(name, link);
        } else if name == *own {
            facts.group = Some(GroupFacts { id, role, connected, members: BTreeMap::new() });
        }
    }
    Ok(())
}

fn group_name(row: &Cells<'_>, column: &str) -> Result<Option<GroupName>, String> {
    Ok(row.text(column)?.and_then(|name| GroupName::new(name).ok()))
}

fn read_members(facts: &mut Facts, own: &GroupName, rows: &[Row]) -> Result<(), String> {
    for row in rows.iter().map(Cells) {
        let Some(group) = group_name(&row, "group_name")? else { continue };
        let Some(name) = row.text("replica_server_name")? else { continue };
        let number = row.number("availability_mode")?;
        let mode = number.and_then(|number| u8::try_from(number).ok()).and_then(Mode::from_number);
        let mode = mode.ok_or_else(|| format!("availability mode {number:?} of {name}"))?;
        let connected = row.number("connected_state")?.map(|state| state == 1);
        if let Some(link) = facts.links.get_mut(&group) {
            let member = LinkMember {
                listener_url: row.text("endpoint_url")?.unwrap_or_default(),
                mode,
                automatic_seeding: row.number("seeding_mode")? == Some(0),
                local: name == own.as_str(),
                connected,
            };
            let Ok(name) = GroupName::new(name) else { continue };
            link.members.insert(name, member);
        } else if let (Some(group), Ok(name)) = (&mut facts.group, ReplicaName::new(name)) {
            let readable = row.text("readable")?.unwrap_or_default();
            let connected = connected == Some(true);
            group.members.insert(name, Member { mode, connected, readable, databases: BTreeMap::new() });
        }
    }
    Ok(())
}

fn lsn(row: &Cells<'_>, column: &str) -> Result<Option<Lsn>, String> {
    let text = row.text(column)?;
    text.map(|text| Lsn::new(&text).map_err(|error| format!("{column} {text}: {error}"))).transpose()
}

fn read_copies(facts: &mut Facts, own: &GroupName, rows: &[Row]) -> Result<(), String> {
    for row in rows.iter().map(Cells) {
        let Some(group) = group_name(&row, "group_name")? else { continue };
        let Some(database) = row.text("database_name")?.and_then(|name| DatabaseName::new(name).ok()) else { continue };
        let local = row.number("is_local")? == Some(1);
        let copy = CopyFacts {
            state: row.text("synchronization_state_desc")?.unwrap_or_default(),
            hardened: lsn(&row, "hardened")?,
            committed: lsn(&row, "committed")?,
            end_of_log: lsn(&row, "end_of_log")?,
            send_queue: row.number("log_send_queue_size")?.unwrap_or(0),
            redo_queue: row.number("redo_queue_size")?.unwrap_or(0),
            suspended: row.number("suspended")? == Some(1),
            suspend_reason: row.text("suspend_reason_desc")?,
        };
        if let Some(link) = facts.links.get_mut(&group) {
            let sides = link.databases.entry(database).or_default();
            *(if local { &mut sides.local } else { &mut sides.remote }) = Some(copy);
            continue;
        }
        if group != *own {
            continue;
        }
        if let Some(database) = facts.databases.get_mut(&database).filter(|_| local) {
            database.own = Some(copy.clone());
        }
        let replica = row.text("replica_server_name")?.and_then(|name| ReplicaName::new(name).ok());
        let member = replica.and_then(|replica| facts.group.as_mut()?.members.get_mut(&replica));
        member.map(|member| member.databases.insert(database, copy));
    }
    Ok(())
}

fn read_databases(rows: &[Row]) -> Result<BTreeMap<DatabaseName, DatabaseFacts>, String> {
    let mut databases = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let Some(name) = row.text("name")?.and_then(|name| DatabaseName::new(name).ok()) else { continue };
        let facts = DatabaseFacts {
            state: row.text("state_desc")?.unwrap_or_default(),
            writable: row.text("updateability")?.as_deref() == Some("READ_WRITE"),
            full_recovery: row.number("recovery_model")? == Some(1),
            log_chain: row.number("log_chain")? == Some(1),
            fork: row.text("fork")?.map(|fork| fork.to_ascii_lowercase()),
            group: group_name(&row, "group_name")?,
            joined: row.number("joined")? == Some(1),
            own: None,
            log_wait: row.text("log_reuse_wait_desc")?.unwrap_or_default(),
            inside: None,
        };
        databases.insert(name, facts);
    }
    Ok(databases)
}

/// What moved of one database in one direction: to or from a machine.
struct Transfer {
    database: Option<String>,
    partner: Option<String>,
    source: bool,
    facts: Seeding,
}

fn read_transfers(rows: &[Row]) -> Result<Vec<Transfer>, String> {
    let transfer = |row: &Row| {
        let row = Cells(row);
        Ok(Transfer {
            database: row.text("local_database_name")?,
            partner: row.text("remote_machine_name")?,
            source: row.text("role_desc")?.is_some_and(|role| role.eq_ignore_ascii_case("source")),
            facts: Seeding {
                bytes: row.number("transferred_size_bytes")?,
                total: row.number("database_size_bytes")?,
                rate: row.number("transfer_rate_bytes_per_second")?,
                failure: row.text("failure_message")?,
                ..Seeding::default()
            },
        })
    };
    rows.iter().map(transfer).collect()
}

/// Seedings in the order of their start, each with the transfer that fits it: that of its database in its direction, with
/// its partner where one names it, begun last.
fn read_seedings(rows: &[Row], transfers: &[Row]) -> Result<Vec<Seeding>, String> {
    let transfers = read_transfers(transfers)?;
    let seeding = |row: &Row| {
        let row = Cells(row);
        let (database, partner) = (row.text("database_name")?, row.text("partner")?);
        let source = row.number("is_source")? == Some(1);
        let fits = |transfer: &&Transfer| transfer.source == source && transfer.database == database;
        let named = transfers.iter().filter(fits).rfind(|transfer| transfer.partner == partner);
        let facts = named.or_else(|| transfers.iter().rfind(fits)).map(|transfer| transfer.facts.clone());
        let facts = facts.unwrap_or_default();
        Ok(Seeding {
            group: group_name(&row, "group_name")?,
            database: database.and_then(|name| DatabaseName::new(name).ok()),
            partner,
            source,
            state: row.text("current_state")?.unwrap_or_default(),
            failure: facts.failure.clone().or(row.text("failure_state_desc")?),
            ..facts
        })
    };
    rows.iter().map(seeding).collect()
}

fn read_sessions(rows: &[Row]) -> Result<BTreeMap<i64, Session>, String> {
    let mut sessions = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let id = row.number("session_id")?.ok_or("a session without a number")?;
        let oldest = row.number("oldest")?.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        let session = Session {
            since: row.text("since")?.unwrap_or_default(),
            login: row.text("original_login_name")?.unwrap_or_default(),
            program: row.text("program_name")?.unwrap_or_default(),
            host: row.text("host_name")?.unwrap_or_default(),
            database: row.text("database_name")?,
            transactions: row.number("open_transaction_count")?.unwrap_or(0),
            oldest_transaction: oldest,
            rolling_back: row.number("rolling_back")?.unwrap_or(0) > 0,
        };
        sessions.insert(id, session);
    }
    Ok(sessions)
}

fn read_logins(rows: &[Row]) -> Result<BTreeMap<LoginName, LoginFacts>, String> {
    let mut logins = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let Some(name) = row.text("name")?.and_then(|name| LoginName::new(name).ok()) else { continue };
        let facts = LoginFacts {
            sid: upper_hex(&row.bytes("sid")?.unwrap_or_default()),
            disabled: row.number("disabled")? == Some(1),
            default_database: row.text("default_database_name")?,
            check_policy: row.number("check_policy")? == Some(1),
            check_expiration: row.number("check_expiration")? == Some(1),
        };
        logins.insert(name, facts);
    }
    Ok(logins)
}

/// How many sets a database has is not known beforehand, so that every row names its own.
fn read_insides(facts: &mut Facts, sets: &[&[Row]]) -> Result<(), String> {
    for row in sets.iter().copied().flatten() {
        let has = |column: &str| row.columns().iter().any(|known| known.name() == column);
        let (error, mark) = (has("number"), has("value"));
        let row = Cells(row);
        let Some(name) = row.text("inside")?.and_then(|name| DatabaseName::new(name).ok()) else { continue };
        let Some(database) = facts.databases.get_mut(&name) else { continue };
        if error {
            let number = row.number("number")?.unwrap_or_default();
            let why = row.text("message")?.unwrap_or_default();
            database.inside = Some(Inside::Unreadable { number, why });
            continue;
        }
        let Inside::Read(marks) = database.inside.get_or_insert_with(|| Inside::Read(Marks::default())) else {
            continue;
        };
        if !mark {
            marks.log_used_percent = row.number("log_used")?;
            continue;
        }
        let (name, value) = (row.text("name")?.unwrap_or_default(), row.text("value")?);
        let known = [
            (Mark::Barrier, &mut marks.barrier),
            (Mark::Stage, &mut marks.stage),
            (Mark::Completion, &mut marks.completion),
        ];
        known.into_iter().filter(|(mark, _)| mark.property() == name).for_each(|(_, slot)| *slot = value.clone());
    }
    Ok(())
}
