//! What shows that something is so, and how it is told.

/// Tests that show something.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// By their own text.
    pub own: Vec<String>,
    /// Through helpers.
    pub helped: Vec<String>,
}

/// Tests that are named; the others are counted.
const NAMED: usize = 3;

impl Shown {
    /// The tests: those that say it themselves come first.
    pub fn tell(&self) -> String {
        let all: Vec<_> = self.own.iter().chain(&self.helped).collect();
        let named: Vec<_> = all.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
        let more = all.len().saturating_sub(NAMED);
        if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.helped.is_empty()
    }
}

/// One row: supported and shown, perhaps with switches, or implemented and not shown.
pub fn row(label: &str, shown: &Shown, switches: &[&str]) -> String {
    let label = label.replace('|', "\\|");
    if shown.is_empty() {
        return format!("| {label} | no test | |\n");
    }
    let status = if switches.is_empty() {
        "supported".to_string()
    } else {
        format!("variant: {}", switches.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
    };
    format!("| {label} | {status} | {} |\n", shown.tell())
}
