//! What the parts of an instance share: databases, groups, files, tasks, random numbers.

use super::{DatabaseEntry, ENTRIES, SYSTEM, Shared, disk_error, lock, unknown};
use crate::{
    errors::SqlResult,
    group::{
        self, Copy, Group,
        config::{DatabaseConfig, Link},
    },
    store::database::Database,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, MutexGuard, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;
use uuid::Uuid;

impl Shared {
    /// Whether it runs.
    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        self.alive.store(false, Ordering::SeqCst);
        self.config.disk.end();
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        for group in self.all_groups() {
            group.end();
        }
    }

    /// Now: the wall clock at the start plus tokio's time since, so that a paused clock drives it.
    pub fn now(&self) -> SystemTime {
        self.started.0 + self.started.1.elapsed()
    }

    /// Time until a role that was asked for comes: as switched, and up to half as much more.
    pub fn role_delay(&self) -> Duration {
        let delay = self.faults.get().role_delay;
        delay + delay.mul_f64((self.random() % 1_000) as f64 / 2_000.0)
    }

    /// Runs a task until the instance ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.alive() {
            let handle = tokio::spawn(task);
            let mut tasks = lock(&self.tasks);
            tasks.retain(|task| !task.is_finished());
            tasks.push(handle.abort_handle());
        }
    }

    pub(super) fn open_databases(self: &Arc<Self>, copies: &BTreeMap<String, Copy>) -> io::Result<()> {
        for name in SYSTEM {
            if !self.entries().contains_key(name) {
                let id = self.entries().len() as i32 + 1;
                self.entries().insert(name.into(), DatabaseEntry::new(id, false));
            }
        }
        self.save_entries()?;
        let names: Vec<String> = self.entries().keys().cloned().collect();
        for name in names {
            // A database of a group is not redone by the start: its log may hold what nobody acknowledged.
            let grouped = copies.values().any(|copy| copy.local.contains(&name));
            let restoring = self.entries().get(&name).is_some_and(|entry| entry.restoring);
            let database = Database::open(&self.config.disk, &name, !grouped && !restoring)?;
            self.databases().insert(name, database);
        }
        Ok(())
    }

    /// A database by name, in any case.
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        let databases = self.databases();
        databases
            .get(name)
            .or_else(|| {
                databases.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, database)| database)
            })
            .cloned()
    }

    /// Creates a database, or returns the one there.
    pub fn create(&self, name: &str) -> io::Result<Arc<Database>> {
        if let Some(database) = self.database(name) {
            return Ok(database);
        }
        let database = Database::open(&self.config.disk, name, true)?;
        let id = self.entries().values().map(|entry| entry.id).max().unwrap_or(4) + 1;
        self.entries().insert(name.into(), DatabaseEntry::new(id, true));
        self.databases().insert(name.into(), database.clone());
        self.save_entries()?;
        Ok(database)
    }

    /// Catalog entries of databases.
    pub fn entries(&self) -> MutexGuard<'_, BTreeMap<String, DatabaseEntry>> {
        lock(&self.entries)
    }

    pub(super) fn databases(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Database>>> {
        lock(&self.databases)
    }

    pub(crate) fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Group>>> {
        lock(&self.groups)
    }

    pub(super) fn save_entries(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&*self.entries())?;
        self.config.disk.write(ENTRIES, &bytes)
    }

    pub(super) fn change_entry(&self, name: &str, change: impl FnOnce(&mut DatabaseEntry)) -> SqlResult<()> {
        match self.entries().get_mut(name) {
            Some(entry) => change(entry),
            None => return Err(unknown(name)),
        }
        self.save_entries().map_err(disk_error)
    }

    /// Marks a database RESTORING, with the `group_database_id` that it left, or ONLINE.
    pub fn set_restoring(&self, name: &str, left: Option<Uuid>) -> SqlResult<()> {
        if self.entries().get(name).is_some_and(|entry| entry.left == left && entry.restoring == left.is_some()) {
            return Ok(());
        }
        self.change_entry(name, |entry| {
            entry.restoring = left.is_some();
            entry.left = left;
        })
    }

    /// The `group_database_id` that a database had in the group it left.
    pub fn left(&self, name: &str) -> Option<Uuid> {
        self.entries().get(name).filter(|entry| entry.restoring).and_then(|entry| entry.left)
    }

    /// Whether a log chain exists.
    pub fn has_log_chain(&self, name: &str) -> bool {
        self.entries().get(name).is_some_and(|entry| entry.full && entry.log_chain)
    }

    /// What a database says of its backups: whether a log chain exists, and when its log was backed up last.
    pub fn backups(&self, name: &str) -> (bool, Option<i64>) {
        self.entries().get(name).map_or((false, None), |entry| (entry.log_chain, entry.log_backup))
    }

    /// The same on a secondary: it stands in the database itself and comes with its log.
    pub fn set_backups(&self, name: &str, (log_chain, log_backup): (bool, Option<i64>)) -> SqlResult<()> {
        self.change_entry(name, |entry| (entry.log_chain, entry.log_backup) = (log_chain, log_backup))
    }

    /// A group by name.
    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups().iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, group)| group.clone())
    }

    /// All groups.
    pub fn all_groups(&self) -> Vec<Arc<Group>> {
        self.groups().values().cloned().collect()
    }

    /// The distributed groups that a group here is a member of.
    pub fn links_of(&self, member: &str) -> Vec<Arc<Group>> {
        let groups = self.all_groups().into_iter();
        groups.filter(|group| group.distributed && group.me.eq_ignore_ascii_case(member)).collect()
    }

    /// The same as its configuration has them.
    pub fn link_definitions(&self, member: &str) -> BTreeMap<String, Link> {
        let copies = lock(&self.copies);
        let own = copies.iter().filter(|(_, copy)| copy.member.as_deref() == Some(member));
        own.map(|(name, copy)| {
            let config = group::Config { number: 0, databases: BTreeMap::new(), ..copy.config.clone() };
            (name.clone(), Link { config, primary: copy.was_primary })
        })
        .collect()
    }

    /// Whether a group here is the secondary side of a distributed one.
    pub fn is_secondary_side(&self, member: &str) -> bool {
        let copies = lock(&self.copies);
        copies.values().any(|copy| copy.member.as_deref() == Some(member) && !copy.was_primary)
    }

    /// The databases of a distributed group: those of its member, as far as they are known already unchanged.
    pub fn databases_of_member(
        &self,
        member: &str,
        known: &BTreeMap<String, DatabaseConfig>,
    ) -> BTreeMap<String, DatabaseConfig> {
        let copies = lock(&self.copies);
        let Some(copy) = copies.get(member) else { return known.clone() };
        let entry = |(name, own): (&String, &DatabaseConfig)| {
            let new = || DatabaseConfig { id: own.id, synchronized: BTreeSet::new(), pending_suspend: BTreeSet::new() };
            (name.clone(), known.get(name).cloned().unwrap_or_else(new))
        };
        copy.config.databases.iter().filter(|(name, _)| copy.local.contains(*name)).map(entry).collect()
    }

    /// The group that a database belongs to here.
    pub fn group_of(&self, database: &str) -> Option<Arc<Group>> {
        self.all_groups()
            .into_iter()
            .filter(|group| !group.distributed)
            .find(|group| group.state().copy.local.iter().any(|name| name.eq_ignore_ascii_case(database)))
    }

    /// Adds a group with its copy, RESOLVING.
    pub fn add_group(self: &Arc<Self>, name: &str, copy: Copy) -> SqlResult<Arc<Group>> {
        self.save_copy(name, &copy).map_err(disk_error)?;
        let group = Group::new(self, name, copy);
        self.groups().insert(name.into(), group.clone());
        Ok(group)
    }

    /// Removes a group from this instance.
    pub fn remove_group(&self, name: &str) -> SqlResult<()> {
        if let Some(group) = self.groups().remove(name) {
            group.end();
        }
        let mut copies = lock(&self.copies);
        copies.remove(name);
        group::config::write(&self.config.disk, &copies).map_err(disk_error)
    }

    /// Persists a group's copy. Nothing is written after a crash.
    pub fn save_copy(&self, name: &str, copy: &Copy) -> io::Result<()> {
        if !self.alive() {
            return Err(io::Error::other("the instance ended"));
        }
        let mut copies = lock(&self.copies);
        copies.insert(name.into(), copy.clone());
        group::config::write(&self.config.disk, &copies)
    }

    /// Waits for the invitation of a primary: JOIN.
    pub async fn invited(&self, name: &str) -> Option<group::Config> {
        let (sender, mut receiver) = mpsc::channel(1);
        lock(&self.joining).insert(name.into(), sender);
        let config = receiver.recv().await;
        lock(&self.joining).remove(name);
        config
    }

    /// A primary invites: takes the configuration when a JOIN waits for it.
    pub fn invite(&self, name: &str, config: group::Config) -> bool {
        let waiting = lock(&self.joining).get(name).cloned();
        waiting.is_some_and(|waiting| waiting.try_send(config).is_ok())
    }

    /// SplitMix64 from the instance's seed.
    pub fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A GUID from the same source.
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes((u128::from(self.random()) << 64 | u128::from(self.random())).to_be_bytes())
            .into_uuid()
    }
}
