//! Positions in the log of a database.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A log sequence number as the views show it, `numeric(25,0)`: file, block and slot in one number, in plain order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(u128);

/// A text that is not a decimal number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnLsn;

impl fmt::Display for NotAnLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a decimal number")
    }
}

impl std::error::Error for NotAnLsn {}

impl Lsn {
    /// Reads a decimal number. Errors: anything else.
    pub fn new(text: &str) -> Result<Self, NotAnLsn> {
        text.parse().map(Self).map_err(|_| NotAnLsn)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Lsn {
    type Error = NotAnLsn;
    fn try_from(text: String) -> Result<Self, NotAnLsn> {
        Self::new(&text)
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_in_the_order_of_numbers_and_read_back_as_written() {
        let (short, long) = (Lsn::new("37000000000100001").unwrap(), Lsn::new("137000000000100001").unwrap());
        assert!(short < long);
        let text = serde_json::to_string(&long).unwrap();
        assert_eq!((text.as_str(), serde_json::from_str(&text).unwrap()), ("\"137000000000100001\"", long));
        assert_eq!(Lsn::new("0x25"), Err(NotAnLsn));
    }
}
