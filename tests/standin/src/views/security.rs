//! Logins, server permissions, certificates, keys, endpoints.

use super::{Rows, View, int, maybe, text};
use crate::{
    catalog::{Login, LoginKind, On, SERVER_ROLES, class_of},
    tsql::{schema::object_id, state::State},
    value::Value,
};

macro_rules! endpoint_columns {
    ($more:literal) => {
        concat!(
            "name sysname, endpoint_id int, principal_id int, protocol tinyint, protocol_desc nvarchar(60), type tinyint, type_desc nvarchar(60), state tinyint, state_desc nvarchar(60), is_admin_endpoint bit",
            $more
        )
    };
}

macro_rules! principal_columns {
    ($more:literal) => {
        concat!(
            "name sysname, principal_id int, sid varbinary(85), type nchar(1), type_desc nvarchar(60), is_disabled bit, create_date datetime, modify_date datetime, default_database_name sysname, default_language_name sysname, credential_id int",
            $more
        )
    };
}

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.server_principals",
        columns: principal_columns!(", owning_principal_id int, is_fixed_role bit"),
        permission: None,
        rows: server_principals,
    },
    View {
        key: "sys.sql_logins",
        columns: principal_columns!(", is_policy_checked bit, is_expiration_checked bit, password_hash varbinary(256)"),
        permission: None,
        rows: sql_logins,
    },
    View {
        key: "sys.server_permissions",
        columns: "class tinyint, class_desc nvarchar(60), major_id int, minor_id int, grantee_principal_id int, grantor_principal_id int, type nchar(4), permission_name nvarchar(128), state nchar(1), state_desc nvarchar(60)",
        permission: None,
        rows: server_permissions,
    },
    View {
        key: "sys.server_role_members",
        columns: "role_principal_id int, member_principal_id int",
        permission: None,
        rows: server_role_members,
    },
    View {
        key: "sys.certificates",
        columns: "name sysname, certificate_id int, principal_id int, pvt_key_encryption_type nchar(2), pvt_key_encryption_type_desc nvarchar(60), is_active_for_begin_dialog bit, issuer_name nvarchar(442), cert_serial_number nvarchar(64), sid varbinary(85), string_sid nvarchar(128), subject nvarchar(4000), expiry_date datetime, start_date datetime, thumbprint varbinary(32), attested_by nvarchar(260), pvt_key_last_backup_date datetime, key_length int",
        permission: None,
        rows: certificates,
    },
    View {
        key: "sys.symmetric_keys",
        columns: "name sysname, principal_id int, symmetric_key_id int, key_length int, key_algorithm nchar(2), algorithm_desc nvarchar(60), create_date datetime, modify_date datetime, key_guid uniqueidentifier",
        permission: None,
        rows: symmetric_keys,
    },
    View { key: "sys.endpoints", columns: endpoint_columns!(""), permission: None, rows: endpoints },
    View {
        key: "sys.tcp_endpoints",
        columns: endpoint_columns!(", port int, is_dynamic_port bit, ip_address nvarchar(45)"),
        permission: None,
        rows: tcp_endpoints,
    },
    View {
        key: "sys.database_mirroring_endpoints",
        columns: endpoint_columns!(
            ", role tinyint, role_desc nvarchar(60), is_encryption_enabled bit, connection_auth tinyint, connection_auth_desc nvarchar(60), certificate_id int, encryption_algorithm tinyint, encryption_algorithm_desc nvarchar(60)"
        ),
        permission: None,
        rows: mirroring_endpoints,
    },
];

fn sees(state: &State, login: &Login) -> bool {
    login.id == 1
        || login.name.eq_ignore_ascii_case(&state.login)
        || state.data.sees(&state.login, &On::Login(login.id))
}

fn kind(login: &Login) -> (&'static str, &'static str) {
    match login.kind {
        LoginKind::Sql => ("S", "SQL_LOGIN"),
        LoginKind::Certificate => ("C", "CERTIFICATE_MAPPED_LOGIN"),
    }
}

fn principal(login: &Login) -> Vec<Value> {
    let (letter, desc) = kind(login);
    vec![
        text(&login.name),
        int(login.id),
        Value::Binary(login.sid.clone()),
        text(letter),
        text(desc),
        Value::Bit(login.disabled),
        Value::DateTime(login.created),
        Value::DateTime(login.modified),
        text(&login.default_database),
        text("us_english"),
        Value::Null,
    ]
}

fn server_principals(state: &State, _: &str) -> Rows {
    let mut rows: Rows = Vec::new();
    for login in state.data.logins.values().filter(|login| sees(state, login)) {
        let mut row = principal(login);
        row.extend([Value::Null, Value::Bit(false)]);
        rows.push(row);
    }
    for (name, id) in SERVER_ROLES {
        let created = Value::DateTime(state.data.created);
        rows.push(vec![
            text(name),
            int(id),
            Value::Binary(vec![u8::try_from(id).unwrap_or(0)]),
            text("R"),
            text("SERVER_ROLE"),
            Value::Bit(false),
            created.clone(),
            created,
            Value::Null,
            Value::Null,
            Value::Null,
            int(1),
            Value::Bit(id != 2),
        ]);
    }
    rows.sort_by_key(|row| if let Some(Value::Int(id)) = row.get(1) { *id } else { 0 });
    rows
}

fn sql_logins(state: &State, _: &str) -> Rows {
    let hashes = state.holds("CONTROL SERVER", &On::Server);
    let logins = state.data.logins.values().filter(|login| login.kind == LoginKind::Sql && sees(state, login));
    let rows = logins.map(|login| {
        let mut row = principal(login);
        let hash = login.hash.clone().filter(|_| hashes);
        row.extend([Value::Bit(login.check_policy), Value::Bit(false), maybe(hash, Value::Binary)]);
        row
    });
    rows.collect()
}

fn server_permissions(state: &State, _: &str) -> Rows {
    let all = state.holds("VIEW ANY DEFINITION", &On::Server);
    let own = state.data.login(&state.login).map_or(0, |login| login.id);
    let visible = state.data.permissions.iter().filter(|permission| all || permission.grantee == own);
    let rows = visible.map(|permission| {
        let (class, class_desc, code) = class_of(permission);
        let major = match &permission.on {
            On::Server => 0,
            On::Login(id) => i64::from(*id),
            On::Endpoint(_) => state.data.endpoint.as_ref().map_or(0, |endpoint| i64::from(endpoint.id)),
            On::Group(name) => object_id(name),
        };
        let desc = match permission.state {
            'D' => "DENY",
            'W' => "GRANT_WITH_GRANT_OPTION",
            _ => "GRANT",
        };
        vec![
            int(class),
            text(class_desc),
            int(major),
            int(0),
            int(permission.grantee),
            int(1),
            text(code),
            text(&permission.name),
            text(permission.state.to_string()),
            text(desc),
        ]
    });
    rows.collect()
}

fn server_role_members(state: &State, _: &str) -> Rows {
    let members = state.data.role_members.iter();
    members.flat_map(|(role, members)| members.iter().map(move |member| vec![int(*role), int(*member)])).collect()
}

fn sees_master(state: &State) -> bool {
    state.holds("VIEW ANY DEFINITION", &On::Server)
}

fn certificates(state: &State, database: &str) -> Rows {
    if database != "master" || !sees_master(state) {
        return vec![];
    }
    let rows = state.data.certificates.values().map(|certificate| {
        let (code, desc) =
            if certificate.key.is_some() { ("MK", "ENCRYPTED_BY_MASTER_KEY") } else { ("NA", "NO_PRIVATE_KEY") };
        vec![
            text(&certificate.name),
            int(certificate.id),
            int(certificate.owner),
            text(code),
            text(desc),
            Value::Bit(true),
            text(&certificate.issuer),
            text(&certificate.serial),
            Value::Binary(certificate.thumbprint.clone()),
            Value::Null,
            text(&certificate.subject),
            Value::DateTime(certificate.expiry),
            Value::DateTime(certificate.start),
            Value::Binary(certificate.thumbprint.clone()),
            Value::Null,
            Value::Null,
            int(256),
        ]
    });
    rows.collect()
}

fn symmetric_keys(state: &State, database: &str) -> Rows {
    if database != "master" || !sees_master(state) {
        return vec![];
    }
    let names = [("##MS_DatabaseMasterKey##", 101_i32, state.data.master_key), ("##MS_ServiceMasterKey##", 102, true)];
    let present = names.into_iter().filter(|(_, _, present)| *present);
    present
        .map(|(name, id, _)| {
            let created = Value::DateTime(state.data.created);
            vec![
                text(name),
                int(1),
                int(id),
                int(256),
                text("A3"),
                text("AES_256"),
                created.clone(),
                created,
                Value::Guid(uuid::Uuid::from_u128(u128::from(id.unsigned_abs()))),
            ]
        })
        .collect()
}

fn states(state: u8) -> [Value; 2] {
    let desc = ["STARTED", "STOPPED", "DISABLED"].get(usize::from(state)).copied().unwrap_or("DISABLED");
    [int(state), text(desc)]
}

/// The mirroring endpoint's common columns.
fn mirroring(state: &State) -> Option<Vec<Value>> {
    let endpoint = state.data.endpoint.as_ref()?;
    if !state.data.sees(&state.login, &On::Endpoint(endpoint.name.to_lowercase())) {
        return None;
    }
    let [started, started_desc] = states(endpoint.state);
    Some(vec![
        text(&endpoint.name),
        int(endpoint.id),
        int(endpoint.owner),
        int(2),
        text("TCP"),
        int(4),
        text("DATABASE_MIRRORING"),
        started,
        started_desc,
        Value::Bit(false),
    ])
}

fn tds() -> Vec<Value> {
    let [started, started_desc] = states(0);
    vec![
        text("TSQL Default TCP"),
        int(4),
        int(1),
        int(2),
        text("TCP"),
        int(2),
        text("TSQL"),
        started,
        started_desc,
        Value::Bit(false),
    ]
}

fn endpoints(state: &State, _: &str) -> Rows {
    std::iter::once(tds()).chain(mirroring(state)).collect()
}

fn tcp_endpoints(state: &State, _: &str) -> Rows {
    let port = state.data.endpoint.as_ref().map(|endpoint| endpoint.port);
    let with = |mut row: Vec<Value>, port: Value| {
        row.extend([port, Value::Bit(false), Value::Null]);
        row
    };
    let mirroring = mirroring(state).map(|row| with(row, maybe(port, int)));
    std::iter::once(with(tds(), int(0))).chain(mirroring).collect()
}

fn mirroring_endpoints(state: &State, _: &str) -> Rows {
    let Some(endpoint) = &state.data.endpoint else { return vec![] };
    let role = ["NONE", "PARTNER", "WITNESS", "ALL"].get(usize::from(endpoint.role)).copied().unwrap_or("ALL");
    let more = [
        int(endpoint.role),
        text(role),
        Value::Bit(true),
        int(4),
        text("CERTIFICATE"),
        int(endpoint.certificate),
        int(2),
        text("AES"),
    ];
    let rows = mirroring(state).into_iter().map(|mut row| {
        row.extend(more.clone());
        row
    });
    rows.collect()
}
