//! A transaction in one database.

use super::{
    database::{Database, Owner, Parameters, RowSet, execute, lock, log_name, lost, rows, sqlite},
    log::{Log, Record, Statement},
};
use crate::errors::{Message, SqlResult};
use std::sync::{Arc, atomic::Ordering};
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

    fn check(&self) -> SqlResult<()> {
        let same = self.database.generation.load(Ordering::SeqCst) == self.generation;
        if same { Ok(()) } else { Err(lost(&self.database.name)) }
    }

    /// Runs a statement that changes something. Returns the rows changed.
    pub async fn execute(&mut self, sql: &str, parameters: &Parameters) -> SqlResult<usize> {
        self.check()?;
        let changed = execute(&lock(&self.database.files).write, sql, parameters).map_err(sqlite)?;
        let parameters = parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        self.statements.push(Statement { sql: sql.into(), parameters });
        Ok(changed)
    }

    /// Reads what this transaction sees.
    pub async fn query(&self, sql: &str, parameters: &Parameters) -> SqlResult<RowSet> {
        self.check()?;
        rows(&lock(&self.database.files).write, sql, parameters)
    }

    /// Runs `work` on the connection of this transaction, e.g. for a statement that both changes and returns rows; the
    /// statement is recorded.
    pub async fn execute_returning(&mut self, sql: &str, parameters: &Parameters) -> SqlResult<RowSet> {
        self.check()?;
        let set = rows(&lock(&self.database.files).write, sql, parameters)?;
        let parameters = parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        self.statements.push(Statement { sql: sql.into(), parameters });
        Ok(set)
    }

    /// Runs `work` on the connection of this transaction; nothing of it is recorded, so it must leave the data alone.
    pub fn with_connection<T>(&self, work: impl FnOnce(&mut rusqlite::Connection) -> SqlResult<T>) -> SqlResult<T> {
        self.check()?;
        work(&mut lock(&self.database.files).write)
    }

    /// Marks a point to which [`Self::rollback_to`] returns: a failed statement undoes only itself.
    pub fn savepoint(&mut self) -> SqlResult<usize> {
        self.check()?;
        lock(&self.database.files).write.execute_batch("SAVEPOINT statement").map_err(sqlite)?;
        Ok(self.statements.len())
    }

    /// Undoes everything since the savepoint.
    pub fn rollback_to(&mut self, mark: usize) -> SqlResult<()> {
        self.check()?;
        self.statements.truncate(mark);
        lock(&self.database.files).write.execute_batch("ROLLBACK TO statement; RELEASE statement").map_err(sqlite)
    }

    /// Keeps everything since the savepoint.
    pub fn release(&mut self) -> SqlResult<()> {
        self.check()?;
        lock(&self.database.files).write.execute_batch("RELEASE statement").map_err(sqlite)
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
        self.check()?;
        if self.statements.is_empty() {
            self.open = false;
            return lock(&self.database.files).write.execute_batch("COMMIT").map_err(sqlite);
        }
        let lsn = self.harden()?;
        if let Some(owner) = &self.owner {
            owner.hardened();
            owner.acknowledged(&self.database.name, lsn, self.reign).await?;
        }
        self.check()?;
        self.open = false;
        let mut files = lock(&self.database.files);
        files.write.execute_batch("COMMIT").map_err(sqlite)?;
        files.applied = lsn;
        drop(files);
        if let Some(owner) = &self.owner {
            owner.hardened();
        }
        Ok(())
    }

    fn harden(&mut self) -> SqlResult<u64> {
        if let Some(owner) = &self.owner
            && owner.admit(&self.database.name, true)? != self.reign
        {
            return Err(lost(&self.database.name));
        }
        let mut files = lock(&self.database.files);
        let fork = self.owner.as_ref().map_or(files.log.base_fork, |owner| owner.fork());
        let record = Record { lsn: files.log.end() + 1, fork, statements: std::mem::take(&mut self.statements) };
        let lsn = record.lsn;
        let records = [record];
        Log::harden(&self.database.disk, &log_name(&self.database.name), &records).map_err(|error| {
            Message::new(9001, 21, format!("The log for database '{}' is not available: {error}", self.database.name))
        })?;
        files.log.push(&records);
        Ok(lsn)
    }

    /// Rolls back.
    pub fn rollback(self) {}
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open && self.check().is_ok() {
            let files = lock(&self.database.files);
            if !files.write.is_autocommit() {
                let _ = files.write.execute_batch("ROLLBACK");
            }
        }
    }
}
