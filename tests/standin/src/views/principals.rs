//! Users, roles and permissions of one database.

use super::{Rows, View, int, maybe, text};
use crate::{
    tsql::{
        convert,
        schema::object_id,
        state::{Described, State},
    },
    value::{SqlType, Value},
};

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.database_principals",
        columns: "name sysname, principal_id int, type nchar(1), type_desc nvarchar(60), default_schema_name sysname, create_date datetime, modify_date datetime, owning_principal_id int, sid varbinary(85), is_fixed_role bit, authentication_type int, authentication_type_desc nvarchar(60)",
        permission: None,
        rows: principals,
    },
    View {
        key: "sys.database_role_members",
        columns: "role_principal_id int, member_principal_id int",
        permission: None,
        rows: members,
    },
    View {
        key: "sys.database_permissions",
        columns: "class tinyint, class_desc nvarchar(60), major_id int, minor_id int, grantee_principal_id int, grantor_principal_id int, type nchar(4), permission_name nvarchar(128), state nchar(1), state_desc nvarchar(60)",
        permission: None,
        rows: permissions,
    },
    View {
        key: "sys.extended_properties",
        columns: "class tinyint, class_desc nvarchar(60), major_id int, minor_id int, name sysname, value sql_variant",
        permission: None,
        rows: properties,
    },
];

fn of<'a>(state: &'a State, database: &str) -> Option<&'a Described> {
    state.described.get(database).map(std::sync::Arc::as_ref)
}

fn principals(state: &State, database: &str) -> Rows {
    let Some(described) = of(state, database) else { return vec![] };
    let created = Value::DateTime(state.data.created);
    let rows = described.security.principals.iter().map(|principal| {
        let role = principal.kind == 'R';
        let fixed = role && principal.id >= 16_384;
        let authentication = if role || principal.id == 3 || principal.id == 4 { 0 } else { 1 };
        vec![
            text(&principal.name),
            int(principal.id),
            text(principal.kind.to_string()),
            text(if role { "DATABASE_ROLE" } else { "SQL_USER" }),
            if role { Value::Null } else { text("dbo") },
            created.clone(),
            created.clone(),
            if role { int(1) } else { Value::Null },
            maybe(principal.sid.clone(), Value::Binary),
            Value::Bit(fixed),
            int(authentication),
            text(if authentication == 1 { "INSTANCE" } else { "NONE" }),
        ]
    });
    rows.collect()
}

fn members(state: &State, database: &str) -> Rows {
    let Some(described) = of(state, database) else { return vec![] };
    let own = std::iter::once(vec![int(16_384), int(1)]);
    own.chain(described.security.members.iter().map(|(role, member)| vec![int(*role), int(*member)])).collect()
}

fn permissions(state: &State, database: &str) -> Rows {
    let Some(described) = of(state, database) else { return vec![] };
    let rows = described.security.permissions.iter().map(|permission| {
        let class = match permission.class {
            0 => "DATABASE",
            3 => "SCHEMA",
            25 => "CERTIFICATE",
            _ => "OBJECT_OR_COLUMN",
        };
        let code: String = permission.name.split(' ').map(|word| word.chars().take(2).collect::<String>()).collect();
        vec![
            int(permission.class),
            text(class),
            int(match permission.class {
                0 => 0,
                25 => state.data.certificates.get(&permission.major.to_lowercase()).map_or(0, |c| i64::from(c.id)),
                _ => object_id(&permission.major),
            }),
            int(0),
            int(permission.grantee),
            int(1),
            text(code.chars().take(4).collect::<String>()),
            text(&permission.name),
            text(permission.state.to_string()),
            text(if permission.state == 'D' { "DENY" } else { "GRANT" }),
        ]
    });
    rows.collect()
}

fn properties(state: &State, database: &str) -> Rows {
    let Some(described) = of(state, database) else { return vec![] };
    let rows = described.properties.iter().map(|(class, major, minor, name, value)| {
        let object = described.schema.object(major);
        let column = object.and_then(|o| o.columns.iter().position(|c| c.name.eq_ignore_ascii_case(minor)));
        vec![
            int(*class),
            text(if *class == 0 { "DATABASE" } else { "OBJECT_OR_COLUMN" }),
            int(if *class == 0 { 0 } else { object_id(major) }),
            int(column.map_or(0, |index| index as i64 + 1)),
            text(name),
            convert::from_lite(value.clone(), SqlType::Variant),
        ]
    });
    rows.collect()
}
