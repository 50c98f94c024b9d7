//! RESTORE DATABASE .. WITH RECOVERY, and what cannot be said to a database as it stands.

use super::Instance;
use crate::errors::{Message, SqlResult};

impl Instance {
    /// Brings a database back that a group left RESTORING, with everything in its log. It is a copy of its own then: the
    /// group takes it up no more. Errors: 3118, 3104, 3153.
    pub fn recover_database(&self, name: &str) -> SqlResult<()> {
        let Some(database) = self.0.database(name) else {
            let text = format!(
                "The database \"{name}\" does not exist. RESTORE can only create a database when restoring either a full backup or a file backup of the primary file."
            );
            return Err(Message::new(3118, 16, text));
        };
        let name = database.name();
        if self.0.group_of(name).is_some() {
            let text = format!(
                "RESTORE cannot operate on database '{name}' because it is configured for database mirroring or has joined an availability group. If you intend to restore the database, use ALTER DATABASE to remove mirroring or to remove the database from its availability group."
            );
            return Err(Message::new(3104, 16, text));
        }
        if self.0.left(name).is_none() {
            return Err(Message::new(3153, 16, "The database is already fully recovered."));
        }
        database.redo(database.end())?;
        self.0.set_restoring(name, None)
    }

    /// 1468: what a database in a group cannot be told.
    pub fn not_in_group(&self, name: &str) -> SqlResult<()> {
        let Some(database) = self.0.database(name).filter(|database| self.0.group_of(database.name()).is_some()) else {
            return Ok(());
        };
        Err(Message::new(
            1468,
            16,
            format!(
                "The operation cannot be performed on database \"{}\" because it is involved in a database mirroring session or an availability group. Some operations are not allowed on a database that is participating in a database mirroring session or in an availability group.",
                database.name()
            ),
        ))
    }

    /// 5052: what ALTER DATABASE changes can be changed in a database that is RESTORING no more than it can be opened.
    pub fn not_restoring(&self, name: &str) -> SqlResult<()> {
        let name = self.0.database(name).map_or_else(|| name.to_string(), |known| known.name().to_string());
        if self.0.entries().get(&name).is_some_and(|entry| entry.restoring) {
            let text = "ALTER DATABASE is not permitted while a database is in the Restoring state.";
            return Err(Message::new(5052, 16, text));
        }
        Ok(())
    }
}
