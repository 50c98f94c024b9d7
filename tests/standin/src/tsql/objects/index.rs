//! CREATE and DROP INDEX.

use super::missing;
use crate::{
    errors::{Message, SqlResult},
    tsql::{ast::ObjectName, emit::quote, session::Session},
};

impl Session {
    pub(super) async fn create_index(
        &mut self,
        name: &str,
        table: &ObjectName,
        unique: bool,
        columns: &[String],
    ) -> SqlResult<()> {
        let (database, table, schema) = self.existing(table, "ALTER")?;
        let object = schema.object(&table);
        for column in columns {
            if !object.is_some_and(|o| o.columns.iter().any(|c| c.name.eq_ignore_ascii_case(column))) {
                return Err(Message::new(
                    1911,
                    16,
                    format!("Column name '{column}' does not exist in the target table or view."),
                ));
            }
        }
        let columns: Vec<_> = columns.iter().map(|column| quote(column)).collect();
        let unique = if unique { "UNIQUE " } else { "" };
        let sql = format!("CREATE {unique}INDEX main.{} ON {} ({})", quote(name), quote(&table), columns.join(", "));
        self.write_all(&database, &[(sql, vec![])]).await.map_err(|message| refused(message, name, &table))
    }

    pub(super) async fn drop_index(&mut self, name: &str, table: &ObjectName, if_exists: bool) -> SqlResult<()> {
        let (database, _, _) = self.existing(table, "ALTER")?;
        let sql = format!("DROP INDEX {}main.{}", if if_exists { "IF EXISTS " } else { "" }, quote(name));
        self.write_all(&database, &[(sql, vec![])]).await.map_err(|_| missing("index", name))
    }
}

/// 1913 for a name that is taken, 1505 for rows that are not unique.
fn refused(message: Message, name: &str, table: &str) -> Message {
    if message.text.contains("already exists") {
        return Message::new(
            1913,
            16,
            format!(
                "The operation failed because an index or statistics with name '{name}' already exists on table '{table}'."
            ),
        );
    }
    if [2601, 2627].contains(&message.number) {
        return Message::new(
            1505,
            16,
            format!(
                "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.{table}' and the index name '{name}'."
            ),
        );
    }
    message
}
