//! Messages of the parser.

use crate::errors::Message;

/// 102
pub fn incorrect_syntax(near: &str) -> Message {
    let near: String = near.chars().take(128).collect();
    Message::new(102, 15, format!("Incorrect syntax near '{near}'."))
}

/// What the stand-in cannot do, named: the number is the one SQL Server's other editions use for it.
pub fn not_supported(construct: &str) -> Message {
    Message::new(40_517, 16, format!("{construct} is not supported by the stand-in."))
}
