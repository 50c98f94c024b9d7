//! T-SQL: a batch is parsed into statements ([`parse`]), run by a [`session::Session`]; queries and changes of data are
//! put into SQLite's language ([`emit`]).

pub mod ast;
pub mod convert;
pub mod emit;
pub mod functions;
mod functions_dates;
pub mod kind;
pub mod parse;
