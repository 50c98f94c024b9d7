//! Databases as a whole, and availability groups.

use super::{
    ast::DatabaseStatement,
    session::{Out, Session},
};
use crate::{
    catalog::{On, cannot},
    ddl::{GroupStatement, HadrStatement},
    errors::{Message, SqlResult},
    instance::SYSTEM,
    tsql::parse::not_supported,
    value::Value,
};

impl Session {
    pub(super) async fn database_statement(&mut self, statement: &DatabaseStatement, out: Out<'_>) -> SqlResult<()> {
        let instance = self.server.instance.clone();
        match statement {
            DatabaseStatement::Create(name) => {
                self.need_server("CREATE ANY DATABASE", || {
                    Message::new(262, 14, "CREATE DATABASE permission denied in database 'master'.")
                })?;
                instance.create_database(name).await
            }
            DatabaseStatement::Drop { names, if_exists } => {
                for name in names {
                    self.drop_database(name, *if_exists).await?;
                }
                Ok(())
            }
            DatabaseStatement::Recovery(name, full) => {
                self.alters(name)?;
                instance.set_recovery(name, *full).await
            }
            DatabaseStatement::Hadr(name, statement) => {
                self.may_move(name, statement)?;
                for message in instance.execute_hadr(name, statement.clone()).await? {
                    self.show(message, out);
                }
                Ok(())
            }
            DatabaseStatement::Ignored(name) => {
                self.alters(name)?;
                instance.not_restoring(name)
            }
            DatabaseStatement::Outside(name, option) => {
                self.alters(name)?;
                instance.not_in_group(name)?;
                Err(not_supported(&format!("ALTER DATABASE SET {option} outside a group")))
            }
            DatabaseStatement::Backup(_) | DatabaseStatement::BackupLog(_) | DatabaseStatement::Recover(_) => {
                let text = self.back_up(statement).await?;
                self.show(Message::new(3014, 0, text), out);
                Ok(())
            }
        }
    }

    /// BACKUP and RESTORE: what they say when they are done.
    async fn back_up(&mut self, statement: &DatabaseStatement) -> SqlResult<String> {
        let instance = self.server.instance.clone();
        match statement {
            DatabaseStatement::Backup(name) => {
                self.owns(name)?;
                instance.backup_database(name).await?;
                Ok(format!(
                    "BACKUP DATABASE successfully processed 1 pages in 0.001 seconds (7.812 MB/sec). Database '{name}' was not written anywhere: the stand-in keeps no backups."
                ))
            }
            DatabaseStatement::BackupLog(name) => {
                self.owns(name)?;
                instance.backup_log(name, self.server.now()).await?;
                Ok("BACKUP LOG successfully processed 1 pages in 0.001 seconds (7.812 MB/sec).".into())
            }
            DatabaseStatement::Recover(name) => {
                self.need_server("CREATE ANY DATABASE", || {
                    Message::new(262, 14, format!("RESTORE DATABASE permission denied in database '{name}'."))
                })?;
                instance.recover_database(name)?;
                Ok("RESTORE DATABASE successfully processed 0 pages in 0.001 seconds (0.000 MB/sec).".into())
            }
            _ => Err(not_supported("This statement")),
        }
    }

    async fn drop_database(&mut self, name: &str, if_exists: bool) -> SqlResult<()> {
        let instance = self.server.instance.clone();
        if if_exists && instance.shared().database(name).is_none() {
            return Ok(());
        }
        self.owns(name).map_err(|_| {
            Message::new(
                3701,
                11,
                format!("Cannot drop the database '{name}', because it does not exist or you do not have permission."),
            )
        })?;
        let used = self.server.sessions().iter().any(|session| {
            let database = session.database.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            database.eq_ignore_ascii_case(name)
        });
        if used && !SYSTEM.iter().any(|system| system.eq_ignore_ascii_case(name)) {
            let text = format!("Cannot drop database \"{name}\" because it is currently in use.");
            return Err(Message::new(3702, 16, text).state(3));
        }
        instance.drop_database(name).await
    }

    /// 5011 unless the database is there and the login may alter it.
    fn alters(&self, name: &str) -> SqlResult<()> {
        self.owns(name).map_err(|_| {
            Message::new(
                5011,
                14,
                format!(
                    "User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."
                ),
            )
        })
    }

    /// SET HADR: as for every ALTER DATABASE, but that a database to join is missing has a number of its own, 41148.
    fn may_move(&self, name: &str, statement: &HadrStatement) -> SqlResult<()> {
        let missing = self.server.instance.shared().database(name).is_none();
        let joins = matches!(statement, HadrStatement::Join(_));
        if joins && missing && self.holds("ALTER ANY DATABASE", &On::Server) {
            return Ok(());
        }
        self.alters(name)
    }

    /// 911 unless the database is there, 262 unless the login may do anything with it.
    fn owns(&self, name: &str) -> SqlResult<()> {
        let known = self.server.instance.shared().database(name).is_some();
        if !known {
            return Err(Message::new(
                911,
                16,
                format!("Database '{name}' does not exist. Make sure that the name is entered correctly."),
            ));
        }
        let allowed = self.holds("ALTER ANY DATABASE", &On::Server)
            || self.security(name).is_ok_and(|(security, user)| security.is_member(user, "db_owner"));
        if allowed {
            return Ok(());
        }
        Err(Message::new(262, 14, format!("BACKUP DATABASE permission denied in database '{name}'.")))
    }

    pub(super) async fn group_statement(
        &mut self,
        name: &str,
        statement: &GroupStatement,
        out: Out<'_>,
    ) -> SqlResult<()> {
        if !self.database.eq_ignore_ascii_case("master") {
            return Err(Message::new(
                35_208,
                16,
                "Availability-group DDL operations are permitted only when you are using the master database. Run the USE MASTER command, and retry your availability-group DDL command.",
            ));
        }
        let on = On::Group(name.to_lowercase());
        let (allowed, verb) = match statement {
            GroupStatement::Create { .. } | GroupStatement::CreateDistributed { .. } => {
                (self.holds("CREATE AVAILABILITY GROUP", &On::Server), "create")
            }
            GroupStatement::Join { .. } | GroupStatement::JoinDistributed(_) => {
                (self.holds("CREATE AVAILABILITY GROUP", &On::Server) || self.holds("ALTER", &on), "join")
            }
            GroupStatement::Drop => (self.holds("CONTROL", &on) || self.holds("ALTER", &on), "drop"),
            _ => (self.holds("ALTER", &on), "alter"),
        };
        if !allowed {
            return Err(cannot(verb, "availability group", name));
        }
        let external = self
            .context
            .get("external_cluster")
            .is_some_and(|(value, _)| matches!(value, Value::Text(text) if text.eq_ignore_ascii_case("yes")));
        // The statement goes on when the client goes away: its outcome is then unknown to the client alone.
        let instance = self.server.instance.clone();
        let (group, statement) = (name.to_string(), statement.clone());
        let work = tokio::spawn(async move { instance.execute_group(&group, statement, external).await });
        let messages = work.await.map_err(|_| Message::new(41_149, 16, format!("Operation on the availability group '{name}' has been cancelled or terminated, either because of a connection timeout or cancellation by user.")))??;
        for message in messages {
            self.show(message, out);
        }
        Ok(())
    }
}
