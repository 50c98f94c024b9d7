//! Answers of the look to facts. Whatever an answer holds, reading it ends in facts or in a sentence.

use super::{
    hex,
    probe::partner_of,
    statement::{
        fence,
        name::{self, ENDPOINT},
    },
};
use crate::{
    decide::{
        Record,
        observation::{
            DatabaseFacts, Facts, FenceFacts, GroupDatabase, GroupFacts, Member, Partner, Server, Setup, Stored,
        },
    },
    model::{DatabaseName, LoginName, Mode, ReplicaName, Role, SequenceNumber},
};
use std::collections::BTreeMap;
use tiberius::{ColumnData, Row};

/// `operational_state` while a FAILOVER is under way.
const PENDING_FAILOVER: i64 = 0;

type Sets<'a> = [&'a [Row]; 11];

/// The facts in the answer to the look at `replica`.
pub fn read(replica: &ReplicaName, answer: &[Vec<Row>]) -> Result<Facts, String> {
    let sets: Vec<&[Row]> = answer.iter().map(Vec::as_slice).collect();
    let sets: Sets<'_> =
        sets.try_into().map_err(|sets: Vec<_>| format!("{} result sets where 11 were asked for", sets.len()))?;
    let [server, stored, certificates, endpoints, partners, group, members, group_databases, databases, logins, fence] =
        sets;
    let server = read_server(server)?;
    let setup = read_setup(replica, certificates, endpoints, partners)?;
    let group = match group.first() {
        None => None,
        Some(row) => Some(read_group(replica, &Cells(row), members, group_databases)?),
    };
    Ok(Facts {
        server,
        setup,
        stored: read_stored(stored)?,
        group,
        databases: read_databases(databases)?,
        logins: read_logins(logins)?,
        fence: read_fence(fence)?,
    })
}

fn read_server(rows: &[Row]) -> Result<Server, String> {
    let row = Cells(rows.first().ok_or("no row about the server")?);
    Ok(Server {
        name: row.text("server_name")?.unwrap_or_default(),
        version: row.text("product_version")?.unwrap_or_default(),
        edition: row.text("edition")?.unwrap_or_default(),
        hadr_enabled: row.number("hadr_enabled")? == Some(1),
        ticks: row.number("ms_ticks")?.ok_or("ms_ticks is NULL")?,
    })
}

fn read_stored(rows: &[Row]) -> Result<Stored, String> {
    let Some(row) = rows.first().map(Cells) else { return Ok(Stored::default()) };
    let epoch = row.number("epoch")?.unwrap_or(0);
    // A record that cannot be read is one that is not there; the epoch beside it still guards.
    let settled = row.text("settled")?.and_then(|text| serde_json::from_str::<Record>(&text).ok());
    let epoch = u64::try_from(epoch).map_err(|_| format!("stored epoch {epoch}"))?;
    Ok(Stored { epoch, settled, passwords: row.text("passwords")? })
}

fn read_setup(
    replica: &ReplicaName,
    certificates: &[Row],
    endpoints: &[Row],
    partners: &[Row],
) -> Result<Setup, String> {
    let mut setup = Setup::default();
    let mut imported = BTreeMap::new();
    let own = name::own_certificates(replica);
    for row in certificates.iter().map(Cells) {
        let Some(name) = row.text("name")? else { continue };
        let encoded = row.bytes("encoded")?.map(|bytes| hex(&bytes));
        if own.contains(&name) {
            // Of two the endpoint's is the one that partners have to know.
            if setup.certificate.is_none() || row.number("in_use")? == Some(1) {
                setup.certificate = encoded;
                setup.rotation = name::rotation_of(replica, &row.text("subject")?.unwrap_or_default());
            }
        } else if let (Some(partner), Some(encoded)) = (partner_of(&name), encoded) {
            imported.insert(partner, encoded);
        }
    }
    for row in endpoints.iter().map(Cells) {
        if row.text("name")?.as_deref() == Some(ENDPOINT) {
            setup.endpoint_started = Some(row.number("state")? == Some(0));
        }
    }
    let mut states: BTreeMap<ReplicaName, String> = BTreeMap::new();
    for row in partners.iter().map(Cells) {
        let Some(partner) = row.text("name")?.as_deref().and_then(partner_of) else { continue };
        states.entry(partner).or_default().push_str(row.text("state")?.unwrap_or_default().trim());
    }
    for (partner, state) in states {
        let admitted = state.contains(['G', 'W']) && !state.contains('D');
        let certificate = imported.remove(&partner);
        setup.partners.insert(partner, Partner { certificate, admitted });
    }
    Ok(setup)
}

fn read_group(
    replica: &ReplicaName,
    row: &Cells<'_>,
    members: &[Row],
    databases: &[Row],
) -> Result<GroupFacts, String> {
    let role = row.number("role")?.and_then(|number| u8::try_from(number).ok()).and_then(Role::from_number);
    let pending = row.number("operational_state")? == Some(PENDING_FAILOVER);
    let commit_quorum = row.number("commit_quorum")?.unwrap_or(0);
    Ok(GroupFacts {
        // A member whose state shows no role yet is in none.
        role: role.unwrap_or(Role::Resolving),
        failover_running: pending || row.number("failover_batches")?.unwrap_or(0) > 0,
        basic: row.number("basic")? == Some(1),
        number: SequenceNumber(row.number("sequence_number")?.unwrap_or(0)),
        commit_quorum: u32::try_from(commit_quorum).map_err(|_| format!("commit quorum {commit_quorum}"))?,
        connected: role == Some(Role::Secondary) && row.number("connected_state")? == Some(1),
        primary: row.text("primary_replica")?.and_then(|name| ReplicaName::new(name).ok()),
        commit_pending: row.number("commit_pending")? == Some(1),
        members: read_members(members)?,
        databases: read_group_databases(replica, databases)?,
    })
}

fn read_members(rows: &[Row]) -> Result<BTreeMap<ReplicaName, Member>, String> {
    let mut members = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let Some(name) = row.text("replica_server_name")?.and_then(|name| ReplicaName::new(name).ok()) else {
            continue;
        };
        let number = row.number("availability_mode")?;
        let mode = number.and_then(|number| u8::try_from(number).ok()).and_then(Mode::from_number);
        let mode = mode.ok_or_else(|| format!("availability mode {number:?} of {name}"))?;
        members.insert(name, Member { mode, connected: row.number("connected_state")? == Some(1) });
    }
    Ok(members)
}

/// `suspend_reason` of a secondary that a forced failover left behind: SUSPEND_FROM_PARTNER.
const FROM_PARTNER: i64 = 1;

fn read_group_databases(replica: &ReplicaName, rows: &[Row]) -> Result<BTreeMap<DatabaseName, GroupDatabase>, String> {
    let mut databases: BTreeMap<DatabaseName, GroupDatabase> = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let Some(name) = row.text("database_name")?.and_then(|name| DatabaseName::new(name).ok()) else { continue };
        let Some(whose) = row.text("replica_server_name")?.and_then(|name| ReplicaName::new(name).ok()) else {
            continue;
        };
        let database = databases.entry(name).or_default();
        let state = row.text("synchronization_state_desc")?;
        if whose == *replica {
            database.failover_ready = row.number("failover_ready")? == Some(1) && row.number("joined")? == Some(1);
            database.local = state;
            database.suspended = row.number("suspended")? == Some(1);
            database.left_behind = database.suspended && row.number("suspend_reason")? == Some(FROM_PARTNER);
            database.end_of_log = row.text("end_of_log")?;
            database.redo_queue = row.number("redo_queue_size")?.unwrap_or(0);
        } else {
            if row.number("seedings")?.unwrap_or(0) > 0 {
                database.seeding.insert(whose.clone());
            }
            database.remote.extend(state.map(|state| (whose, state)));
        }
    }
    Ok(databases)
}

fn read_databases(rows: &[Row]) -> Result<BTreeMap<DatabaseName, DatabaseFacts>, String> {
    let mut databases = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let Some(name) = row.text("name")?.and_then(|name| DatabaseName::new(name).ok()) else { continue };
        let facts = DatabaseFacts {
            state: row.text("state_desc")?.unwrap_or_default(),
            full_recovery: row.number("recovery_model")? == Some(1),
            in_group: row.number("in_group")? == Some(1),
            log_chain: row.number("log_chain")? == Some(1),
            users: None,
        };
        databases.insert(name, facts);
    }
    Ok(databases)
}

fn read_logins(rows: &[Row]) -> Result<BTreeMap<LoginName, String>, String> {
    let mut logins = BTreeMap::new();
    for row in rows.iter().map(Cells) {
        let Some(name) = row.text("name")?.and_then(|name| LoginName::new(name).ok()) else { continue };
        logins.insert(name, upper_hex(&row.bytes("sid")?.unwrap_or_default()));
    }
    Ok(logins)
}

pub(super) fn read_fence(rows: &[Row]) -> Result<Option<FenceFacts>, String> {
    let Some(row) = rows.first().map(Cells) else { return Ok(None) };
    let text = row.text("definition")?.unwrap_or_default();
    Ok(Some(FenceFacts { enabled: row.number("disabled")? == Some(0), mark: fence::mark_of(&text) }))
}

/// Upper-case hex, as SIDs are written.
pub fn upper_hex(bytes: &[u8]) -> String {
    hex(bytes).to_ascii_uppercase()
}

/// A row read by column name, whatever width the instance chose.
pub struct Cells<'a>(pub &'a Row);

impl Cells<'_> {
    fn cell(&self, column: &str) -> Result<&ColumnData<'static>, String> {
        let cell = self.0.cells().find(|(description, _)| description.name().eq_ignore_ascii_case(column));
        cell.map(|(_, data)| data).ok_or_else(|| format!("no column {column}"))
    }

    fn wrong(column: &str, cell: &ColumnData<'_>) -> String {
        let kind = format!("{cell:?}");
        format!("column {column} is {}", kind.split('(').next().unwrap_or_default())
    }

    /// Any integer or bit.
    pub fn number(&self, column: &str) -> Result<Option<i64>, String> {
        match self.cell(column)? {
            ColumnData::Bit(value) => Ok(value.map(i64::from)),
            ColumnData::U8(value) => Ok(value.map(i64::from)),
            ColumnData::I16(value) => Ok(value.map(i64::from)),
            ColumnData::I32(value) => Ok(value.map(i64::from)),
            ColumnData::I64(value) => Ok(*value),
            cell => Err(Self::wrong(column, cell)),
        }
    }

    /// Any character type.
    pub fn text(&self, column: &str) -> Result<Option<String>, String> {
        match self.cell(column)? {
            ColumnData::String(value) => Ok(value.as_ref().map(ToString::to_string)),
            cell => Err(Self::wrong(column, cell)),
        }
    }

    /// A datetime, as seconds since 1970 on the clock that it was read from.
    pub fn second(&self, column: &str) -> Result<Option<i64>, String> {
        /// Days from 1900-01-01 to 1970-01-01.
        const FROM_1900: i64 = 25_567;
        match self.cell(column)? {
            ColumnData::DateTime(value) => Ok(value.map(|value| {
                (i64::from(value.days()) - FROM_1900) * 86_400 + i64::from(value.seconds_fragments()) / 300
            })),
            cell => Err(Self::wrong(column, cell)),
        }
    }

    /// Any binary type.
    pub fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, String> {
        match self.cell(column)? {
            ColumnData::Binary(value) => Ok(value.as_ref().map(|bytes| bytes.to_vec())),
            cell => Err(Self::wrong(column, cell)),
        }
    }
}
