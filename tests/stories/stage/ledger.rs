//! The ledger: every row that a client wrote, what it was told, and when. Rules are checked at each acknowledgement.

use crate::world::{clock::Clock, history::History, sql_door::group_of};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// The row is there for ever.
    Acknowledged,
    /// The row is not there.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A replica in one of its times as primary.
pub type Reign = (String, u64);

#[derive(Default)]
struct Book {
    rows: BTreeMap<i64, Told>,
    /// First acknowledgement in each reign.
    reigns: BTreeMap<Reign, Duration>,
    last: Option<Duration>,
    gap: Duration,
}

/// The book of all clients of a story.
#[derive(Clone)]
pub struct Ledger {
    clock: Clock,
    history: History,
    book: Arc<Mutex<Book>>,
}

impl Ledger {
    /// An empty one.
    pub fn new(clock: Clock, history: History) -> Self {
        Self { clock, history, book: Arc::default() }
    }

    /// Enters a row that was not acknowledged.
    pub fn enter(&self, row: i64, told: Told) {
        self.book.lock().unwrap().rows.insert(row, told);
    }

    /// Enters an acknowledged row. True: it is the first one in its reign.
    pub fn acknowledge(&self, row: i64, sent: Duration, reign: Option<Reign>) -> bool {
        let now = self.clock.elapsed();
        let mut book = self.book.lock().unwrap();
        book.rows.insert(row, Told::Acknowledged);
        if let Some(last) = book.last.replace(now) {
            book.gap = book.gap.max(now - last);
        }
        let Some(reign) = reign else { return false };
        let first = *book.reigns.entry(reign.clone()).or_insert(now);
        let newer = book.reigns.iter().find(|(other, began)| **other != reign && **began > first && **began < sent);
        if let Some((newer, began)) = newer {
            self.history.break_rule(format!(
                "{} acknowledged row {row}, sent at {sent:?}, though {} had acknowledged at {began:?}",
                reign.0, newer.0
            ));
        }
        first == now
    }

    /// Rows with this answer.
    pub fn rows(&self, told: Told) -> BTreeSet<i64> {
        let book = self.book.lock().unwrap();
        book.rows.iter().filter(|(_, is)| **is == told).map(|(row, _)| *row).collect()
    }

    /// Number of rows acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.book.lock().unwrap().rows.values().filter(|told| **told == Told::Acknowledged).count()
    }

    /// A person accepted the loss of every acknowledged row but these: from now on the others must not come back. Returns
    /// how many were lost.
    pub fn accept_loss(&self, survived: &BTreeSet<i64>) -> usize {
        let mut book = self.book.lock().unwrap();
        let acknowledged = book.rows.iter_mut().filter(|(_, told)| **told == Told::Acknowledged);
        let lost = acknowledged.filter(|(row, _)| !survived.contains(row)).map(|(_, told)| *told = Told::Refused);
        lost.count()
    }

    /// A person went back to one who acknowledged before: whoever acknowledged since must not do so any more.
    pub fn goes_back_to(&self, group: &str) {
        self.book.lock().unwrap().reigns.retain(|(pod, _), _| group_of(pod) == group);
    }

    /// Longest time between two acknowledgements since the last call.
    pub fn take_gap(&self) -> Duration {
        std::mem::take(&mut self.book.lock().unwrap().gap)
    }

    /// Holds what a replica has against what was acknowledged before it was asked, and what was refused.
    pub fn compare(&self, who: &str, acknowledged: &BTreeSet<i64>, rows: &BTreeSet<i64>) {
        let lost: Vec<_> = acknowledged.difference(rows).collect();
        if !lost.is_empty() {
            self.history.break_rule(format!("acknowledged rows are not on {who}: {lost:?}"));
        }
        let refused = self.rows(Told::Refused);
        let risen: Vec<_> = refused.intersection(rows).collect();
        if !risen.is_empty() {
            self.history.break_rule(format!("refused rows are on {who}: {risen:?}"));
        }
    }
}
