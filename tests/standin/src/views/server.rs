//! Clocks, configuration, messages.

use super::{Rows, View, groups::STATE, int, text};
use crate::{tsql::state::State, value::Value};

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.dm_os_sys_info",
        columns: "cpu_ticks bigint, ms_ticks bigint, cpu_count int, hyperthread_ratio int, physical_memory_kb bigint, committed_kb int, committed_target_kb int, sqlserver_start_time_ms_ticks bigint, sqlserver_start_time datetime",
        permission: STATE,
        rows: sys_info,
    },
    View {
        key: "sys.dm_os_host_info",
        columns: "host_platform nvarchar(256), host_distribution nvarchar(256), host_release nvarchar(256), host_service_pack_level nvarchar(256), host_sku int, os_language_version int",
        permission: None,
        rows: host_info,
    },
    View {
        key: "sys.configurations",
        columns: "configuration_id int, name nvarchar(35), value sql_variant, minimum sql_variant, maximum sql_variant, value_in_use sql_variant, description nvarchar(255), is_dynamic bit, is_advanced bit",
        permission: None,
        rows: configurations,
    },
    View {
        key: "sys.servers",
        columns: "server_id int, name sysname, product sysname, provider sysname, data_source nvarchar(4000), is_linked bit",
        permission: None,
        rows: servers,
    },
    View {
        key: "sys.messages",
        columns: "message_id int, language_id smallint, severity tinyint, is_event_logged bit, text nvarchar(2048)",
        permission: None,
        rows: messages,
    },
];

fn sys_info(state: &State, _: &str) -> Rows {
    let ticks = state.server.ms_ticks();
    vec![vec![
        int(ticks.saturating_mul(1_000_000)),
        int(ticks),
        int(2),
        int(1),
        int(4_194_304),
        int(40_960),
        int(3_145_728),
        int(state.server.start_ticks()),
        Value::DateTime(state.server.start_time),
    ]]
}

fn host_info(_: &State, _: &str) -> Rows {
    vec![vec![text("Linux"), text("Ubuntu"), text("22.04"), text(""), Value::Null, int(0)]]
}

fn configurations(_: &State, _: &str) -> Rows {
    let known = [
        (101, "recovery interval (min)", 0, 0, 32_767, true),
        (518, "show advanced options", 0, 0, 1, false),
        (1539, "max degree of parallelism", 0, 0, 32_767, true),
        (1543, "min server memory (MB)", 0, 0, i32::MAX, true),
        (1544, "max server memory (MB)", i32::MAX, 128, i32::MAX, true),
        (16_393, "contained database authentication", 0, 0, 1, false),
    ];
    let rows = known.into_iter().map(|(id, name, value, least, most, advanced)| {
        vec![
            int(id),
            text(name),
            int(value),
            int(least),
            int(most),
            int(value),
            text(name),
            Value::Bit(true),
            Value::Bit(advanced),
        ]
    });
    rows.collect()
}

fn servers(state: &State, _: &str) -> Rows {
    let name = &state.server.instance.config().server_name;
    vec![vec![int(0), text(name), text("SQL Server"), text("SQLNCLI"), text(name), Value::Bit(false)]]
}

fn messages(_: &State, _: &str) -> Rows {
    let known = [
        (208, 16, "Invalid object name '%.*ls'."),
        (
            916,
            14,
            "The server principal \"%.*ls\" is not able to access the database \"%.*ls\" under the current security context.",
        ),
        (
            988,
            14,
            "Unable to access database '%.*ls' because it lacks a quorum of nodes for high availability. Try the operation again later.",
        ),
        (18_456, 14, "Login failed for user '%.*ls'.%.*ls"),
        (
            41_142,
            16,
            "The availability replica for availability group '%.*ls' on this instance of SQL Server cannot become the primary replica.",
        ),
        (
            47_104,
            16,
            "This operation cannot be performed on the availability group '%.*ls' because it has EXTERNAL cluster type. Use the cluster management tools to perform the operation.",
        ),
    ];
    let rows = known
        .into_iter()
        .map(|(id, severity, message)| vec![int(id), int(1033), int(severity), Value::Bit(false), text(message)]);
    rows.collect()
}
