//! Log, database files, crash recovery, the simulated disk.

pub mod database;
pub mod disk;
pub mod log;
