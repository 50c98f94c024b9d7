//! What the wire asks of the server behind it.

use crate::{
    errors::Message,
    value::{Output, Parameter},
};
use std::future::Future;

/// Who the server says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `@@SERVERNAME`, in every message.
    pub server: String,
    /// Major, minor, build (high and low byte): what clients show as the server's version.
    pub version: [u8; 4],
}

/// What LOGIN7 says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginRequest {
    /// SQL login.
    pub user: String,
    /// Its password in clear.
    pub password: String,
    /// `APP_NAME()`
    pub application: String,
    /// `HOST_NAME()`
    pub host: String,
    /// Database asked for; empty means the login's default.
    pub database: String,
    /// `ApplicationIntent=ReadOnly`
    pub read_only_intent: bool,
}

/// A server that clients can log in to.
pub trait Backend: Send + Sync + 'static {
    /// One logged-in connection.
    type Session: SqlSession;

    /// Name and version.
    fn identity(&self) -> Identity;

    /// Checks a login. The error is what the client reads (18456 and the like); the connection is closed after it.
    fn login(&self, request: LoginRequest) -> impl Future<Output = Result<Self::Session, Message>> + Send;
}

/// One logged-in connection. Dropping any of its futures must leave it usable: that is what an attention does. Dropping
/// the session rolls back what is open.
pub trait SqlSession: Send {
    /// Runs a batch, with parameters when it came from `sp_executesql` or a prepared statement.
    fn batch<'a>(
        &'a mut self,
        sql: &'a str,
        parameters: Vec<Parameter>,
        out: &'a mut (dyn FnMut(Output) + Send),
    ) -> impl Future<Output = ()> + Send + 'a;

    /// Runs a procedure called by name.
    fn procedure<'a>(
        &'a mut self,
        name: &'a str,
        parameters: Vec<Parameter>,
        out: &'a mut (dyn FnMut(Output) + Send),
    ) -> impl Future<Output = ()> + Send + 'a;

    /// Begins a transaction on behalf of the driver.
    fn begin(&mut self) -> impl Future<Output = Result<(), Message>> + Send;

    /// Commits the transaction.
    fn commit(&mut self) -> impl Future<Output = Result<(), Message>> + Send;

    /// Rolls the transaction back.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Message>> + Send;

    /// A pooled connection changes hands: everything but the login is forgotten.
    fn reset(&mut self) -> impl Future<Output = ()> + Send;

    /// Database context.
    fn database(&self) -> String;

    /// `@@SPID`
    fn spid(&self) -> u16;

    /// Completes when somebody kills the session. Asked for once, after login.
    fn killed(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }
}
