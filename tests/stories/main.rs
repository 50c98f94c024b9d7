//! Stories: the whole operator against an in-process Kubernetes API server and stand-in instances, on a paused clock.
//!
//! Everything here is test code: one thread, virtual time, one seed. A story that fails prints its whole history.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

/// Stories make and drop JSON and rows all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod stage;
mod world;

mod api_server;
mod backups;
mod blocked;
mod connections;
mod crashes;
mod failover;
mod fence;
mod forced;
mod histories;
mod kubernetes;
mod leader;
mod life;
mod links;
mod nodes;
mod operator;
mod operators;
mod passwords;
mod readers;
mod requirements;
mod returns;
mod tables;
mod upgrades;
