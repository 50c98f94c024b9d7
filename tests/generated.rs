//! Generated files: crds/ is what the code says, and the schema refuses what it must.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "generated/schema.rs"]
mod schema;

#[path = "generated/deploy.rs"]
mod deploy;

#[path = "generated/objects.rs"]
mod objects;

use std::{fs, path::Path};

/// Compares a file with what the code says now; writes it when `QUORATE_REGENERATE` is set.
fn same(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("QUORATE_REGENERATE").is_some() {
        fs::write(&file, text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == text, "{path} is out of date: run QUORATE_REGENERATE=1 cargo test --test generated");
}

#[test]
fn crds_are_what_the_code_says() {
    for (plural, crd) in quorate::api::crds().unwrap() {
        let text = quorate::api::to_yaml(&crd).unwrap();
        assert!(text.len() < 262_144, "{plural}: {} bytes do not fit into an annotation", text.len());
        same(&format!("crds/{plural}.yaml"), &text);
    }
}
