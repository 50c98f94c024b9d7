//! The files of a script: which count, in which order, and the one hash over all of them.

use super::split::{self, Batch, Fault};
use crate::sql::hex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Longest name of a file: with `quorate_file:` before it it is the name of an extended property, a `sysname`.
const LONGEST_NAME: usize = 115;

/// One file, checked and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// What it runs, in order.
    pub batches: Vec<Batch>,
}

/// A script that can be run: every file of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// In the order of their names' bytes.
    pub files: Vec<File>,
    /// [`sha256`] of it.
    pub sha256: String,
}

impl Script {
    /// Takes the files that count (see [`counts`]) and checks all of them. Errors: one fault a file that cannot be run, or
    /// the only one that there is no file.
    pub fn new<N: AsRef<str>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (N, B)>) -> Result<Self, Vec<Fault>> {
        let files: Vec<_> = files.into_iter().collect();
        let files = in_order(files.iter().map(|(name, bytes)| (name.as_ref(), bytes.as_ref())));
        let sha256 = sha256(files.iter().copied());
        let (mut checked, mut faults, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (name, bytes) in files {
            let named = check_name(name, names.insert(name.to_ascii_lowercase()));
            match named.and_then(|()| split::batches(name, bytes)) {
                Ok(batches) => checked.push(File { name: name.into(), sha256: hex(&Sha256::digest(bytes)), batches }),
                Err(fault) => faults.push(fault),
            }
        }
        match (checked.is_empty(), faults.is_empty()) {
            (true, true) => Err(vec![whole("*.sql", "there is no such file: a script has at least one")]),
            (_, true) => Ok(Self { files: checked, sha256 }),
            _ => Err(faults),
        }
    }
}

/// Whether a file of this name is part of a script: `*.sql`, whatever the case, unless it begins with a dot. The rest of a
/// folder or a ConfigMap, such as a README or what a volume keeps for itself, is not looked at.
pub fn counts(name: &str) -> bool {
    let ending = name.len().checked_sub(".sql".len()).and_then(|at| name.get(at..));
    !name.starts_with('.') && ending.is_some_and(|ending| ending.eq_ignore_ascii_case(".sql"))
}

/// SHA-256 over the files that count, lower-case hex: for each, in the order of the names' bytes, the length of the name, the
/// name, the length of the content, the content; lengths in bytes as 64 bits, most significant byte first.
pub fn sha256<N: AsRef<str>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (N, B)>) -> String {
    let files: Vec<_> = files.into_iter().collect();
    let mut hash = Sha256::new();
    for (name, bytes) in in_order(files.iter().map(|(name, bytes)| (name.as_ref(), bytes.as_ref()))) {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize())
}

fn in_order<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(&'a str, &'a [u8])> {
    files.filter(|(name, _)| counts(name)).collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// A name that a ConfigMap can have; in most collations two that differ in their case alone are one to the journal.
fn check_name(name: &str, new: bool) -> Result<(), Fault> {
    let word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !name.chars().all(word) || name.len() > LONGEST_NAME {
        let what = format!("call it by letters, digits, '-', '_' and '.', at most {LONGEST_NAME} of them");
        return Err(whole(name, &what));
    }
    if !new {
        return Err(whole(name, "another file has this name in another case: give it a name of its own"));
    }
    Ok(())
}

fn whole(file: &str, what: &str) -> Fault {
    Fault { file: file.into(), line: None, what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn files_run_in_the_order_of_their_names_and_others_do_not_count() {
        let script =
            Script::new(files(&[("b.sql", "SELECT 2"), ("README.md", "GO 0"), ("A.SQL", "SELECT 1"), (".x.sql", "'")]));
        let names: Vec<_> = script.unwrap().files.into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["A.SQL", "b.sql"]);
    }

    #[test]
    fn the_hash_is_of_names_and_contents_whatever_the_order_they_come_in() {
        // printf '\0\0\0\0\0\0\0\005a.sql\0\0\0\0\0\0\0\010SELECT 1' and the same of b.sql, | sha256sum
        let expected = "28468b56b9814b0218842906745eefbfd39da1881a1920dca05f5c122c662f03";
        let one = files(&[("a.sql", "SELECT 1"), ("b.sql", "SELECT 2")]);
        assert_eq!(sha256(one.clone()), expected);
        let swapped = files(&[("b.sql", "SELECT 2"), ("a.sql", "SELECT 1"), ("notes", "x")]);
        assert_eq!(Script::new(swapped).unwrap().sha256, expected);
        let moved = files(&[("a.sql", "SELECT 1b.sql"), ("b.sql", "SELECT 2")]);
        assert_ne!(sha256(moved), expected);
        let map: BTreeMap<String, String> =
            [("a.sql".to_string(), "SELECT 1".to_string()), ("b.sql".into(), "SELECT 2".into())].into();
        assert_eq!(sha256(&map), expected);
    }

    #[test]
    fn a_hash_of_a_file_is_what_sha256sum_prints() {
        let script = Script::new(files(&[("a.sql", "SELECT 1\n")])).unwrap();
        assert_eq!(script.files[0].sha256, "a0a22c9dfa428cdce6fb3e58a40d4052335e17e5fbe42efc2f17f9ca813be62c");
    }

    #[test]
    fn every_file_that_cannot_be_run_is_named() {
        let long = format!("{}.sql", "x".repeat(112));
        let bad =
            [("a.sql", "SELECT '"), ("b.sql", "SELECT 1"), ("B.SQL", "SELECT 1"), ("ä.sql", "SELECT 1"), (&long, "")];
        let faults: Vec<_> = Script::new(files(&bad)).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 4, "{faults:#?}");
        assert!(faults[0].starts_with("a.sql:1: the string"), "{faults:#?}");
        assert!(faults[1].starts_with("b.sql: another file has this name"), "{faults:#?}");
        let none = Script::new(files(&[("readme", "")])).unwrap_err();
        assert_eq!(none[0].to_string(), "*.sql: there is no such file: a script has at least one");
    }
}
