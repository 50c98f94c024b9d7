//! What only a real cluster can prove.
//!
//! These tests are ignored unless they run on the lab: `cargo lab test` runs them, or, on a lab that is up,
//! `cargo lab exec -- cargo test --test cluster -- --ignored --test-threads=1`.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod ground;
mod group;
mod long;
mod manifests;
mod regions;
mod shop;
mod support;
mod tables;
mod upgrade;
mod window;
