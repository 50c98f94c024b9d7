//! One database: SQLite holds what is committed, the log holds what is hardened.
//!
//! A transaction runs in an open SQLite transaction; its statements become one log record. Commit hardens the record,
//! waits until the database's owner (its availability group) has the acknowledgements it demands, then commits SQLite.
//! What nobody acknowledged was never committed here, so there is nothing to undo: the record is cut from the log when
//! the replica rejoins, or redone when it is promoted.

pub(super) use super::files::{Files, execute, sqlite};
use super::{
    disk::Disk,
    files::connections,
    image::{Image, image_name},
    log::{Log, Record},
};
pub use super::{
    files::{Parameters, RowSet, rows},
    transaction::Transaction,
};
use crate::errors::{Message, SqlResult};
use futures::future::BoxFuture;
use rusqlite::Connection;
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Mutex as AsyncMutex;

/// The availability group that a database belongs to.
pub trait Owner: Send + Sync {
    /// Whether a session may read or write now. Returns the reign: another one later means that the role was lost.
    fn admit(&self, database: &str, write: bool) -> SqlResult<u64>;
    /// Fork of records written now.
    fn fork(&self) -> u64;
    /// Now, microseconds since 1970.
    fn now(&self) -> i64;
    /// Something was hardened: ship it.
    fn hardened(&self);
    /// Waits until everybody who must has hardened `lsn`. Error: it is not acknowledged and must not be.
    fn acknowledged<'a>(&'a self, database: &'a str, lsn: u64, reign: u64) -> BoxFuture<'a, SqlResult<()>>;
}

/// One database.
pub struct Database {
    pub(super) name: String,
    pub(super) disk: Disk,
    pub(super) files: Mutex<Files>,
    pub(super) owner: Mutex<Option<Arc<dyn Owner>>>,
    pub(super) writer: Arc<AsyncMutex<()>>,
    /// Grows when open transactions are thrown out.
    pub(super) generation: AtomicU64,
}

/// A new image is due after so many bytes of log, or as many as the image has.
const IMAGE_DUE: u64 = 4 << 20;
/// Records before the image that are kept for partners that were away.
const KEPT: u64 = 20_000;

impl Database {
    /// Opens the database of that name, recovering what the log holds up to `upto`; creates it when there are no files.
    pub fn open(disk: &Disk, name: &str, redo: bool) -> io::Result<Arc<Self>> {
        let image = Image::read(disk, name)?;
        let (write, read) = connections().map_err(io::Error::other)?;
        let log = Log::read(
            disk,
            &log_name(name),
            image.as_ref().map_or(0, |i| i.lsn),
            image.as_ref().map_or(0, |i| i.fork),
        )?;
        let at = image.as_ref().map_or((0, 0), |image| (image.lsn, image.bytes.len() as u64));
        // Its size is not known here; a record has about 200 bytes.
        let since_image = log.end().saturating_sub(at.0) * 200;
        let mut files = Files { write, read, applied: at.0, log, image: at, since_image };
        if let Some(image) = &image {
            files.load(&image.bytes).map_err(io::Error::other)?;
        } else {
            Image { lsn: 0, fork: 0, bytes: vec![] }.write(disk, name)?;
        }
        if redo {
            let end = files.log.end();
            files.redo(end).map_err(io::Error::other)?;
        }
        Ok(Arc::new(Self {
            name: name.into(),
            disk: disk.clone(),
            files: Mutex::new(files),
            owner: Mutex::new(None),
            writer: Arc::default(),
            generation: AtomicU64::new(0),
        }))
    }

    /// Whether files of that name exist.
    pub fn exists(disk: &Disk, name: &str) -> io::Result<bool> {
        Ok(disk.read(&image_name(name))?.is_some())
    }

    /// Removes its files.
    pub fn erase(disk: &Disk, name: &str) -> io::Result<()> {
        disk.remove(&log_name(name))?;
        disk.remove(&image_name(name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands it to a group, or takes it away, where another replica's log counts or may count.
    pub fn set_owner(&self, owner: Option<Arc<dyn Owner>>) {
        *lock(&self.owner) = owner;
        self.throw_out();
    }

    /// It serves, and joins a group: transactions that are open in it go on, and commit as the group demands.
    pub fn join(&self, owner: Arc<dyn Owner>) {
        *lock(&self.owner) = Some(owner);
    }

    /// It leaves its group and goes on alone with everything in its log.
    pub fn stand_alone(&self) -> SqlResult<()> {
        let mut files = lock(&self.files);
        self.generation.fetch_add(1, Ordering::SeqCst);
        *lock(&self.owner) = None;
        let end = files.log.end();
        self.commit_upto(&mut files, end)
    }

    /// Whether a group owns it.
    pub fn is_owned(&self) -> bool {
        self.owner().is_some()
    }

    /// Whether a transaction is open in it.
    pub fn is_written(&self) -> bool {
        self.writer.try_lock().is_err()
    }

    pub(super) fn owner(&self) -> Option<Arc<dyn Owner>> {
        lock(&self.owner).clone()
    }

    /// Rolls open transactions back; their sessions get an error at the next step.
    pub fn throw_out(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        let files = lock(&self.files);
        if !files.write.is_autocommit() {
            let _ = files.write.execute_batch("ROLLBACK");
        }
    }

    /// Reads committed data.
    pub async fn query(&self, sql: &str, parameters: &Parameters) -> SqlResult<RowSet> {
        if let Some(owner) = self.owner() {
            owner.admit(&self.name, false)?;
        }
        rows(&lock(&self.files).read, sql, parameters)
    }

    /// Runs `work` on the connection that sees committed data, e.g. to attach views to it.
    pub fn with_reader<T>(&self, work: impl FnOnce(&mut Connection) -> SqlResult<T>) -> SqlResult<T> {
        if let Some(owner) = self.owner() {
            owner.admit(&self.name, false)?;
        }
        work(&mut lock(&self.files).read)
    }

    /// Waits until no transaction is open: a reader then sees what it committed.
    pub async fn quiet(&self) {
        drop(self.writer.lock().await);
    }

    /// Begins a transaction; waits for the one before it: one writer at a time is a limit of the stand-in.
    pub async fn begin(self: &Arc<Self>) -> SqlResult<Transaction> {
        let owner = self.owner();
        let admitted = match &owner {
            Some(owner) => owner.admit(&self.name, true)?,
            None => 0,
        };
        let turn = self.writer.clone().lock_owned().await;
        let reign = match &owner {
            Some(owner) => owner.admit(&self.name, true)?,
            None => 0,
        };
        if admitted != reign {
            return Err(lost(&self.name));
        }
        let mut files = lock(&self.files);
        // A record of a transaction that was thrown out while it committed: the next one must not follow on it unapplied.
        if files.applied < files.log.end() {
            let end = files.log.end();
            self.commit_upto(&mut files, end)?;
        }
        let generation = self.generation.load(Ordering::SeqCst);
        files.write.execute_batch("BEGIN IMMEDIATE").map_err(sqlite)?;
        drop(files);
        Ok(Transaction::new(self.clone(), owner, reign, generation, turn))
    }

    /// Position of the last hardened record.
    pub fn end(&self) -> u64 {
        lock(&self.files).log.end()
    }

    /// Position of the last committed record.
    pub fn applied(&self) -> u64 {
        lock(&self.files).applied
    }

    /// Positions of the last hardened and the last committed record, read at once.
    pub fn positions(&self) -> (u64, u64) {
        let files = lock(&self.files);
        (files.log.end(), files.applied)
    }

    /// About how many bytes of log follow `lsn`.
    pub fn log_bytes_after(&self, lsn: u64) -> u64 {
        lock(&self.files).log.bytes_after(lsn)
    }

    /// When a record was written, microseconds since 1970. `None`: it is not in the log any more.
    pub fn time_at(&self, lsn: u64) -> Option<i64> {
        lock(&self.files).log.time_at(lsn)
    }

    /// The forks of its log.
    pub fn forks(&self) -> Vec<(u64, u64)> {
        lock(&self.files).log.forks()
    }

    /// Last position that it has in common with a partner's log. `None`: it needs the image.
    pub fn common(&self, theirs: &[(u64, u64)]) -> Option<u64> {
        lock(&self.files).log.common(theirs)
    }

    /// Up to `most` records after `lsn`.
    pub fn records_after(&self, lsn: u64, most: usize) -> Vec<Record> {
        lock(&self.files).log.after(lsn).iter().take(most).cloned().collect()
    }

    /// A secondary hardens records. Error: they do not follow on, or the disk failed.
    pub fn receive(&self, records: &[Record]) -> io::Result<()> {
        let mut files = lock(&self.files);
        let new = files.log.new_part(records)?;
        self.harden(&mut files, new)
    }

    /// Hardens records that follow on.
    pub(super) fn harden(&self, files: &mut Files, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        match Log::harden(&self.disk, &log_name(&self.name), records) {
            Ok(bytes) => files.since_image += bytes,
            Err(error) => {
                // Half a record may be in the file: what comes after it could not be read again.
                files.log.rewrite(&self.disk, &log_name(&self.name))?;
                return Err(error);
            }
        }
        files.log.push(records);
        Ok(())
    }

    /// Writes a new image and forgets old records, when it is time.
    pub(super) fn checkpoint(&self, files: &mut Files) -> io::Result<()> {
        if files.since_image < IMAGE_DUE.max(files.image.1) || files.applied == files.image.0 {
            return Ok(());
        }
        self.write_image(files)?;
        files.log.forget(files.image.0.saturating_sub(KEPT));
        files.log.rewrite(&self.disk, &log_name(&self.name))
    }

    /// Truncates the log: what is committed here and not needed by others is in the image only.
    pub fn truncate_log(&self, not_needed: u64) -> io::Result<()> {
        let mut files = lock(&self.files);
        let upto = not_needed.min(files.applied);
        if upto <= files.log.base {
            return Ok(());
        }
        if files.image.0 < upto {
            self.write_image(&mut files)?;
        }
        files.log.forget(upto);
        files.log.rewrite(&self.disk, &log_name(&self.name))
    }

    /// Records up to here are in no log any more.
    pub fn truncated(&self) -> u64 {
        lock(&self.files).log.base
    }

    fn write_image(&self, files: &mut Files) -> io::Result<()> {
        let image = self.committed(files)?;
        image.write(&self.disk, &self.name)?;
        files.image = (image.lsn, image.bytes.len() as u64);
        files.since_image = 0;
        Ok(())
    }

    /// What is committed, while a transaction may be open.
    fn committed(&self, files: &Files) -> io::Result<Image> {
        let fork = files.log.fork_at(files.applied).unwrap_or(files.log.base_fork);
        let bytes = if files.write.is_autocommit() {
            files.dump()
        } else {
            let image = Image::read(&self.disk, &self.name)?;
            files.rebuilt(&image.map(|image| image.bytes).unwrap_or_default())
        };
        Ok(Image { lsn: files.applied, fork, bytes: bytes.map_err(io::Error::other)? })
    }

    /// Commits records up to `lsn` in SQLite.
    pub fn redo(&self, lsn: u64) -> SqlResult<()> {
        self.commit_upto(&mut lock(&self.files), lsn)
    }

    fn commit_upto(&self, files: &mut Files, lsn: u64) -> SqlResult<()> {
        if !files.write.is_autocommit() {
            let _ = files.write.execute_batch("ROLLBACK");
        }
        files.redo(lsn).map_err(sqlite)?;
        self.checkpoint(files).map_err(|error| Message::new(823, 24, error.to_string()))
    }

    /// Cuts the log after `lsn`, which nobody acknowledged. Error: it reaches into what is committed here.
    pub fn cut(&self, lsn: u64) -> io::Result<()> {
        let mut files = lock(&self.files);
        if lsn < files.image.0 {
            return Err(io::Error::other("the image holds more than that"));
        }
        if lsn >= files.log.end() {
            return Ok(());
        }
        let rebuild = lsn < files.applied;
        files.log.cut(lsn);
        files.log.rewrite(&self.disk, &log_name(&self.name))?;
        if rebuild {
            let image = Image::read(&self.disk, &self.name)?.ok_or_else(|| io::Error::other("no image"))?;
            files.load(&image.bytes).map_err(io::Error::other)?;
            files.applied = files.image.0;
            files.redo(lsn).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The committed state as an image with its position and fork.
    pub fn image(&self) -> SqlResult<(u64, u64, Vec<u8>)> {
        let image = self.committed(&lock(&self.files)).map_err(|error| Message::new(823, 24, error.to_string()))?;
        Ok((image.lsn, image.fork, image.bytes))
    }

    /// Starts again from a partner's image.
    pub fn seed(&self, lsn: u64, fork: u64, bytes: Vec<u8>) -> io::Result<()> {
        let mut files = lock(&self.files);
        let image = Image { lsn, fork, bytes };
        // The old log must not be read on top of the new image: it goes first.
        files.log.restart(lsn, fork);
        files.log.rewrite(&self.disk, &log_name(&self.name))?;
        image.write(&self.disk, &self.name)?;
        files.load(&image.bytes).map_err(io::Error::other)?;
        files.applied = lsn;
        files.image = (lsn, image.bytes.len() as u64);
        files.since_image = 0;
        Ok(())
    }
}

/// The role went away under a transaction.
pub(super) fn lost(database: &str) -> Message {
    Message::new(
        983,
        14,
        format!(
            "Unable to access availability database '{database}' because the database replica is not in the PRIMARY or SECONDARY role. Connections to an availability database is permitted only when the database replica is in the PRIMARY or SECONDARY role. Try the operation again later."
        ),
    )
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn log_name(database: &str) -> String {
    format!("{database}.log")
}
