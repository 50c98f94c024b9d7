//! Sequence numbers of the group's configuration.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `sys.availability_groups.sequence_number` of one instance's own copy; plain 64-bit order, zero is unusable.
///
/// The high half counts promotions, the low half other changes; Microsoft's agent prints and compares it so
/// (mssql-server-ha, `humanReadableSequenceNumber`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SequenceNumber(pub i64);

impl SequenceNumber {
    /// Puts the halves together.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self(((major as i64) << 32) | minor as i64)
    }

    /// Whether it may be counted: Microsoft's agent leaves out zero.
    pub fn usable(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_print_as_major_and_minor_and_compare_as_one_number() {
        assert_eq!(SequenceNumber::new(2, 7).to_string(), "2:7");
        assert!(SequenceNumber::new(2, 0) > SequenceNumber::new(1, 900));
        assert!(!SequenceNumber(0).usable());
    }
}
