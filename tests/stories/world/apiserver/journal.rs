//! Every write, for oracles and for people.

use std::time::Duration;

/// One write as the server saw it.
#[derive(Clone, Debug)]
pub struct Write {
    /// Since the story began.
    pub at: Duration,
    /// Which client sent it.
    pub client: String,
    /// `Apply statefulsets shop/orders`
    pub request: String,
    /// Field manager, empty when the client named none.
    pub manager: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// Why it was refused, or what it changed.
    pub what: String,
    /// Whether it changed anything.
    pub changed: bool,
    /// Whether it was about a Lease.
    pub lease: bool,
}

impl Write {
    /// The write in one line.
    pub fn line(&self) -> String {
        let manager = if self.manager.is_empty() { String::new() } else { format!(" as {}", self.manager) };
        format!("{}{manager} -> {} {}", self.request, self.code, self.what)
    }
}
