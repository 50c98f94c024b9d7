//! The script of a staged upgrade: files of T-SQL that run once, in order, against the promoted stage database and nowhere
//! else.
//!
//! | File | What it holds |
//! |---|---|
//! | `split.rs` | a file to batches, as sqlcmd cuts it; pure |
//! | `files.rs` | which files count, their order, their hash; pure |
//! | `statements.rs` | guard, lock and journal as T-SQL |
//! | `door.rs` | the one session, which time and SIGTERM cut off |
//! | `run.rs` | what is run in which order |
//! | `failed.rs` | the last sentence of a run that failed |
//!
//! What the runner finds and leaves in the database that it starts in, as extended properties of class 0, which need no schema
//! and go with the log to every copy:
//!
//! | Name | Value | Written by |
//! |---|---|---|
//! | [`BARRIER`] | the token of the upgrade | the operator, on production after its fence; so production and stage both have it |
//! | [`STAGE`] | the attempt | the operator as `sa`, on the stage after its promotion, when production's link is gone; so production has at most that of an older upgrade |
//! | [`JOURNAL`] and a file's name | attempt, SHA-256 of the file, `started` or `done` | the runner, before and after each file |
//! | [`DONE`] | the completion token | the runner, after the last file |
//!
//! The login needs `db_owner` in that database and, on the instance, `VIEW ANY DEFINITION`: without it distributed groups are
//! there and not seen, so that the guard refuses.

mod door;
mod failed;
mod files;
mod run;
mod split;
mod statements;

pub use failed::Failed;
pub use files::{File, Script, counts, sha256};
pub use run::{Order, run};
pub use split::{Batch, Fault};
pub use statements::set;

use crate::decide::upgrade::Mark;

/// `program_name` of the runner's session: by it whoever starts a runner finds what is left of an earlier one.
pub const PROGRAM: &str = "quorate-script";
/// Extended property that holds the barrier token.
pub const BARRIER: &str = Mark::Barrier.property();
/// Extended property that holds the attempt, on the promoted stage alone: each attempt of each upgrade has its own.
pub const STAGE: &str = Mark::Stage.property();
/// What the name of a journal entry begins with.
pub const JOURNAL: &str = "quorate_file:";
/// Extended property that holds the completion token.
pub const DONE: &str = Mark::Completion.property();
