//! A stand-in for SQL Server, for tests and for trying Quorate: TDS on one side, availability groups between
//! processes on the other, SQLite underneath.
//!
//! One [`instance::Instance`] is one SQL Server. The binary `sqlservr` serves it over TCP from a data folder; stories
//! run the same instance in-process over streams of their own ([`net::Network`]), on a paused clock.
//!
//! | Module | What it knows |
//! |---|---|
//! | [`net`] | how bytes reach other hosts: TCP, or a simulated network |
//! | [`sim`] | a network of hosts that can be cut, frozen and killed, on tokio's clock |
//! | [`value`] | values, types, columns and what a batch answers |
//! | [`errors`] | number, class, state and text of every message |
//! | [`ddl`] | the typed statements that change a server or an availability group |
//! | `tds` | the wire: PRELOGIN, TLS, LOGIN7, batches, RPC |
//! | `tsql` | batches to statements, SELECT and DML to SQLite |
//! | `catalog` | logins, users, permissions, certificates, endpoints, master key |
//! | `views` | catalog views and DMVs, filled from one snapshot |
//! | `instance` | one server: its parts, start, stop, crash |
//! | `store` | log, database files, crash recovery, the simulated disk |
//! | `group` | the availability group: configuration, roles, commits, votes, transport, seeding |
//! | `faults` | switches for tests and for undocumented behaviour |

pub mod catalog;
pub mod ddl;
pub mod errors;
pub mod faults;
pub mod group;
pub mod instance;
pub mod net;
pub mod server;
pub mod sim;
pub mod store;
pub mod tds;
pub mod tsql;
pub mod value;
pub mod views;
