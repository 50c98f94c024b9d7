//! What happened, in virtual time: the text a failing story prints.

use super::clock::Clock;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

/// One line of the history.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the story began.
    pub at: Duration,
    /// Who: `api`, `kubelet n1`, `writer`, `fault`, ..
    pub who: String,
    /// What happened.
    pub what: String,
}

/// The shared history of one world.
#[derive(Clone, Debug)]
pub struct History {
    clock: Clock,
    lines: Arc<Mutex<Vec<Line>>>,
    broken: Arc<Mutex<Vec<String>>>,
}

impl History {
    /// An empty history on this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, lines: Arc::default(), broken: Arc::default() }
    }

    /// Adds a line at the present.
    pub fn note(&self, who: impl Into<String>, what: impl Into<String>) {
        let line = Line { at: self.clock.elapsed(), who: who.into(), what: what.into() };
        if std::env::var_os("QUORATE_FOLLOW").is_some() {
            eprintln!("{}", render(&line));
        }
        self.lines.lock().unwrap().push(line);
    }

    /// Something happened that must never happen: the story fails at its next look.
    pub fn break_rule(&self, what: String) {
        self.note("BROKEN", what.clone());
        self.broken.lock().unwrap().push(what);
    }

    /// What must never happen and did.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().clone()
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// The whole history as text.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{}", render(line));
            text
        })
    }
}

fn render(line: &Line) -> String {
    format!("{:>10.3} {:<14} {}", line.at.as_secs_f64(), line.who, line.what)
}
