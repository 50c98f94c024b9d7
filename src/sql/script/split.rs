//! A file of T-SQL to the batches that are sent one by one, as sqlcmd cuts it at lines with GO.
//!
//! GO belongs to the client, not to T-SQL (SQL Server docs, "SQL Server utilities statements - GO"); nothing of a comment
//! (they nest), a string, or a quoted identifier counts. What only sqlcmd understands is refused, because without it the
//! script would mean something else.

use std::fmt;

/// Most times that `GO n` runs a batch.
const MOST_TIMES: u32 = 10_000;

/// What stands between two lines with GO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its text, line ends as in the file.
    pub text: String,
    /// Number of its first line in the file, from 1: line n of an error in the batch is line `first + n - 1` of the file.
    pub first: u32,
    /// Number of its last line.
    pub last: u32,
    /// How often it runs, from 1.
    pub times: u32,
}

/// Why a file cannot be run: a sentence that begins with `file:line`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// Name of the file.
    pub file: String,
    /// Line, from 1. `None`: it is about the file as a whole.
    pub line: Option<u32>,
    /// What is wrong, and what to do about it.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// Cuts a file into batches; those with nothing but blanks and comments are left out. Errors: what cannot be run.
pub fn batches(file: &str, bytes: &[u8]) -> Result<Vec<Batch>, Fault> {
    let fault = |(line, what)| Fault { file: file.into(), line: Some(line), what };
    let text = text(bytes).map_err(fault)?;
    let mut cut = Cut::default();
    for line in text.split_inclusive('\n') {
        cut.line(line).map_err(|what| fault((cut.number, what)))?;
    }
    cut.end().map_err(fault)
}

/// The text of a file without its byte order mark. Errors: line, and what is wrong there.
fn text(bytes: &[u8]) -> Result<&str, (u32, String)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let at = |end: usize| 1 + lines(bytes.get(..end).unwrap_or_default());
    let remedy = "save the file as UTF-8; UTF-16 and code pages are not read";
    let text = std::str::from_utf8(bytes).map_err(|error| (at(error.valid_up_to()), format!("not UTF-8: {remedy}")))?;
    match text.find('\0') {
        Some(found) => Err((at(found), format!("a character of zero: {remedy}"))),
        None => Ok(text),
    }
}

/// Line ends in a text.
fn lines(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u32::MAX - 1)
}

/// What the place that was reached is inside of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Code,
    /// Block comments, one inside the other: so many.
    Comment(u32),
    /// A string or a quoted identifier that ends with this character; two of them are one of its text.
    Quoted(u8),
}

#[derive(Default)]
struct Cut {
    batches: Vec<Batch>,
    /// Text of the batch so far.
    text: String,
    /// Its first line.
    first: u32,
    /// The batch has something to run.
    code: bool,
    /// Number of the line that is read.
    number: u32,
    within: Within,
    /// Line where the comment or the quotes began.
    opened: u32,
}

impl Cut {
    /// Takes the next line, its end included.
    fn line(&mut self, line: &str) -> Result<(), String> {
        self.number += 1;
        if self.within == Within::Code {
            refuse_directive(line)?;
            if let Some(times) = separator(line) {
                self.close(times?);
                return Ok(());
            }
        }
        if self.text.is_empty() {
            self.first = self.number;
        }
        self.scan(line)?;
        self.text.push_str(line);
        Ok(())
    }

    /// Follows comments and quotes through a line.
    fn scan(&mut self, line: &str) -> Result<(), String> {
        let bytes = line.as_bytes();
        let (mut at, mut blank) = (0, true);
        while let Some(&byte) = bytes.get(at) {
            let next = bytes.get(at + 1).copied();
            let mut taken = 1;
            match (self.within, byte, next) {
                (Within::Comment(depth), b'/', Some(b'*')) => (self.within, taken) = (Within::Comment(depth + 1), 2),
                (Within::Comment(depth), b'*', Some(b'/')) => {
                    (self.within, taken) = (if depth > 1 { Within::Comment(depth - 1) } else { Within::Code }, 2);
                    if depth == 1 && blank {
                        refuse_late_separator(line.get(at + 2..).unwrap_or_default())?;
                    }
                }
                (Within::Comment(_), ..) => {}
                (Within::Quoted(end), ..) if byte != end => {
                    if end == b']' {
                        refuse_variable(line.get(at..).unwrap_or_default())?;
                    }
                }
                (Within::Quoted(end), _, Some(twice)) if twice == end => taken = 2,
                (Within::Quoted(_), ..) => self.within = Within::Code,
                (Within::Code, b'-', Some(b'-')) => return Ok(()),
                (Within::Code, b'/', Some(b'*')) => (self.within, taken) = (self.open(Within::Comment(1)), 2),
                (Within::Code, b'\'' | b'"', _) => self.within = self.open(Within::Quoted(byte)),
                (Within::Code, b'[', _) => self.within = self.open(Within::Quoted(b']')),
                (Within::Code, ..) => refuse_variable(line.get(at..).unwrap_or_default())?,
            }
            let code = !matches!(self.within, Within::Comment(_)) && taken == 1 && !byte.is_ascii_whitespace();
            blank &= !code;
            self.code |= code;
            at += taken;
        }
        Ok(())
    }

    fn open(&mut self, within: Within) -> Within {
        self.opened = self.number;
        within
    }

    /// Ends the batch before the line that was reached.
    fn close(&mut self, times: u32) {
        let text = std::mem::take(&mut self.text);
        if std::mem::take(&mut self.code) {
            let last = self.first + lines(text.trim_end().as_bytes());
            self.batches.push(Batch { text, first: self.first, last, times });
        }
    }

    fn end(mut self) -> Result<Vec<Batch>, (u32, String)> {
        let (open, end) = match self.within {
            Within::Code => {
                self.close(1);
                return Ok(self.batches);
            }
            Within::Comment(_) => ("comment", "*/"),
            Within::Quoted(b'\'') => ("string", "'"),
            Within::Quoted(b'"') => ("quoted name", "\""),
            Within::Quoted(_) => ("name in brackets", "]"),
        };
        Err((self.opened, format!("the {open} that begins here has no end: close it with {end}")))
    }
}

/// How often a line with GO says that the batch before it runs. `None`: the line is none.
fn separator(line: &str) -> Option<Result<u32, String>> {
    let line = line.trim();
    let rest = line.get(..2).filter(|word| word.eq_ignore_ascii_case("GO")).and_then(|_| line.get(2..))?;
    if rest.starts_with(|c: char| c.is_alphanumeric() || "_@#$".contains(c)) {
        return None;
    }
    let count = rest.split("--").next().unwrap_or_default().trim();
    if count.is_empty() {
        return Some(Ok(1));
    }
    let times = count.parse().ok().filter(|times| (1..=MOST_TIMES).contains(times));
    Some(times.ok_or_else(|| {
        format!(
            "only a count from 1 to {MOST_TIMES} and a line comment may follow GO, and {count:?} does: \
             give GO a line of its own, or write [GO] if it is a name"
        )
    }))
}

/// A line that has GO behind a comment: tools do not agree whether it ends a batch.
fn refuse_late_separator(rest: &str) -> Result<(), String> {
    match separator(rest) {
        Some(_) => Err("GO stands behind a comment on its line: give it a line of its own".into()),
        None => Ok(()),
    }
}

/// A line that sqlcmd takes for itself.
fn refuse_directive(line: &str) -> Result<(), String> {
    let line = line.trim();
    let word = line.split_whitespace().next().unwrap_or_default();
    let remedy = match word.to_ascii_lowercase().as_str() {
        ":r" => "put that file's text here, or the file beside this one: files are run in the order of their names",
        ":setvar" => "write the value where it is used",
        ":on" => "leave it out: the first error ends the run",
        ":connect" => "leave it out: the script runs in the database of the upgrade and nowhere else",
        "quit" | "exit" if word == line => {
            "leave it out, or use RAISERROR to end the run; write it in brackets if it is a name"
        }
        _ if word.starts_with("!!") => "run programs in a Job of your own",
        // `::` is T-SQL, as in ENDPOINT::name.
        _ if word.starts_with(':') && word.chars().nth(1).is_some_and(char::is_alphabetic) => "leave it out",
        _ => return Ok(()),
    };
    Err(format!("{word} is a directive of sqlcmd, which does not run here: {remedy}"))
}

/// `$(name)`, which sqlcmd would replace.
fn refuse_variable(rest: &str) -> Result<(), String> {
    let Some(name) = rest.strip_prefix("$(").and_then(|rest| rest.split(')').next()) else { return Ok(()) };
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) {
        return Ok(());
    }
    Err(format!("$({name}) is a variable of sqlcmd, which does not run here: write the value"))
}

#[cfg(test)]
mod tests;
