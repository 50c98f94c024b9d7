//! Names that quote themselves: no text of a user reaches SQL Server in any other way.
//!
//! Delimited identifiers and string literals: SQL Server docs, "Database identifiers" and "Constants".

use serde::{Deserialize, Serialize};
use std::fmt;

/// Quotes an identifier: `[` and `]` around it, `]` doubled.
pub fn bracket(text: &str) -> String {
    format!("[{}]", text.replace(']', "]]"))
}

/// Quotes a Unicode literal: `N'` and `'` around it, `'` doubled.
pub fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// A short word for a text, 16 hexadecimal digits (FNV-1a): another text has another one, as far as chance goes.
pub fn hash(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Empty text.
    Empty,
    /// Longer than the limit, in characters.
    TooLong(usize),
    /// A control character.
    Control,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong(limit) => write!(f, "must have at most {limit} characters"),
            Self::Control => f.write_str("must not contain control characters"),
        }
    }
}

impl std::error::Error for NameError {}

/// Longest `sysname`, in characters.
const SYSNAME: usize = 128;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a text. Errors: empty, over 128 characters, control characters.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if text.is_empty() {
                    return Err(NameError::Empty);
                }
                if text.chars().count() > SYSNAME {
                    return Err(NameError::TooLong(SYSNAME));
                }
                if text.chars().any(char::is_control) {
                    return Err(NameError::Control);
                }
                Ok(Self(text))
            }

            /// The bare text: for people and for Kubernetes, never for SQL.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// As a delimited identifier.
            pub fn quoted(&self) -> String {
                bracket(&self.0)
            }

            /// As a Unicode literal.
            pub fn literal(&self) -> String {
                literal(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name! {
    /// Name of an availability group, also of its Kubernetes object.
    GroupName
}
name! {
    /// Name of a replica: the pod's name, which is `SERVERPROPERTY('ServerName')` of its instance.
    ReplicaName
}
name! {
    /// Name of a user database.
    DatabaseName
}
name! {
    /// Name of a login.
    LoginName
}

impl ReplicaName {
    /// Trailing number of the pod's name (`orders-2` -> 2); the last word when replicas are equal otherwise.
    pub fn ordinal(&self) -> u32 {
        self.0.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_quotes_are_doubled() {
        let name = DatabaseName::new("a]b'c").unwrap();
        assert_eq!(name.quoted(), "[a]]b'c]");
        assert_eq!(name.literal(), "N'a]b''c'");
    }

    #[test]
    fn empty_long_and_control_names_are_refused() {
        assert_eq!(DatabaseName::new(""), Err(NameError::Empty));
        assert_eq!(DatabaseName::new("x".repeat(129)), Err(NameError::TooLong(128)));
        assert_eq!(DatabaseName::new("a\nb"), Err(NameError::Control));
    }

    #[test]
    fn the_ordinal_is_the_number_at_the_end_of_a_pod_name() {
        assert_eq!(ReplicaName::new("orders-a-12").unwrap().ordinal(), 12);
        assert_eq!(ReplicaName::new("orders").unwrap().ordinal(), u32::MAX);
    }
}
