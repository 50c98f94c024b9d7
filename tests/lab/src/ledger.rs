//! What a client knows of its own writes, and what must therefore be in the table.
//!
//! An acknowledged row is there exactly once, for ever; a refused one is not; of an unknown one there is at most one.
//! The file has one line per fact, `SENT ID MICROSECONDS` or `OUTCOME ID MICROSECONDS TEXT`, so that a killed writer
//! leaves nothing in doubt but what was in doubt: a row that was sent and never answered is unknown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    Refused,
    Unknown,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// The line that says a row is on its way; written before the row is.
pub(crate) fn sent(id: i64, at: i64) -> String {
    format!("sent {id} {at}\n")
}

/// The line that says how it went; `text` is the error, on one line.
pub(crate) fn answered(id: i64, outcome: Outcome, at: i64, text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    format!("{} {id} {at} {text}", outcome.word()).trim_end().to_owned() + "\n"
}

/// A time without an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    /// Last acknowledgement before, microseconds since 1970.
    pub(crate) from: i64,
    /// First one after.
    pub(crate) until: i64,
}

impl Outage {
    pub(crate) fn length(self) -> Duration {
        Duration::from_micros(u64::try_from(self.until - self.from).unwrap_or_default())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: BTreeMap<i64, Outcome>,
    /// Times of acknowledgements, in order.
    acknowledged_at: Vec<i64>,
}

impl Ledger {
    /// Reads the lines; the last one may be cut short by a crash.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut ledger = Self::default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for (number, line) in whole.lines().enumerate() {
            let wrong = || format!("line {} of the ledger makes no sense: {line:?}", number + 1);
            let mut words = line.splitn(4, ' ');
            let (Some(word), Some(id), Some(at)) = (words.next(), words.next(), words.next()) else {
                return Err(wrong());
            };
            let (id, at): (i64, i64) = (id.parse().map_err(|_| wrong())?, at.parse().map_err(|_| wrong())?);
            let outcome = match word {
                "sent" | "unknown" => Outcome::Unknown,
                "refused" => Outcome::Refused,
                "acknowledged" => Outcome::Acknowledged,
                _ => return Err(wrong()),
            };
            if outcome == Outcome::Acknowledged {
                ledger.acknowledged_at.push(at);
            }
            ledger.rows.insert(id, outcome);
        }
        Ok(ledger)
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.rows.values().filter(|it| **it == outcome).count()
    }

    /// Gaps between acknowledgements longer than `threshold`.
    pub(crate) fn outages(&self, threshold: Duration) -> Vec<Outage> {
        let pairs = self.acknowledged_at.iter().zip(self.acknowledged_at.iter().skip(1));
        pairs
            .map(|(from, until)| Outage { from: *from, until: *until })
            .filter(|gap| gap.length() > threshold)
            .collect()
    }

    /// Compares with the identifiers found in the table; one sentence for each kind of contradiction.
    pub(crate) fn contradictions(&self, found: impl IntoIterator<Item = i64>) -> Vec<String> {
        let mut times: BTreeMap<i64, usize> = BTreeMap::new();
        for id in found {
            *times.entry(id).or_default() += 1;
        }
        let (mut lost, mut doubled, mut refused, mut foreign) = (vec![], vec![], vec![], vec![]);
        for (id, outcome) in &self.rows {
            match (outcome, times.get(id).copied().unwrap_or_default()) {
                (Outcome::Acknowledged, 0) => lost.push(*id),
                (Outcome::Refused, 1) => refused.push(*id),
                (_, 0 | 1) => {}
                _ => doubled.push(*id),
            }
        }
        foreign.extend(times.keys().filter(|id| !self.rows.contains_key(id)));
        let mut sentences = Vec::new();
        for (ids, what) in [
            (lost, "acknowledged rows are lost"),
            (refused, "refused rows are there"),
            (doubled, "rows are there more than once"),
            (foreign, "rows were never written by this writer"),
        ] {
            if !ids.is_empty() {
                let mut sentence = format!("{} {what}:", ids.len());
                for id in ids.iter().take(10) {
                    let _ = write!(sentence, " {id}");
                }
                sentences.push(sentence);
            }
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut text = String::new();
        for (id, outcome) in [(1, Outcome::Acknowledged), (2, Outcome::Refused), (3, Outcome::Unknown)] {
            text.push_str(&sent(id, id * 1000));
            text.push_str(&answered(id, outcome, id * 1000 + 500, "broken\npipe"));
        }
        text.push_str(&sent(4, 4000));
        text.push_str("acknowl");
        Ledger::read(&text).unwrap()
    }

    #[test]
    fn a_row_never_answered_is_unknown_and_a_torn_line_is_passed_over() {
        let ledger = ledger();
        let counts = [Outcome::Acknowledged, Outcome::Refused, Outcome::Unknown].map(|outcome| ledger.count(outcome));
        assert_eq!(counts, [1, 1, 2]);
    }

    #[test]
    fn only_contradictions_are_reported() {
        let ledger = ledger();
        assert!(ledger.contradictions([1]).is_empty());
        assert!(ledger.contradictions([1, 3, 4]).is_empty());
        assert_eq!(ledger.contradictions([]), ["1 acknowledged rows are lost: 1"]);
        assert_eq!(ledger.contradictions([1, 2]), ["1 refused rows are there: 2"]);
        assert_eq!(ledger.contradictions([1, 1, 3, 3]), ["2 rows are there more than once: 1 3"]);
        assert_eq!(ledger.contradictions([1, 9]), ["1 rows were never written by this writer: 9"]);
    }

    #[test]
    fn an_outage_lies_between_two_acknowledgements() {
        let text: String = [1_000_000, 1_100_000, 4_100_000, 4_200_000]
            .iter()
            .enumerate()
            .map(|(id, at)| answered(i64::try_from(id).unwrap(), Outcome::Acknowledged, *at, ""))
            .collect();
        let outages = Ledger::read(&text).unwrap().outages(Duration::from_millis(500));
        assert_eq!(outages, [Outage { from: 1_100_000, until: 4_100_000 }]);
        assert_eq!(outages[0].length(), Duration::from_secs(3));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        assert!(Ledger::read("sent 1 2\nhello\n").unwrap_err().contains("line 2"));
        assert!(Ledger::read("sent x 2\n").unwrap_err().contains("line 1"));
    }
}
