//! The image of a database: its committed state at one position of the log.

use super::disk::Disk;
use std::io;

pub(super) struct Image {
    pub(super) lsn: u64,
    pub(super) fork: u64,
    pub(super) bytes: Vec<u8>,
}

impl Image {
    pub(super) fn read(disk: &Disk, name: &str) -> io::Result<Option<Self>> {
        let Some(bytes) = disk.read(&image_name(name))? else { return Ok(None) };
        let number = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(lsn), Some(fork)) = (number(0), number(8)) else { return Err(io::Error::other("damaged image")) };
        Ok(Some(Self { lsn, fork, bytes: bytes.get(16..).unwrap_or_default().to_vec() }))
    }

    pub(super) fn write(&self, disk: &Disk, name: &str) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 16);
        bytes.extend(self.lsn.to_le_bytes());
        bytes.extend(self.fork.to_le_bytes());
        bytes.extend(&self.bytes);
        disk.write(&image_name(name), &bytes)
    }
}

/// File of an image.
pub(super) fn image_name(database: &str) -> String {
    format!("{database}.mdf")
}
