//! The transaction log of one database: one record per committed transaction, synced before anybody hears of it.
//!
//! A record's *fork* names the reign of the primary that wrote it, so that two logs agree up to the last record with the
//! same number and fork: the recovery fork of SQL Server docs, "Recovery paths".

use super::disk::Disk;
use serde::{Deserialize, Serialize};
use std::io;

/// One value of a statement's parameters, as SQLite has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// NULL
    Null,
    /// Integer
    Integer(i64),
    /// Float
    Real(f64),
    /// Text
    Text(String),
    /// Bytes
    Blob(Vec<u8>),
}

/// One statement: SQLite text without anything that differs between runs, and its named parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// SQLite text.
    pub sql: String,
    /// Parameters.
    pub parameters: Vec<(String, Cell)>,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position, from 1 without gaps.
    pub lsn: u64,
    /// Reign of the primary that wrote it.
    pub fork: u64,
    /// When, microseconds since 1970.
    #[serde(default)]
    pub at: i64,
    /// What it does.
    pub statements: Vec<Statement>,
}

/// Bytes of a record that is not kept any more.
const FORGOTTEN: u64 = 200;

impl Record {
    /// About how many bytes it takes in a log.
    fn bytes(&self) -> u64 {
        let cell = |cell: &Cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Blob(bytes) => bytes.len(),
            _ => 8,
        };
        let parameters =
            |statement: &Statement| statement.parameters.iter().map(|(_, value)| cell(value)).sum::<usize>();
        let statements: usize = self.statements.iter().map(|s| s.sql.len() + parameters(s)).sum();
        64 + statements as u64
    }
}

/// The log of one database from `base` on; what is before is only in the database image.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Records up to here are not kept any more.
    pub base: u64,
    /// Fork of the record at `base`.
    pub base_fork: u64,
    records: Vec<Record>,
}

impl Log {
    /// Position of the last record.
    pub fn end(&self) -> u64 {
        self.records.last().map_or(self.base, |record| record.lsn)
    }

    /// How many records are kept.
    pub fn kept(&self) -> usize {
        self.records.len()
    }

    /// Records after `lsn`.
    pub fn after(&self, lsn: u64) -> &[Record] {
        let start = self.records.partition_point(|record| record.lsn <= lsn);
        self.records.get(start..).unwrap_or_default()
    }

    /// About how many bytes the records after `lsn` take; of those that are not kept any more only their number is known.
    pub fn bytes_after(&self, lsn: u64) -> u64 {
        let forgotten = self.base.saturating_sub(lsn) * FORGOTTEN;
        forgotten + self.after(lsn).iter().map(Record::bytes).sum::<u64>()
    }

    /// When the record at `lsn` was written. `None`: not in this log.
    pub fn time_at(&self, lsn: u64) -> Option<i64> {
        let index = self.records.binary_search_by_key(&lsn, |record| record.lsn).ok()?;
        self.records.get(index).map(|record| record.at).filter(|at| *at > 0)
    }

    /// Fork of the record at `lsn`. `None`: not in this log.
    pub fn fork_at(&self, lsn: u64) -> Option<u64> {
        if lsn == self.base {
            return Some(self.base_fork);
        }
        let index = self.records.binary_search_by_key(&lsn, |record| record.lsn).ok()?;
        self.records.get(index).map(|record| record.fork)
    }

    /// The last position of each fork, in order: what a partner needs to find the common prefix.
    pub fn forks(&self) -> Vec<(u64, u64)> {
        let mut forks: Vec<(u64, u64)> = vec![(self.base_fork, self.base)];
        for record in &self.records {
            match forks.last_mut() {
                Some(last) if last.0 == record.fork => last.1 = record.lsn,
                _ => forks.push((record.fork, record.lsn)),
            }
        }
        forks
    }

    /// Last position at which this log and a partner's, described by its forks, agree. `None`: not in what is kept here.
    pub fn common(&self, theirs: &[(u64, u64)]) -> Option<u64> {
        let ours = self.forks();
        theirs.iter().rev().find_map(|(fork, last)| {
            let own = ours.iter().find(|(own, _)| own == fork)?;
            let common = own.1.min(*last);
            (self.fork_at(common) == Some(*fork)).then_some(common)
        })
    }

    /// The part of what a partner sent that is new. Error: it does not follow on, or contradicts what is here.
    pub fn new_part<'a>(&self, records: &'a [Record]) -> io::Result<&'a [Record]> {
        let known = records.partition_point(|record| record.lsn <= self.end());
        let (old, new) = records.split_at_checked(known).unwrap_or((records, &[]));
        let contradicts = |record: &Record| self.fork_at(record.lsn).is_some_and(|fork| fork != record.fork);
        if old.iter().any(contradicts) {
            return Err(io::Error::other("the log has forked"));
        }
        if new.first().is_some_and(|record| record.lsn != self.end() + 1) {
            return Err(io::Error::other("a gap in the log"));
        }
        Ok(new)
    }

    /// Adds records without writing them; they must follow on.
    pub fn push(&mut self, records: &[Record]) {
        self.records.extend_from_slice(records);
    }

    /// Forgets records after `lsn`.
    pub fn cut(&mut self, lsn: u64) {
        self.records.retain(|record| record.lsn <= lsn);
    }

    /// Forgets records up to `lsn`, which are in an image.
    pub fn forget(&mut self, lsn: u64) {
        if let Some(fork) = self.fork_at(lsn) {
            (self.base, self.base_fork) = (lsn, fork);
            self.records.retain(|record| record.lsn > lsn);
        }
    }

    /// Starts again from an image.
    pub fn restart(&mut self, base: u64, base_fork: u64) {
        *self = Self { base, base_fork, records: vec![] };
    }

    /// Reads the log file beside an image at `image`, of that fork; a torn tail is cut off.
    pub fn read(disk: &Disk, name: &str, image: u64, image_fork: u64) -> io::Result<Self> {
        let bytes = disk.read(name)?.unwrap_or_default();
        let (base, mut rest) = parse_base(&bytes).unwrap_or(((image, image_fork), &bytes));
        let mut log = Self { base: base.0, base_fork: base.1, records: vec![] };
        while let Some((record, tail)) = parse(rest) {
            if record.lsn == log.end() + 1 {
                log.records.push(record);
            }
            rest = tail;
        }
        let fits = log.base <= image && image <= log.end() && log.fork_at(image) == Some(image_fork);
        if !fits {
            // The log of another image: its own was not written any more.
            log.restart(image, image_fork);
        }
        if !rest.is_empty() || !fits {
            log.rewrite(disk, name)?;
        }
        Ok(log)
    }

    /// Writes records at the end of the file, synced. Returns the bytes written.
    pub fn harden(disk: &Disk, name: &str, records: &[Record]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        for record in records {
            frame(record, &mut bytes)?;
        }
        disk.append(name, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Writes the whole file anew, after a cut or a new image.
    pub fn rewrite(&self, disk: &Disk, name: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        bytes.extend(BASE);
        bytes.extend(self.base.to_le_bytes());
        bytes.extend(self.base_fork.to_le_bytes());
        for record in &self.records {
            frame(record, &mut bytes)?;
        }
        disk.write(name, &bytes)
    }
}

/// Begins a log file that was rewritten: position and fork of its base follow.
const BASE: &[u8; 8] = b"LOGBASE1";

fn parse_base(bytes: &[u8]) -> Option<((u64, u64), &[u8])> {
    let rest = bytes.strip_prefix(BASE)?;
    let (base, rest) = rest.split_first_chunk::<8>()?;
    let (fork, rest) = rest.split_first_chunk::<8>()?;
    Some(((u64::from_le_bytes(*base), u64::from_le_bytes(*fork)), rest))
}

/// Length, checksum, JSON.
fn frame(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let body = serde_json::to_vec(record)?;
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(checksum(&body).to_le_bytes());
    out.extend(body);
    Ok(())
}

fn parse(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let length = u32::from_le_bytes(head.get(..4)?.try_into().ok()?) as usize;
    let sum = u32::from_le_bytes(head.get(4..)?.try_into().ok()?);
    let (body, rest) = rest.split_at_checked(length)?;
    let record = (checksum(body) == sum).then(|| serde_json::from_slice(body).ok())??;
    Some((record, rest))
}

/// FNV-1a, enough to tell a torn write.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lsn: u64, fork: u64) -> Record {
        Record {
            lsn,
            fork,
            at: 0,
            statements: vec![Statement {
                sql: format!("insert {lsn}"),
                parameters: vec![("@a".into(), Cell::Integer(1))],
            }],
        }
    }

    #[test]
    fn a_torn_tail_is_left_out_and_the_rest_survives() {
        let disk = Disk::memory();
        Log::harden(&disk, "l", &[record(1, 7), record(2, 7)]).unwrap();
        disk.append("l", &[9, 0, 0, 0, 1]).unwrap();
        let log = Log::read(&disk, "l", 0, 0).unwrap();
        assert_eq!(log.end(), 2);
        Log::harden(&disk, "l", &[record(3, 7)]).unwrap();
        assert_eq!(Log::read(&disk, "l", 0, 0).unwrap().end(), 3);
    }

    #[test]
    fn two_logs_agree_up_to_the_end_of_their_last_common_fork() {
        let mut old = Log::default();
        old.push(&[record(1, 7), record(2, 7), record(3, 7), record(4, 7)]);
        let mut new = Log::default();
        new.push(&[record(1, 7), record(2, 7), record(3, 8)]);
        assert_eq!(new.common(&old.forks()), Some(2));
        assert_eq!(old.common(&new.forks()), Some(2));
        let mut later = new.clone();
        later.restart(3, 8);
        assert_eq!(later.common(&old.forks()), None, "what they share is only in the image");
    }
}
