//! The last sentence of a run that failed: where, why, what was run and what was not, and what to do.

use super::files::File;
use std::fmt;
use tiberius::error::TokenError;

/// More names than these are counted, not listed.
const NAMED: usize = 5;

/// How far a run came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    /// Files that are done.
    pub files: usize,
    /// The next file is noted as started.
    pub started: bool,
    /// Batches of it that were run to their end.
    pub batches: usize,
    /// An earlier run left the next file so that this copy is of no use.
    pub spoilt: bool,
}

/// Why a run failed; its text is one sentence after the other on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failed {
    /// `file:line`, the name of a file, or the instance and its database.
    pub place: String,
    /// What happened there.
    pub what: String,
    /// What was run, what was not, and what to do.
    pub rest: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}: {} {}", self.place, ended(&self.what), self.rest);
        // A message of an instance or of a file may have lines; this is one.
        let words: Vec<_> =
            text.split(|c: char| c.is_control()).map(str::trim).filter(|word| !word.is_empty()).collect();
        f.write_str(&words.join(" "))
    }
}

/// A sentence with its full stop.
fn ended(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.into() } else { format!("{text}.") }
}

/// What was run of these files, what was not, and what to do.
pub(super) fn rest(files: &[File], reached: Reached) -> String {
    let (done, open) = files.split_at(reached.files.min(files.len()));
    let mut run = names(done);
    let mut left = names(open);
    if let (true, Some((file, after))) = (reached.started, open.split_first()) {
        let (count, all) = (reached.batches, file.batches.len());
        if count > 0 {
            run.push(format!("{} of {all} batches of {}", count.min(all), file.name));
        }
        let begun = (count < all).then(|| format!("batch {} of {} to its end", count + 1, file.name));
        let behind = (count + 1 < all).then(|| format!("the rest of {}", file.name));
        left = begun.into_iter().chain(behind).chain(names(after)).collect();
    }
    let remedy = if reached.started || reached.spoilt {
        "This copy is changed in part: repeat the upgrade with a fresh one."
    } else {
        "This run cut no file short: the same attempt may be run again and leaves out what is done."
    };
    format!("Run: {}. Not run: {}. {remedy}", list(run), list(left))
}

fn names(files: &[File]) -> Vec<String> {
    files.iter().map(|file| file.name.clone()).collect()
}

fn list(items: Vec<String>) -> String {
    match items.as_slice() {
        [] => "nothing".into(),
        items if items.len() <= NAMED => items.join(", "),
        items => {
            let shown: Vec<_> = items.iter().take(NAMED).cloned().collect();
            format!("{} and {} more", shown.join(", "), items.len() - NAMED)
        }
    }
}

/// An error of the instance, for people. The line is one of the batch, or of the procedure or trigger that is named.
pub(super) fn said(token: &TokenError) -> String {
    let place = match token.procedure() {
        "" => String::new(),
        procedure => format!(", line {} of {procedure}", token.line()),
    };
    format!("error {}, severity {}, state {}{place}: {}", token.code(), token.class(), token.state(), token.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::script::Script;

    fn three() -> Vec<File> {
        let text = "SELECT 1\nGO\nSELECT 2\nGO\nSELECT 3\n";
        Script::new([("a.sql", text), ("b.sql", text), ("c.sql", text)]).unwrap().files
    }

    #[test]
    fn what_was_run_and_what_was_not_is_named() {
        let after = |files, started, batches| rest(&three(), Reached { files, started, batches, spoilt: false });
        assert_eq!(
            after(0, false, 0),
            "Run: nothing. Not run: a.sql, b.sql, c.sql. This run cut no file short: the same attempt may be run again and leaves out what is done."
        );
        assert_eq!(
            after(1, true, 1),
            "Run: a.sql, 1 of 3 batches of b.sql. Not run: batch 2 of b.sql to its end, the rest of b.sql, c.sql. This copy is changed in part: repeat the upgrade with a fresh one."
        );
        assert!(after(2, true, 3).starts_with("Run: a.sql, b.sql, 3 of 3 batches of c.sql. Not run: nothing. This"));
        assert!(after(3, false, 0).starts_with("Run: a.sql, b.sql, c.sql. Not run: nothing. This run cut no"));
    }

    #[test]
    fn the_sentence_is_one_line() {
        let failed =
            Failed { place: "a.sql:3".into(), what: "error 50000: one\r\ntwo".into(), rest: "Run: nothing.".into() };
        assert_eq!(failed.to_string(), "a.sql:3: error 50000: one two. Run: nothing.");
    }
}
