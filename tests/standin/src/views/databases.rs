//! sys.databases and its like.

use super::{Rows, View, int, maybe, text};
use crate::{tsql::state::State, value::Value};

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.databases",
        columns: "name sysname, database_id int, source_database_id int, owner_sid varbinary(85), create_date datetime, compatibility_level tinyint, collation_name sysname, user_access tinyint, user_access_desc nvarchar(60), is_read_only bit, is_auto_close_on bit, is_auto_shrink_on bit, state tinyint, state_desc nvarchar(60), is_in_standby bit, is_cleanly_shutdown bit, is_supplemental_logging_enabled bit, snapshot_isolation_state tinyint, snapshot_isolation_state_desc nvarchar(60), is_read_committed_snapshot_on bit, recovery_model tinyint, recovery_model_desc nvarchar(60), page_verify_option tinyint, page_verify_option_desc nvarchar(60), is_broker_enabled bit, log_reuse_wait tinyint, log_reuse_wait_desc nvarchar(60), is_encrypted bit, replica_id uniqueidentifier, group_database_id uniqueidentifier, containment tinyint, containment_desc nvarchar(60)",
        permission: None,
        rows: databases,
    },
    View {
        key: "sys.database_recovery_status",
        columns: "database_id int, database_guid uniqueidentifier, family_guid uniqueidentifier, last_log_backup_lsn numeric(25,0), recovery_fork_guid uniqueidentifier, first_recovery_fork_guid uniqueidentifier, fork_point_lsn numeric(25,0)",
        permission: None,
        rows: recovery_status,
    },
    View {
        key: "sys.master_files",
        columns: "database_id int, file_id int, type tinyint, type_desc nvarchar(60), name sysname, physical_name nvarchar(260), state tinyint, state_desc nvarchar(60), size int",
        permission: None,
        rows: files,
    },
];

fn databases(state: &State, _: &str) -> Rows {
    let level = i64::from(state.server.major()) * 10;
    let rows = state.snapshot().databases.iter().map(|(name, database)| {
        let desc = ["ONLINE", "RESTORING", "RECOVERING"].get(usize::from(database.state)).copied().unwrap_or("ONLINE");
        let (wait, wait_desc) = super::log::holdup(state, name).wait();
        let (model, model_desc) = if database.entry.full { (1, "FULL") } else { (3, "SIMPLE") };
        vec![
            text(name),
            int(database.entry.id),
            Value::Null,
            Value::Binary(vec![1]),
            Value::DateTime(state.data.created),
            int(level),
            text(&state.server.instance.config().collation),
            int(0),
            text("MULTI_USER"),
            Value::Bit(false),
            Value::Bit(false),
            Value::Bit(false),
            int(database.state),
            text(desc),
            Value::Bit(false),
            Value::Bit(false),
            Value::Bit(false),
            int(0),
            text("OFF"),
            Value::Bit(true),
            int(model),
            text(model_desc),
            int(2),
            text("CHECKSUM"),
            Value::Bit(false),
            int(wait),
            text(wait_desc),
            Value::Bit(false),
            maybe(database.group, |(replica, _)| Value::Guid(replica)),
            maybe(database.group, |(_, id)| Value::Guid(id)),
            int(0),
            text("NONE"),
        ]
    });
    rows.collect()
}

fn recovery_status(state: &State, _: &str) -> Rows {
    let rows = state.snapshot().databases.values().map(|database| {
        let guid = uuid::Uuid::from_u128(u128::from(database.entry.id.unsigned_abs()));
        let backed_up = database.entry.log_chain.then_some(37 * 1_000_000_000_000_000_i128);
        vec![
            int(database.entry.id),
            Value::Guid(guid),
            Value::Guid(guid),
            maybe(backed_up, Value::Decimal),
            Value::Guid(guid),
            Value::Null,
            Value::Null,
        ]
    });
    rows.collect()
}

fn files(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for (name, database) in &state.snapshot().databases {
        for (id, kind, desc, suffix) in [(1, 0, "ROWS", "mdf"), (2, 1, "LOG", "log")] {
            rows.push(vec![
                int(database.entry.id),
                int(id),
                int(kind),
                text(desc),
                text(if id == 1 { name.clone() } else { format!("{name}_log") }),
                text(format!("/var/opt/mssql/data/{name}.{suffix}")),
                int(0),
                text("ONLINE"),
                int(1024),
            ]);
        }
    }
    rows
}
