//! Catalog views and DMVs, and the tests that read them.

use super::{
    evidence::{Shown, row},
    source::Source,
    tokens::Token,
};
use standin::views;

/// Views that an operator, an administrator or Microsoft's Pacemaker agent reads (SQL Server docs).
const DOCUMENTED: &[&str] = &[
    "sys.availability_databases_cluster",
    "sys.availability_group_listener_ip_addresses",
    "sys.availability_group_listeners",
    "sys.availability_groups",
    "sys.availability_groups_cluster",
    "sys.availability_read_only_routing_lists",
    "sys.availability_replicas",
    "sys.certificates",
    "sys.database_mirroring_endpoints",
    "sys.database_recovery_status",
    "sys.databases",
    "sys.dm_hadr_auto_page_repair",
    "sys.dm_hadr_automatic_seeding",
    "sys.dm_hadr_availability_group_states",
    "sys.dm_hadr_availability_replica_cluster_nodes",
    "sys.dm_hadr_availability_replica_cluster_states",
    "sys.dm_hadr_availability_replica_states",
    "sys.dm_hadr_cluster",
    "sys.dm_hadr_cluster_members",
    "sys.dm_hadr_cluster_networks",
    "sys.dm_hadr_database_replica_cluster_states",
    "sys.dm_hadr_database_replica_states",
    "sys.dm_hadr_instance_node_map",
    "sys.dm_hadr_name_id_map",
    "sys.dm_hadr_physical_seeding_stats",
    "sys.dm_tcp_listener_states",
    "sys.endpoints",
    "sys.symmetric_keys",
    "sys.tcp_endpoints",
];

/// Major versions that the stand-in tells apart.
const VERSIONS: [u32; 4] = [14, 15, 16, 17];

/// Whether a test's statements name the view.
fn reads(tokens: &[Token], key: &str) -> bool {
    let named = |text: &str| {
        let text = text.to_lowercase();
        let word = |c: char| c.is_alphanumeric() || c == '_';
        text.match_indices(key).any(|(at, _)| !text[at + key.len()..].starts_with(word))
    };
    tokens.iter().any(|token| matches!(token, Token::Text(text) if named(text)))
}

/// A test that goes through all of them.
fn reads_all(tokens: &[Token]) -> bool {
    tokens.windows(4).any(|window| window[0].is("views") && window[3].is("keys"))
}

/// The table of views.
pub fn section(source: &Source) -> String {
    let mut text = String::from("\n| View (columns in 2017, 2019, 2022, 2025) | | Shown by |\n|---|---|---|\n");
    let mut keys = views::keys();
    keys.sort_unstable();
    let by_all = source.tests.iter().find(|test| reads_all(&test.own)).map(|test| test.name.as_str());
    for key in &keys {
        let mut shown = Shown::default();
        for test in source.tests.iter().filter(|test| !test.scripted) {
            if reads(&test.own, &key.to_lowercase()) {
                shown.own.push(test.name.clone());
            } else if reads(&test.helpers, &key.to_lowercase()) {
                shown.helped.push(test.name.clone());
            }
        }
        let (schema, name) = key.split_once('.').unwrap();
        let view = views::find(schema, name).unwrap();
        let columns = VERSIONS.map(|major| view.columns(major).len().to_string()).join(", ");
        let permission = views::permission(key).map(|permission| format!("; {permission}")).unwrap_or_default();
        let label = format!("{key} ({columns}{permission})");
        match &by_all {
            Some(test) if shown.is_empty() => text.push_str(&format!("| {label} | columns only | `{test}` |\n")),
            _ => text.push_str(&row(&label, &shown, &[])),
        }
    }
    let missing: Vec<_> = DOCUMENTED.iter().copied().filter(|name| !keys.contains(name)).collect();
    text.push_str(&format!("\nNot supported (208): {}.\n", missing.join(", ")));
    text
}
