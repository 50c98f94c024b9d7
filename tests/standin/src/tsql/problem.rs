//! SQLite's errors as SQL Server's.

use super::{functions, parse::not_supported};
use crate::errors::Message;
use rusqlite::{Connection, OptionalExtension};

/// Translates what SQLite said. `connection`: to tell a primary key from a unique index.
pub fn translate(message: Message, connection: Option<&Connection>) -> Message {
    if message.number != 50_000 {
        return message;
    }
    let text = message.text.as_str();
    if let Some(message) = functions::message(text) {
        return message;
    }
    let found = unknown_name(text).or_else(|| broken_constraint(text, connection)).or_else(|| wrong_use(text));
    found.unwrap_or_else(|| not_supported(&format!("This statement ({text})")))
}

/// The word after a prefix.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.find(prefix).and_then(|at| text.get(at + prefix.len()..)).map(first_word)
}

/// Names that mean nothing: 208, 207, 209, 195.
fn unknown_name(text: &str) -> Option<Message> {
    if let Some(name) = after(text, "no such table: ") {
        let name = name.trim_start_matches("main.").trim_start_matches("temp.");
        return Some(Message::new(208, 16, format!("Invalid object name '{name}'.")));
    }
    if let Some(name) = after(text, "no such column: ") {
        let name = name.rsplit('.').next().unwrap_or(name);
        return Some(Message::new(207, 16, format!("Invalid column name '{name}'.")));
    }
    if let Some(name) = after(text, "ambiguous column name: ") {
        return Some(Message::new(209, 16, format!("Ambiguous column name '{name}'.")));
    }
    if let Some(name) = after(text, "no such function: ") {
        return Some(Message::new(195, 15, format!("'{name}' is not a recognized built-in function name.")).state(10));
    }
    None
}

/// Rows that break a constraint: 515, 2601, 2627, 547.
fn broken_constraint(text: &str, connection: Option<&Connection>) -> Option<Message> {
    if let Some(column) = after(text, "NOT NULL constraint failed: ") {
        let (table, column) = column.split_once('.').unwrap_or(("", column));
        return Some(Message::new(
            515,
            16,
            format!(
                "Cannot insert the value NULL into column '{column}', table '{table}'; column does not allow nulls. The statement fails."
            ),
        )
        .state(2));
    }
    if let Some(at) = text.find("UNIQUE constraint failed: ") {
        return Some(duplicate(text.get(at + "UNIQUE constraint failed: ".len()..).unwrap_or_default(), connection));
    }
    if text.contains("FOREIGN KEY constraint failed") {
        return Some(Message::new(547, 16, "The statement conflicted with a FOREIGN KEY or REFERENCE constraint."));
    }
    if let Some(name) = after(text, "CHECK constraint failed: ") {
        return Some(Message::new(547, 16, format!("The statement conflicted with the CHECK constraint \"{name}\".")));
    }
    None
}

/// Expressions where they have no place or no value: 147, 8115, 116.
fn wrong_use(text: &str) -> Option<Message> {
    if text.contains("misuse of aggregate") {
        return Some(Message::new(
            147,
            15,
            "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a select list, and the column being aggregated is an outer reference.",
        ));
    }
    if text.contains("integer overflow") {
        return Some(
            Message::new(8115, 16, "Arithmetic overflow error converting expression to data type bigint.").state(2),
        );
    }
    if text.contains("sub-select returns") {
        return Some(Message::new(
            116,
            16,
            "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.",
        ));
    }
    None
}

fn first_word(text: &str) -> &str {
    text.split([' ', ',']).next().unwrap_or(text)
}

/// 2627 for a key, 2601 for an index. `columns`: `t.a, t.b`.
fn duplicate(columns: &str, connection: Option<&Connection>) -> Message {
    let columns: Vec<&str> = columns.split(", ").collect();
    // A table's name may hold a dot: the column is what follows the last one.
    let table = columns.first().and_then(|column| column.rsplit_once('.')).map_or("", |(table, _)| table);
    let names: Vec<&str> = columns.iter().filter_map(|column| column.rsplit_once('.')).map(|(_, name)| name).collect();
    let index = connection.and_then(|connection| index_on(connection, table, &names));
    let shown = if table.contains('.') { table.to_string() } else { format!("dbo.{table}") };
    match index {
        Some((name, origin)) if origin == "c" => Message::new(
            2601,
            14,
            format!("Cannot insert duplicate key row in object '{shown}' with unique index '{name}'."),
        ),
        Some((_, origin)) if origin == "u" => Message::new(
            2627,
            14,
            format!("Violation of UNIQUE KEY constraint. Cannot insert duplicate key in object '{shown}'."),
        )
        .state(2),
        _ => Message::new(
            2627,
            14,
            format!("Violation of PRIMARY KEY constraint. Cannot insert duplicate key in object '{shown}'."),
        ),
    }
}

/// Name and origin (`c` index, `u` constraint, `pk`) of the unique index on these columns.
fn index_on(connection: &Connection, table: &str, columns: &[&str]) -> Option<(String, String)> {
    connection
        .query_row(
            "SELECT l.name, l.origin FROM pragma_index_list(?1) AS l WHERE l.\"unique\" = 1 AND \
             (SELECT group_concat(i.name, ', ' ORDER BY i.seqno) FROM pragma_index_info(l.name) AS i) = ?2",
            (table, columns.join(", ")),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .ok()
        .flatten()
}
