//! Sessions, their requests and their transactions.

use super::{Rows, View, groups::STATE, int, maybe, text};
use crate::{
    catalog::On,
    server::{Activity, SessionEntry},
    tsql::state::State,
    value::Value,
};
use std::sync::{PoisonError, atomic::Ordering};

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.dm_exec_sessions",
        columns: "session_id smallint, login_time datetime, host_name nvarchar(128), program_name nvarchar(128), host_process_id int, client_version int, client_interface_name nvarchar(32), security_id varbinary(85), login_name nvarchar(128), nt_domain nvarchar(128), nt_user_name nvarchar(128), status nvarchar(30), context_info varbinary(128), cpu_time int, memory_usage int, total_scheduled_time int, total_elapsed_time int, endpoint_id int, last_request_start_time datetime, last_request_end_time datetime, reads bigint, writes bigint, logical_reads bigint, is_user_process bit, text_size int, language nvarchar(128), date_format nvarchar(3), date_first smallint, quoted_identifier bit, arithabort bit, ansi_null_dflt_on bit, ansi_defaults bit, ansi_warnings bit, ansi_padding bit, ansi_nulls bit, concat_null_yields_null bit, transaction_isolation_level smallint, lock_timeout int, deadlock_priority int, row_count bigint, prev_error int, original_security_id varbinary(85), original_login_name nvarchar(128), last_successful_logon datetime, last_unsuccessful_logon datetime, unsuccessful_logons bigint, group_id int, database_id smallint, authenticating_database_id int, open_transaction_count int, page_server_reads bigint >=15, contained_availability_group_id uniqueidentifier >=16",
        // Everybody sees their own session.
        permission: None,
        rows: sessions,
    },
    View {
        key: "sys.dm_exec_requests",
        columns: "session_id smallint, request_id int, start_time datetime, status nvarchar(30), command nvarchar(32), database_id smallint, user_id int, blocking_session_id smallint, wait_type nvarchar(60), wait_time int, percent_complete float, total_elapsed_time int",
        permission: None,
        rows: requests,
    },
    View {
        key: "sys.dm_tran_session_transactions",
        columns: "session_id int, transaction_id bigint, transaction_descriptor varbinary(8), enlist_count int, is_user_transaction bit, is_local bit, is_enlisted bit, is_bound bit, open_transaction_count int",
        permission: STATE,
        rows: session_transactions,
    },
    View {
        key: "sys.dm_tran_active_transactions",
        columns: "transaction_id bigint, name nvarchar(32), transaction_begin_time datetime, transaction_type int, transaction_uow uniqueidentifier, transaction_state int, transaction_status int, transaction_status2 int, dtc_state int, dtc_status int, dtc_isolation_level int, filestream_transaction_id varbinary(128)",
        permission: STATE,
        rows: active_transactions,
    },
];

/// Sessions of the server itself, which no client has and KILL does not end: number and what they do.
pub const SYSTEM_SESSIONS: [(i64, &str); 5] =
    [(1, "LOG WRITER"), (2, "LAZY WRITER"), (3, "CHECKPOINT"), (4, "SIGNAL HANDLER"), (5, "TASK MANAGER")];

fn sees_all(state: &State) -> bool {
    state.holds("VIEW SERVER STATE", &On::Server) || state.holds("VIEW SERVER PERFORMANCE STATE", &On::Server)
}

fn request_of(session: &SessionEntry) -> Option<(String, i64)> {
    session.request.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn database_of(state: &State, session: &SessionEntry) -> Value {
    let database = session.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
    maybe(state.database_id(&database), int)
}

/// What differs between the session of a client and one of the server.
struct Shown {
    id: i64,
    since: i64,
    client: Option<(String, String)>,
    sid: Vec<u8>,
    login: String,
    original_sid: Vec<u8>,
    original: String,
    status: &'static str,
    activity: Activity,
    database: Value,
}

fn sessions(state: &State, _: &str) -> Rows {
    let all = sees_all(state);
    let mut rows = Rows::new();
    let start = state.server.start_time;
    for (id, _) in SYSTEM_SESSIONS.iter().filter(|_| all) {
        let activity = Activity { request_start: start, ..Activity::default() };
        let (sid, login) = (vec![1], String::from("sa"));
        let (original_sid, original, database) = (sid.clone(), login.clone(), int(1));
        let shown = Shown {
            id: *id,
            since: start,
            client: None,
            sid,
            login,
            original_sid,
            original,
            status: "background",
            activity,
            database,
        };
        rows.push(session_row(state, shown));
    }
    for session in state.server.sessions().iter().filter(|session| all || session.spid == state.spid) {
        let activity = session.activity().clone();
        let sid_of = |name: &str| state.data.login(name).map(|login| login.sid.clone()).unwrap_or_default();
        let status = match (request_of(session), activity.dormant) {
            (Some(_), _) => "running",
            (None, true) => "dormant",
            (None, false) => "sleeping",
        };
        let login = session.login.clone();
        let shown = Shown {
            id: i64::from(session.spid),
            since: session.since,
            client: Some((session.host.clone(), session.application.clone())),
            sid: sid_of(&login),
            original_sid: sid_of(&login),
            original: login.clone(),
            login,
            status,
            activity,
            database: database_of(state, session),
        };
        rows.push(session_row(state, shown));
    }
    rows
}

fn session_row(state: &State, shown: Shown) -> Vec<Value> {
    let user = shown.client.is_some();
    let (host, program) =
        shown.client.map_or((Value::Null, Value::Null), |(host, program)| (text(host), text(program)));
    let of_client = |value: Value| if user { value } else { Value::Null };
    let (yes, no) = (Value::Bit(true), Value::Bit(false));
    let elapsed = int((state.server.now() - shown.since) / 1_000);
    let mut row = vec![int(shown.id), Value::DateTime(shown.since), host, program, Value::Null];
    row.extend([of_client(int(7)), of_client(text("TDS")), Value::Binary(shown.sid), text(shown.login)]);
    row.extend([Value::Null, Value::Null, text(shown.status), Value::Binary(vec![])]);
    row.extend([int(0), int(0), int(0), elapsed, int(if user { 4 } else { 0 })]);
    row.extend([Value::DateTime(shown.activity.request_start), maybe(shown.activity.request_end, Value::DateTime)]);
    row.extend([int(0), int(0), int(0), Value::Bit(user), int(2_147_483_647), text("us_english"), text("mdy"), int(7)]);
    row.extend([yes.clone(), no.clone(), yes.clone(), no, yes.clone(), yes.clone(), yes.clone(), yes]);
    row.extend([int(2), int(-1), int(0), int(0), int(0), Value::Binary(shown.original_sid), text(shown.original)]);
    row.extend([Value::Null, Value::Null, Value::Null, int(if user { 2 } else { 1 }), shown.database]);
    row.extend([int(0), int(shown.activity.depth), int(0), Value::Null]);
    row
}

fn requests(state: &State, _: &str) -> Rows {
    let all = sees_all(state);
    let now = state.server.now();
    let row = |id: i64, start: i64, status: &str, command: &str, database: Value| {
        vec![
            int(id),
            int(0),
            Value::DateTime(start),
            text(status),
            text(command),
            database,
            int(1),
            int(0),
            Value::Null,
            int(0),
            Value::Float(0.0),
            int((now - start) / 1_000),
        ]
    };
    let system = SYSTEM_SESSIONS.iter().filter(|_| all);
    let mut rows: Rows =
        system.map(|(id, command)| row(*id, state.server.start_time, "background", command, int(1))).collect();
    for session in state.server.sessions().iter().filter(|session| all || session.spid == state.spid) {
        let killed = session.killed.load(Ordering::SeqCst);
        // A killed session that is still there waits for what it has open.
        let (command, start) = match request_of(session) {
            _ if killed => ("KILLED/ROLLBACK".to_string(), session.activity().request_start),
            Some(request) => request,
            None => continue,
        };
        let status = if killed { "rollback" } else { "running" };
        rows.push(row(i64::from(session.spid), start, status, &command, database_of(state, session)));
    }
    rows
}

fn session_transactions(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for session in state.server.sessions() {
        let activity = session.activity().clone();
        let Some((id, _)) = activity.transaction else { continue };
        let active = i64::from(request_of(&session).is_some());
        rows.push(vec![
            int(session.spid),
            int(id),
            Value::Binary(id.to_le_bytes().to_vec()),
            int(active),
            Value::Bit(true),
            Value::Bit(true),
            Value::Bit(false),
            Value::Bit(false),
            int(activity.depth),
        ]);
    }
    rows
}

fn active_transactions(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for session in state.server.sessions() {
        let Some((id, begun)) = session.activity().transaction else { continue };
        // 2 the transaction is active, 7 it is being rolled back (sys.dm_tran_active_transactions).
        let phase = if session.killed.load(Ordering::SeqCst) { 7 } else { 2 };
        rows.push(vec![
            int(id),
            text("user_transaction"),
            Value::DateTime(begun),
            int(1),
            Value::Null,
            int(phase),
            int(0),
            int(0),
            int(0),
            int(0),
            int(-1),
            Value::Null,
        ]);
    }
    rows
}
