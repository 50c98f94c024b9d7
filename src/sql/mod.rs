//! The only door to SQL Server: connections with deadlines, one look, T-SQL with guards, errors by what to do next, and the
//! runner of upgrade scripts.

pub mod connect;
pub mod error;
mod facts;
pub mod probe;
pub mod script;
mod secret;
pub mod statement;
pub mod upgrade;

pub use connect::{Dial, Duplex, Servers, Stream, Target, Tcp};
pub use error::Error;
pub use secret::Secret;
pub use statement::{Batch, Context, Login};

/// The rows of an answer, one list per result set.
pub type Answer = Vec<Vec<tiberius::Row>>;

/// Lower-case hex, as certificates are kept.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is the hex of at least one byte: only then may it stand in a batch after `0x`.
pub fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
