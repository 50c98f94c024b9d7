//! The log of each database: what keeps it, and how much there is.

use super::{Rows, View, groups::STATE, int, text};
use crate::{group::roles::Role, tsql::state::State, value::Value};

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.dm_db_log_stats",
        columns: "database_id int, recovery_model nvarchar(60), log_min_lsn nvarchar(24), log_end_lsn nvarchar(24), current_vlf_sequence_number bigint, current_vlf_size_mb float, total_vlf_count bigint, total_log_size_mb float, active_vlf_count bigint, active_log_size_mb float, log_truncation_holdup_reason nvarchar(60), log_backup_time datetime, log_backup_lsn nvarchar(24), log_since_last_log_backup_mb float, log_checkpoint_lsn nvarchar(24), log_since_last_checkpoint_mb float, log_recovery_lsn nvarchar(24), log_recovery_size_mb float, recovery_vlf_count bigint",
        permission: STATE,
        rows: log_stats,
    },
    View {
        key: "sys.dm_db_log_space_usage",
        columns: "database_id smallint, total_log_size_in_bytes bigint, used_log_space_in_bytes bigint, used_log_space_in_percent float, log_space_in_bytes_since_last_backup bigint",
        permission: STATE,
        rows: space_usage,
    },
];

/// Why the log cannot be cut after a record, as `log_reuse_wait` counts it (sys.databases).
#[derive(Clone, Copy, Debug)]
pub(super) struct Holdup {
    after: u64,
    wait: u8,
}

impl Holdup {
    /// `log_reuse_wait`, `log_reuse_wait_desc`
    pub(super) fn wait(self) -> (i64, &'static str) {
        let desc = match self.wait {
            2 => "LOG_BACKUP",
            4 => "ACTIVE_TRANSACTION",
            9 => "AVAILABILITY_REPLICA",
            _ => "NOTHING",
        };
        (i64::from(self.wait), desc)
    }

    fn or(self, after: u64, wait: u8) -> Self {
        if after < self.after { Self { after, wait } } else { self }
    }
}

/// What keeps the log of a database most: a record that is not backed up, or one that a secondary has not hardened.
pub(super) fn holdup(state: &State, name: &str) -> Holdup {
    let Some(database) = state.server.instance.shared().database(name) else { return Holdup { after: 0, wait: 0 } };
    let mut holdup = Holdup { after: database.end(), wait: if database.is_written() { 4 } else { 0 } };
    let entry = state.snapshot().databases.get(name).map(|database| &database.entry);
    if let Some(entry) = entry.filter(|entry| entry.full && entry.log_chain) {
        holdup = holdup.or(entry.backed_up, 2);
    }
    for group in state.snapshot().groups.values().filter(|group| group.role == Role::Primary) {
        let copies = group.databases.get(name).map(|database| database.remote.values());
        for copy in copies.into_iter().flatten() {
            holdup = holdup.or(copy.hardened, 9);
        }
    }
    holdup
}

/// `datetime` 0: what stands for a log that was never backed up.
const NEVER: i64 = -25_567 * 86_400_000_000;

/// One row for each database; of a database that is secondary here the documentation promises three columns only.
fn log_stats(state: &State, _: &str) -> Rows {
    let shared = state.server.instance.shared();
    let lsn = || text("00000025:00000001:0001");
    let rows = state.snapshot().databases.iter().map(|(name, database)| {
        let secondary = shared.group_of(name).is_some_and(|group| group.state().role != Role::Primary);
        let own = |value: Value| if secondary { Value::Null } else { value };
        vec![
            int(database.entry.id),
            text(if database.entry.full { "FULL" } else { "SIMPLE" }),
            own(lsn()),
            own(lsn()),
            own(int(37)),
            own(Value::Float(8.0)),
            own(int(1)),
            own(Value::Float(8.0)),
            own(int(1)),
            own(Value::Float(1.0)),
            own(text(holdup(state, name).wait().1)),
            Value::DateTime(database.entry.log_backup.unwrap_or(NEVER)),
            own(lsn()),
            own(Value::Float(1.0)),
            own(lsn()),
            own(Value::Float(1.0)),
            own(lsn()),
            own(Value::Float(1.0)),
            own(int(1)),
        ]
    });
    rows.collect()
}

/// Size of the log of a new database, and by how much it grows when it is full.
const FIRST_SIZE: u64 = 8 << 20;
const GROWTH: u64 = 64 << 20;
/// What an empty log uses.
const LEAST_USED: u64 = 512 << 10;

fn space_usage(state: &State, database: &str) -> Rows {
    let found = state.snapshot().databases.iter().find(|(name, _)| name.eq_ignore_ascii_case(database));
    let Some((name, moment)) = found else { return vec![] };
    let Some(database) = state.server.instance.shared().database(name) else { return vec![] };
    let used = LEAST_USED + database.log_bytes_after(holdup(state, name).after);
    let since_backup = database.log_bytes_after(moment.entry.backed_up);
    let total = FIRST_SIZE + used.saturating_sub(FIRST_SIZE).div_ceil(GROWTH) * GROWTH;
    let bytes = |bytes: u64| int(i64::try_from(bytes).unwrap_or(i64::MAX));
    let percent = used as f64 * 100.0 / total as f64;
    vec![vec![int(moment.entry.id), bytes(total), bytes(used), Value::Float(percent), bytes(since_backup)]]
}
