//! Messages as SQL Server numbers them. Every error that the stand-in raises is built here, so that number, class,
//! state and text stand in one place.

use serde::{Deserialize, Serialize};

/// One error or informational message (class 10 and below is informational).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Number in `sys.messages`.
    pub number: i32,
    /// Severity; 20 and above closes the connection.
    pub class: u8,
    /// State.
    pub state: u8,
    /// Text with its arguments filled in.
    pub text: String,
    /// Line in the batch, from 1; 0 when unknown yet (the batch executor sets it).
    pub line: u32,
    /// Procedure, empty in a plain batch.
    pub procedure: String,
}

impl Message {
    /// A message with state 1 and no line yet.
    pub fn new(number: i32, class: u8, text: impl Into<String>) -> Self {
        Self { number, class, state: 1, text: text.into(), line: 0, procedure: String::new() }
    }

    /// Same message, other state.
    #[must_use]
    pub fn state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }

    /// Whether this is an ERROR token on the wire (class above 10), not an INFO token.
    pub fn is_error(&self) -> bool {
        self.class > 10
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Msg {}, Level {}, State {}: {}", self.number, self.class, self.state, self.text)
    }
}

impl std::error::Error for Message {}

/// Result of anything that a statement can fail with: one or more messages, the first one decides.
pub type SqlResult<T> = Result<T, Message>;
