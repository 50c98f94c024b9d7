//! The stand-in's own source: its code, its tests, and what a test makes use of.

use super::tokens::{Token, closing, tokens};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A function or constant.
#[derive(Clone, Debug)]
pub struct Item {
    /// Name.
    pub name: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Whether it is a test.
    pub test: bool,
}

/// A test with everything that it runs of the tests' own helpers.
#[derive(Debug)]
pub struct Test {
    /// `file::name`
    pub name: String,
    /// Over the wire against a server that answers from a script: it shows what `tds` does and nothing else.
    pub scripted: bool,
    /// Tokens of the test itself.
    pub own: Vec<Token>,
    /// Tokens of the helpers and constants that it uses.
    pub helpers: Vec<Token>,
}

/// Everything.
pub struct Source {
    /// Code without tests, by path.
    pub code: BTreeMap<PathBuf, Vec<Token>>,
    /// Tests, by name.
    pub tests: Vec<Test>,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Reads the crate.
pub fn read() -> Source {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut tests) = (BTreeMap::new(), Vec::new());
    // Helpers are looked for in the files of the same folder.
    let mut folders: BTreeMap<PathBuf, Vec<(PathBuf, Vec<Item>)>> = BTreeMap::new();
    for path in files(&root.join("src")).into_iter().chain(files(&root.join("tests"))) {
        let short = path.strip_prefix(root).unwrap().to_path_buf();
        if short.starts_with("tests/conformance") || short.ends_with("conformance.rs") {
            continue;
        }
        let all = tokens(&fs::read_to_string(&path).unwrap());
        let own = short.starts_with("tests") || short.starts_with("src/tsql/tests") || short.ends_with("tests.rs");
        let (plain, tested) = if own { (vec![], all) } else { split(all) };
        let folder = if own { short.parent().unwrap().to_path_buf() } else { short.clone() };
        folders.entry(folder).or_default().push((short.clone(), items(&tested)));
        if !own {
            code.insert(short, plain);
        }
    }
    let support = folders.get(Path::new("tests/support")).cloned().unwrap_or_default();
    for (folder, files) in &folders {
        let shared = if folder == Path::new("tests") { support.as_slice() } else { &[] };
        for (path, items) in files {
            let near: Vec<&Item> = files.iter().chain(shared).flat_map(|(_, items)| items).collect();
            for item in items.iter().filter(|item| item.test) {
                tests.push(test(path, item, &near));
            }
        }
    }
    tests.sort_by(|one, other| one.name.cmp(&other.name));
    Source { code, tests }
}

/// Code, and the module of tests at its end.
fn split(all: Vec<Token>) -> (Vec<Token>, Vec<Token>) {
    let marks = |window: &[Token]| {
        window[0].is("cfg") && window[1].sign('(') && window[2].is("test") && window.get(5).is_some_and(|t| t.is("mod"))
    };
    match all.windows(6).position(marks) {
        Some(at) => (all[..at - 2].to_vec(), all[at - 2..].to_vec()),
        None => (all, vec![]),
    }
}

fn test(path: &Path, item: &Item, near: &[&Item]) -> Test {
    let mut used = BTreeSet::from([item.name.clone()]);
    let mut helpers = Vec::new();
    let mut open = vec![item];
    while let Some(next) = open.pop() {
        for token in &next.tokens {
            let Token::Word(word) = token else { continue };
            for helper in near.iter().filter(|helper| !helper.test && helper.name == *word) {
                if used.insert(word.clone()) {
                    helpers.extend(helper.tokens.clone());
                    open.push(helper);
                }
            }
        }
    }
    let mut file = path.file_stem().unwrap().to_string_lossy().into_owned();
    if file == "mod" || file == "main" {
        file = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    }
    let scripted = path.starts_with("src/tds") || ["wire", "tiberius", "clients", "hostile"].contains(&file.as_str());
    Test { name: format!("{file}::{}", item.name), scripted, own: item.tokens.clone(), helpers }
}

/// Functions and constants, those of `impl` blocks among them.
pub fn items(all: &[Token]) -> Vec<Item> {
    let (mut at, mut found, mut test) = (0, Vec::new(), false);
    while at < all.len() {
        let name = match all.get(at + 1) {
            Some(Token::Word(name)) => name.clone(),
            _ => String::new(),
        };
        if all[at].sign('#') && all.get(at + 1).is_some_and(|t| t.sign('[')) {
            let end = closing(all, at + 1);
            let words = &all[at + 2..end];
            test |= words[0].is("test") || words[0].is("tokio");
            at = end + 1;
        } else if all[at].is("fn") || (all[at].is("const") && !all[at + 1].is("fn")) || all[at].is("static") {
            let end = item_end(all, at);
            found.push(Item { name, tokens: all[at..=end].to_vec(), test: std::mem::take(&mut test) });
            at = end + 1;
        } else {
            at += 1;
        }
    }
    found
}

/// An item ends with its body or, without one, with its semicolon.
fn item_end(all: &[Token], start: usize) -> usize {
    let body = all[start].is("fn");
    let mut at = start;
    while at < all.len() {
        match &all[at] {
            Token::Symbol('(' | '[') => at = closing(all, at),
            Token::Symbol('{') if body => return closing(all, at),
            Token::Symbol('{') => at = closing(all, at),
            Token::Symbol(';') => return at,
            _ => {}
        }
        at += 1;
    }
    all.len() - 1
}
