//! A transaction in one database.

use super::{
    database::{Database, Files, Owner, Parameters, RowSet, execute, lock, lost, rows, sqlite},
    log::{Record, Statement},
};
use crate::errors::{Message, SqlResult};
use std::sync::{Arc, MutexGuard, atomic::Ordering};
use tokio::sync::OwnedMutexGuard;

/// A transaction in one database. Dropping it rolls back.
pub struct Transaction {
    database: Arc<Database>,
    owner: Option<Arc<dyn Owner>>,
    reign: u64,
    generation: u64,
    statements: Vec<Statement>,
    open: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Transaction {
    pub(super) fn new(
        database: Arc<Database>,
        owner: Option<Arc<dyn Owner>>,
        reign: u64,
        generation: u64,
        turn: OwnedMutexGuard<()>,
    ) -> Self {
        Self { database, owner, reign, generation, statements: vec![], open: true, _turn: turn }
    }

    /// The files, while this transaction is open: looked at under their lock, which whoever throws it out takes, too.
    fn files(&self) -> SqlResult<MutexGuard<'_, Files>> {
        let files = lock(&self.database.files);
        let same = self.database.generation.load(Ordering::SeqCst) == self.generation;
        if same { Ok(files) } else { Err(lost(&self.database.name)) }
    }

    fn record(&mut self, sql: &str, parameters: &Parameters) {
        let parameters = parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        self.statements.push(Statement { sql: sql.into(), parameters });
    }

    /// Runs a statement that changes something. Returns the rows changed.
    pub async fn execute(&mut self, sql: &str, parameters: &Parameters) -> SqlResult<usize> {
        let changed = execute(&self.files()?.write, sql, parameters).map_err(sqlite)?;
        self.record(sql, parameters);
        Ok(changed)
    }

    /// Reads what this transaction sees.
    pub async fn query(&self, sql: &str, parameters: &Parameters) -> SqlResult<RowSet> {
        rows(&self.files()?.write, sql, parameters)
    }

    /// Runs a statement that both changes and returns rows; it is recorded.
    pub async fn execute_returning(&mut self, sql: &str, parameters: &Parameters) -> SqlResult<RowSet> {
        let set = rows(&self.files()?.write, sql, parameters)?;
        self.record(sql, parameters);
        Ok(set)
    }

    /// Runs `work` on the connection of this transaction; nothing of it is recorded, so it must leave the data alone.
    pub fn with_connection<T>(&self, work: impl FnOnce(&mut rusqlite::Connection) -> SqlResult<T>) -> SqlResult<T> {
        work(&mut self.files()?.write)
    }

    /// Marks a point to which [`Self::rollback_to`] returns: a failed statement undoes only itself.
    pub fn savepoint(&mut self) -> SqlResult<usize> {
        self.files()?.write.execute_batch("SAVEPOINT statement").map_err(sqlite)?;
        Ok(self.statements.len())
    }

    /// Undoes everything since the savepoint.
    pub fn rollback_to(&mut self, mark: usize) -> SqlResult<()> {
        self.files()?.write.execute_batch("ROLLBACK TO statement; RELEASE statement").map_err(sqlite)?;
        self.statements.truncate(mark);
        Ok(())
    }

    /// Keeps everything since the savepoint.
    pub fn release(&mut self) -> SqlResult<()> {
        self.files()?.write.execute_batch("RELEASE statement").map_err(sqlite)
    }

    /// Commits. Error: not acknowledged; it may still turn out committed after a failover, as in the real engine.
    ///
    /// Runs to its end even when the caller goes away: a record in the log has to be committed or refused.
    pub async fn commit(self) -> SqlResult<()> {
        let name = self.database.name.clone();
        match tokio::spawn(self.finish()).await {
            Ok(result) => result,
            Err(_) => Err(lost(&name)),
        }
    }

    async fn finish(mut self) -> SqlResult<()> {
        if self.statements.is_empty() {
            self.files()?.write.execute_batch("COMMIT").map_err(sqlite)?;
            self.open = false;
            return Ok(());
        }
        self.look_for_owner()?;
        let lsn = self.harden()?;
        if let Some(owner) = &self.owner {
            owner.hardened();
            owner.acknowledged(&self.database.name, lsn, self.reign).await.map_err(|_| severed())?;
        }
        let mut files = self.files().map_err(|_| severed())?;
        files.write.execute_batch("COMMIT").map_err(sqlite)?;
        files.applied = lsn;
        // An image that cannot be written costs only time at the next start.
        let _ = self.database.checkpoint(&mut files);
        drop(files);
        self.open = false;
        if let Some(owner) = &self.owner {
            owner.hardened();
        }
        Ok(())
    }

    /// The database may have joined a group since this transaction began.
    fn look_for_owner(&mut self) -> SqlResult<()> {
        if let Some(owner) = self.database.owner().filter(|_| self.owner.is_none()) {
            self.reign = owner.admit(&self.database.name, true)?;
            self.owner = Some(owner);
        }
        Ok(())
    }

    pub(super) fn harden(&mut self) -> SqlResult<u64> {
        let (mut fork, mut at) = (None, crate::server::wall());
        if let Some(owner) = &self.owner {
            if owner.admit(&self.database.name, true)? != self.reign {
                return Err(lost(&self.database.name));
            }
            (fork, at) = (Some(owner.fork()), owner.now());
        }
        let statements = std::mem::take(&mut self.statements);
        let mut files = self.files()?;
        // A role that is lost from here on throws this transaction out first, under the same lock.
        let fork = fork.unwrap_or_else(|| files.log.fork_at(files.log.end()).unwrap_or(files.log.base_fork));
        let lsn = files.log.end() + 1;
        let records = [Record { lsn, fork, at, statements }];
        self.database.harden(&mut files, &records).map_err(|error| {
            Message::new(9001, 21, format!("The log for database '{}' is not available: {error}", self.database.name))
        })?;
        Ok(lsn)
    }

    /// Rolls back.
    pub fn rollback(self) {}
}

/// A role that is lost ends the sessions in its databases: whoever waited for a commit never learns what became of it.
fn severed() -> Message {
    Message::new(596, 21, "Cannot continue the execution because the session is in the kill state.")
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if let Ok(files) = self.files()
            && !files.write.is_autocommit()
        {
            let _ = files.write.execute_batch("ROLLBACK");
        }
    }
}
