//! Triggers of the server.

use super::{Rows, View, int, maybe, text};
use crate::{
    catalog::{On, Trigger},
    tsql::state::State,
    value::Value,
};

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.server_triggers",
        columns: "name sysname, object_id int, parent_class tinyint, parent_class_desc nvarchar(60), parent_id int, type nchar(2), type_desc nvarchar(60), create_date datetime, modify_date datetime, is_ms_shipped bit, is_disabled bit",
        permission: None,
        rows: triggers,
    },
    View {
        key: "sys.server_trigger_events",
        columns: "object_id int, type int, type_desc nvarchar(60), event_group_type int, event_group_type_desc nvarchar(60), is_first bit, is_last bit",
        permission: None,
        rows: events,
    },
    View {
        key: "sys.server_sql_modules",
        columns: "object_id int, definition nvarchar(max), uses_ansi_nulls bit, uses_quoted_identifier bit, execute_as_principal_id int",
        permission: None,
        rows: modules,
    },
];

/// Number of LOGON in sys.trigger_event_types.
const LOGON: i64 = 147;

/// Those that the login may know of.
fn visible(state: &State) -> impl Iterator<Item = &Trigger> {
    let sees = state.holds("VIEW ANY DEFINITION", &On::Server);
    state.data.triggers.values().filter(move |_| sees)
}

fn triggers(state: &State, _: &str) -> Rows {
    let row = |trigger: &Trigger| {
        vec![
            text(&trigger.name),
            int(trigger.id),
            int(100),
            text("SERVER"),
            int(0),
            text("TR"),
            text("SQL_TRIGGER"),
            Value::DateTime(trigger.created),
            Value::DateTime(trigger.modified),
            Value::Bit(false),
            Value::Bit(trigger.disabled),
        ]
    };
    visible(state).map(row).collect()
}

fn events(state: &State, _: &str) -> Rows {
    let row = |trigger: &Trigger| {
        let (no, none) = (Value::Bit(false), Value::Null);
        vec![int(trigger.id), int(LOGON), text("LOGON"), none.clone(), none, no.clone(), no]
    };
    visible(state).map(row).collect()
}

fn modules(state: &State, _: &str) -> Rows {
    let row = |trigger: &Trigger| {
        let yes = Value::Bit(true);
        vec![int(trigger.id), text(&trigger.text), yes.clone(), yes, maybe(trigger.runs_as, int)]
    };
    visible(state).map(row).collect()
}
