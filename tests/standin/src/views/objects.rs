//! Tables, columns, schemas of one database.

use super::{Rows, View, int, text};
use crate::{
    tsql::{
        kind,
        schema::{ObjectInfo, object_id},
        state::State,
    },
    value::{SqlType, Value},
};

macro_rules! object_columns {
    () => {
        "name sysname, object_id int, principal_id int, schema_id int, parent_object_id int, type nchar(2), type_desc nvarchar(60), create_date datetime, modify_date datetime, is_ms_shipped bit"
    };
}

pub(super) const VIEWS: &[View] = &[
    View { key: "sys.objects", columns: object_columns!(), permission: None, rows: objects },
    View { key: "sys.all_objects", columns: object_columns!(), permission: None, rows: objects },
    View { key: "sys.tables", columns: object_columns!(), permission: None, rows: tables },
    View { key: "sys.views", columns: object_columns!(), permission: None, rows: views },
    View { key: "sys.procedures", columns: object_columns!(), permission: None, rows: procedures },
    View {
        key: "sys.columns",
        columns: "object_id int, name sysname, column_id int, system_type_id tinyint, user_type_id int, max_length smallint, precision tinyint, scale tinyint, collation_name sysname, is_nullable bit, is_identity bit, is_computed bit",
        permission: None,
        rows: columns,
    },
    View {
        key: "sys.schemas",
        columns: "name sysname, schema_id int, principal_id int",
        permission: None,
        rows: schemas,
    },
    View {
        key: "sys.types",
        columns: "name sysname, system_type_id tinyint, user_type_id int, schema_id int, max_length smallint, is_user_defined bit",
        permission: None,
        rows: types,
    },
    View {
        key: "INFORMATION_SCHEMA.TABLES",
        columns: "TABLE_CATALOG nvarchar(128), TABLE_SCHEMA nvarchar(128), TABLE_NAME sysname, TABLE_TYPE varchar(10)",
        permission: None,
        rows: information_tables,
    },
    View {
        key: "INFORMATION_SCHEMA.COLUMNS",
        columns: "TABLE_CATALOG nvarchar(128), TABLE_SCHEMA nvarchar(128), TABLE_NAME nvarchar(128), COLUMN_NAME sysname, ORDINAL_POSITION int, COLUMN_DEFAULT nvarchar(4000), IS_NULLABLE varchar(3), DATA_TYPE nvarchar(128), CHARACTER_MAXIMUM_LENGTH int",
        permission: None,
        rows: information_columns,
    },
];

fn of<'a>(state: &'a State, database: &str) -> &'a [ObjectInfo] {
    state.described.get(database).map_or(&[], |described| &described.schema.objects)
}

fn schema_id(name: &str) -> i64 {
    if name.eq_ignore_ascii_case("dbo") { 1 } else { object_id(name) }
}

fn described(kind: char) -> (&'static str, &'static str) {
    match kind {
        'V' => ("V ", "VIEW"),
        'P' => ("P ", "SQL_STORED_PROCEDURE"),
        _ => ("U ", "USER_TABLE"),
    }
}

fn object(state: &State, object: &ObjectInfo) -> Vec<Value> {
    let (schema, name) = object.parts();
    let (code, desc) = described(object.kind);
    let created = Value::DateTime(state.data.created);
    vec![
        text(name),
        int(object.id()),
        Value::Null,
        int(schema_id(schema)),
        int(0),
        text(code),
        text(desc),
        created.clone(),
        created,
        Value::Bit(false),
    ]
}

fn of_kind(state: &State, database: &str, kinds: &str) -> Rows {
    of(state, database).iter().filter(|o| kinds.contains(o.kind)).map(|o| object(state, o)).collect()
}

fn objects(state: &State, database: &str) -> Rows {
    of_kind(state, database, "UVP")
}

fn tables(state: &State, database: &str) -> Rows {
    of_kind(state, database, "U")
}

fn views(state: &State, database: &str) -> Rows {
    of_kind(state, database, "V")
}

fn procedures(state: &State, database: &str) -> Rows {
    of_kind(state, database, "P")
}

fn columns(state: &State, database: &str) -> Rows {
    let mut rows = Rows::new();
    for object in of(state, database) {
        for (index, column) in object.columns.iter().enumerate() {
            let (type_id, length) = kind::catalog(column.kind);
            let (precision, scale) = match column.kind {
                SqlType::Decimal { precision, scale } => (precision, scale),
                _ => (0, 0),
            };
            rows.push(vec![
                int(object.id()),
                text(&column.name),
                int(index as i64 + 1),
                int(type_id),
                int(type_id),
                int(length),
                int(precision),
                int(scale),
                if kind::is_text(column.kind) { text(&state.server.instance.config().collation) } else { Value::Null },
                Value::Bit(!column.not_null),
                Value::Bit(false),
                Value::Bit(false),
            ]);
        }
    }
    rows
}

fn schemas(state: &State, database: &str) -> Rows {
    let own = state.described.get(database).map_or(&[][..], |described| &described.schema.schemas);
    let fixed = [("dbo", 1), ("guest", 2), ("INFORMATION_SCHEMA", 3), ("sys", 4)];
    let fixed = fixed.into_iter().map(|(name, id)| vec![text(name), int(id), int(id)]);
    fixed.chain(own.iter().map(|(name, owner)| vec![text(name), int(object_id(name)), int(*owner)])).collect()
}

fn types(_: &State, _: &str) -> Rows {
    let names = [
        "bit",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "float",
        "decimal",
        "nchar",
        "nvarchar",
        "varchar",
        "varbinary",
        "uniqueidentifier",
        "datetime",
        "datetime2",
        "sql_variant",
    ];
    let rows = names.into_iter().filter_map(|name| {
        let (id, length) = kind::catalog(kind::from_text(name, None).ok()?);
        Some(vec![text(name), int(id), int(id), int(4), int(length), Value::Bit(false)])
    });
    rows.collect()
}

fn catalog_name(state: &State, database: &str) -> Value {
    let names = state.snapshot().databases.keys();
    let found = names.into_iter().find(|name| name.eq_ignore_ascii_case(database));
    text(found.cloned().unwrap_or_else(|| database.to_string()))
}

fn information_tables(state: &State, database: &str) -> Rows {
    let catalog = catalog_name(state, database);
    let objects = of(state, database).iter().filter(|object| object.kind != 'P');
    let rows = objects.map(|object| {
        let (schema, name) = object.parts();
        vec![catalog.clone(), text(schema), text(name), text(if object.kind == 'V' { "VIEW" } else { "BASE TABLE" })]
    });
    rows.collect()
}

fn information_columns(state: &State, database: &str) -> Rows {
    let catalog = catalog_name(state, database);
    let mut rows = Rows::new();
    for object in of(state, database) {
        let (schema, name) = object.parts();
        for (index, column) in object.columns.iter().enumerate() {
            let full = kind::text(column.kind);
            let length = match column.kind {
                SqlType::NChar(n) | SqlType::NVarChar(n) | SqlType::VarChar(n) | SqlType::VarBinary(n) => int(n),
                SqlType::NVarCharMax | SqlType::VarCharMax | SqlType::VarBinaryMax => int(-1),
                _ => Value::Null,
            };
            rows.push(vec![
                catalog.clone(),
                text(schema),
                text(name),
                text(&column.name),
                int(index as i64 + 1),
                Value::Null,
                text(if column.not_null { "NO" } else { "YES" }),
                text(full.split('(').next().unwrap_or(&full)),
                length,
            ]);
        }
    }
    rows
}
