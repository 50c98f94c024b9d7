//! `CONFORMANCE.md`: what the stand-in supports of SQL Server, from its code and the names of its tests.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "conformance/errors.rs"]
mod errors;
#[path = "conformance/evidence.rs"]
mod evidence;
#[path = "conformance/source.rs"]
mod source;
#[path = "conformance/statements.rs"]
mod statements;
#[path = "conformance/switches.rs"]
mod switches;
#[path = "conformance/tokens.rs"]
mod tokens;
#[path = "conformance/unsupported.rs"]
mod unsupported;
#[path = "conformance/views.rs"]
mod views;

use std::{fs, path::Path};

const ABOUT: &str = "# What the stand-in supports

Generated from the code and its tests by `tests/conformance.rs`; `QUORATE_REGENERATE=1 cargo test -p quorate-standin --test
conformance` writes it anew.

- **supported**: the code has it and the tests named run or expect it.
- **variant**: the same, and a switch of `src/faults.rs` that speaks of it changes how it behaves.
- **columns only**: the view is there with the columns that it declares; nothing shows that its rows are right.
- **no test**: the code has it; no test of this package shows it.
- **not supported**: it is an error, 40517 (\"… is not supported by the stand-in\") or 208 for a view.
";

fn text() -> String {
    let source = source::read();
    let switches = switches::all();
    let parts = [
        ("Statements", statements::section(&source, &switches)),
        ("System procedures", unsupported::procedures(&source)),
        ("Not supported", unsupported::section(&source)),
        ("Views", views::section(&source)),
        ("Errors and information", errors::section(&source, &switches)),
        ("Switches", switches::section(&source, &switches)),
    ];
    let parts: Vec<_> = parts.iter().map(|(heading, text)| format!("\n## {heading}\n{text}")).collect();
    format!("{ABOUT}{}", parts.concat())
}

#[test]
fn the_list_is_what_code_and_tests_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md");
    let text = text();
    if std::env::var_os("QUORATE_REGENERATE").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == text,
        "CONFORMANCE.md is out of date: run QUORATE_REGENERATE=1 cargo test -p quorate-standin --test conformance"
    );
}
