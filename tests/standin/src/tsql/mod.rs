//! T-SQL: a batch is parsed into statements ([`parse`]), run by a [`session::Session`]; queries and changes of data are
//! put into SQLite's language ([`emit`]).

mod access;
pub mod ast;
pub mod convert;
pub mod emit;
pub mod functions;
pub mod kind;
mod objects;
mod options;
pub mod parse;
mod problem;
pub mod procedures;
mod raise;
pub use raise::shown;
pub mod read;
mod run;
pub mod schema;
mod secure;
pub mod session;
pub mod state;
mod trigger;
mod whole;
mod write;

#[cfg(test)]
mod tests;
