//! What a group tells of its seedings.

use std::time::SystemTime;

/// One row of seeding.
#[derive(Clone, Debug)]
pub struct Seeding {
    /// Database.
    pub database: String,
    /// The other side.
    pub partner: String,
    /// This side is the source.
    pub source: bool,
    /// `SEEDING`, `COMPLETED`, `FAILED`
    pub state: &'static str,
    /// Documented failure number; 0: none.
    pub failure: i64,
    /// Bytes moved.
    pub moved: u64,
    /// Bytes in all.
    pub size: u64,
    /// Start.
    pub started: SystemTime,
    /// End.
    pub ended: Option<SystemTime>,
}

impl Seeding {
    /// Whether an image is on its way to this partner.
    pub fn is_sent_to(&self, partner: &str) -> bool {
        self.source && self.state == "SEEDING" && self.partner == partner
    }

    /// A row that begins.
    pub fn new(database: &str, partner: &str, source: bool, size: u64, now: SystemTime) -> Self {
        Self {
            database: database.into(),
            partner: partner.into(),
            source,
            state: "SEEDING",
            failure: 0,
            moved: 0,
            size,
            started: now,
            ended: None,
        }
    }
}
