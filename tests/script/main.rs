//! `quorate script` against the stand-in: the shipped runner, its T-SQL, TDS and TLS, over in-process streams on a paused
//! clock; and the program itself over TCP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod ends;
mod guard;
mod journal;
mod order;
mod process;
mod stage;
