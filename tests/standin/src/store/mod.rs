//! Log, database files, crash recovery, the simulated disk.

pub mod database;
pub mod disk;
mod files;
mod image;
pub mod log;
#[cfg(test)]
mod tests;
pub mod transaction;
