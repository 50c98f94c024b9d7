//! Statements as the parser makes them. Queries and expressions keep sqlparser's tree; [`super::emit`] turns those into
//! SQLite's language.

use crate::{
    ddl::{GroupStatement, HadrStatement},
    value::SqlType,
};
use sqlparser::ast::{Delete, Expr, Insert, Query, Update};

/// A statement and the line it starts on, from 1.
#[derive(Clone, Debug)]
pub struct Located {
    /// Line in the batch.
    pub line: u32,
    /// The statement.
    pub statement: Statement,
}

/// Name of an object in up to three parts: database, schema, object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectName {
    /// Database, if said.
    pub database: Option<String>,
    /// Schema, if said.
    pub schema: Option<String>,
    /// The object.
    pub name: String,
}

/// One argument of EXEC.
#[derive(Clone, Debug)]
pub struct Argument {
    /// `@name`, if said.
    pub name: Option<String>,
    /// Value.
    pub value: Expr,
    /// OUTPUT: the variable that receives.
    pub output: Option<String>,
}

/// What EXEC runs.
#[derive(Clone, Debug)]
pub enum Callee {
    /// A procedure.
    Procedure(ObjectName),
    /// `EXEC (N'text')`
    Text(Expr),
}

/// Transaction statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatement {
    /// BEGIN TRANSACTION
    Begin,
    /// COMMIT
    Commit,
    /// ROLLBACK
    Rollback,
}

/// Column of CREATE TABLE.
#[derive(Clone, Debug)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: SqlType,
    /// NOT NULL (primary keys are).
    pub not_null: bool,
    /// `IDENTITY(seed, increment)`
    pub identity: Option<(i64, i64)>,
    /// `DEFAULT expr`
    pub default: Option<Expr>,
}

/// Constraint of CREATE TABLE.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// Name, if said.
    pub name: Option<String>,
    /// What it demands.
    pub kind: ConstraintKind,
}

/// Kinds of constraints.
#[derive(Clone, Debug)]
pub enum ConstraintKind {
    /// PRIMARY KEY
    PrimaryKey(Vec<String>),
    /// UNIQUE
    Unique(Vec<String>),
    /// FOREIGN KEY: columns, table, its columns.
    ForeignKey(Vec<String>, ObjectName, Vec<String>),
    /// CHECK
    Check(Expr),
}

/// What becomes of an object that is there already, and of one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// CREATE: it must not be there.
    Create,
    /// CREATE OR ALTER
    CreateOrAlter,
    /// ALTER: it must be there.
    Alter,
}

/// Statements on tables and other objects of a database.
#[derive(Clone, Debug)]
pub enum ObjectStatement {
    /// CREATE TABLE
    CreateTable { name: ObjectName, columns: Vec<ColumnDefinition>, constraints: Vec<Constraint> },
    /// DROP TABLE | VIEW | PROCEDURE
    Drop { what: &'static str, if_exists: bool, names: Vec<ObjectName> },
    /// ALTER TABLE ADD column
    AddColumn { table: ObjectName, column: ColumnDefinition },
    /// ALTER TABLE DROP COLUMN
    DropColumn { table: ObjectName, columns: Vec<String> },
    /// CREATE INDEX
    CreateIndex { name: String, table: ObjectName, unique: bool, columns: Vec<String> },
    /// DROP INDEX
    DropIndex { name: String, table: ObjectName, if_exists: bool },
    /// CREATE VIEW
    CreateView { name: ObjectName, how: Definition, query: Box<Query> },
    /// CREATE PROCEDURE: name, parameters, text of its body.
    CreateProcedure { name: ObjectName, how: Definition, parameters: Vec<ProcedureParameter>, text: String },
    /// TRUNCATE TABLE
    Truncate(ObjectName),
    /// CREATE SCHEMA
    CreateSchema(String),
}

/// Parameter of a procedure.
#[derive(Clone, Debug)]
pub struct ProcedureParameter {
    /// `@name`
    pub name: String,
    /// Type.
    pub kind: SqlType,
    /// Default.
    pub default: Option<Expr>,
    /// OUTPUT
    pub output: bool,
}

/// What a permission is granted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Securable {
    /// The server.
    Server,
    /// `ENDPOINT::name`
    Endpoint(String),
    /// `AVAILABILITY GROUP::name`
    Group(String),
    /// `LOGIN::name`
    Login(String),
    /// `CERTIFICATE::name`
    Certificate(String),
    /// The database.
    Database(Option<String>),
    /// `SCHEMA::name`
    Schema(String),
    /// An object.
    Object(ObjectName),
}

/// GRANT, DENY or REVOKE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GRANT
    Grant,
    /// DENY
    Deny,
    /// REVOKE
    Revoke,
}

/// Options of CREATE and ALTER LOGIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginOptions {
    /// Password in clear.
    pub password: Option<String>,
    /// `PASSWORD = 0x.. HASHED`
    pub hashed: Option<Vec<u8>>,
    /// `SID = 0x..`
    pub sid: Option<Vec<u8>>,
    /// `DEFAULT_DATABASE`
    pub default_database: Option<String>,
    /// `CHECK_POLICY`
    pub check_policy: Option<bool>,
    /// `NAME = ..`
    pub name: Option<String>,
    /// ENABLE or DISABLE
    pub enable: Option<bool>,
    /// `FROM CERTIFICATE`
    pub certificate: Option<String>,
}

/// Options of CREATE and ALTER ENDPOINT; absent means not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// STARTED | STOPPED | DISABLED
    pub state: Option<String>,
    /// `LISTENER_PORT`
    pub port: Option<u16>,
    /// `AUTHENTICATION = CERTIFICATE name`
    pub certificate: Option<String>,
    /// ALL | PARTNER | WITNESS
    pub role: Option<String>,
    /// `ENCRYPTION = ..` was said.
    pub encryption: Option<String>,
}

/// Where a new certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Self-signed: subject, start, expiry.
    New { subject: String, start: Option<String>, expiry: Option<String> },
    /// `FROM BINARY = 0x..`, private key and the password it is encrypted by.
    Binary { der: Vec<u8>, key: Option<(Vec<u8>, String)> },
}

/// Statements on the server's or a database's principals and secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityStatement {
    /// CREATE LOGIN
    CreateLogin(String, LoginOptions),
    /// ALTER LOGIN
    AlterLogin(String, LoginOptions),
    /// DROP LOGIN
    DropLogin(String),
    /// CREATE USER: name, login (None: WITHOUT LOGIN).
    CreateUser(String, Option<String>),
    /// ALTER USER: name, new login, new name.
    AlterUser(String, Option<String>, Option<String>),
    /// DROP USER
    DropUser { name: String, if_exists: bool },
    /// CREATE ROLE
    CreateRole(String),
    /// DROP ROLE
    DropRole { name: String, if_exists: bool },
    /// ALTER ROLE: role, member, ADD (else DROP).
    AlterRole(String, String, bool),
    /// ALTER SERVER ROLE
    AlterServerRole(String, String, bool),
    /// GRANT, DENY, REVOKE
    Permission {
        verb: Verb,
        permissions: Vec<String>,
        on: Option<Securable>,
        principals: Vec<String>,
        grant_option: bool,
    },
    /// CREATE MASTER KEY
    CreateMasterKey(Option<String>),
    /// DROP MASTER KEY
    DropMasterKey,
    /// OPEN / CLOSE / ALTER MASTER KEY, which change nothing here.
    KeepMasterKey,
    /// CREATE CERTIFICATE: name, owner.
    CreateCertificate(String, Option<String>, CertificateSource),
    /// DROP CERTIFICATE
    DropCertificate { name: String, if_exists: bool },
    /// CREATE ENDPOINT
    CreateEndpoint(String, EndpointOptions),
    /// ALTER ENDPOINT
    AlterEndpoint(String, EndpointOptions),
    /// DROP ENDPOINT
    DropEndpoint(String),
    /// ALTER AUTHORIZATION ON securable TO principal
    AlterAuthorization(Securable, String),
}

/// Whose rights a trigger runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunsAs {
    /// Whoever fires it.
    Caller,
    /// Whoever creates it.
    Creator,
    /// That login.
    Login(String),
}

/// Statements on triggers of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerStatement {
    /// CREATE TRIGGER .. ON ALL SERVER FOR LOGON: its body, and the text of the whole.
    Create { name: String, how: Definition, runs_as: RunsAs, body: String, text: String },
    /// DROP TRIGGER .. ON ALL SERVER
    Drop { names: Vec<String>, if_exists: bool },
    /// ENABLE TRIGGER .. ON ALL SERVER; no names: ALL.
    Enable(Vec<String>),
    /// DISABLE TRIGGER .. ON ALL SERVER; no names: ALL.
    Disable(Vec<String>),
}

/// Statements on whole databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseStatement {
    /// CREATE DATABASE
    Create(String),
    /// DROP DATABASE
    Drop { names: Vec<String>, if_exists: bool },
    /// ALTER DATABASE SET RECOVERY; true: FULL.
    Recovery(String, bool),
    /// ALTER DATABASE SET HADR
    Hadr(String, HadrStatement),
    /// ALTER DATABASE SET options that change nothing here.
    Ignored(String),
    /// ALTER DATABASE SET options that a database in a group cannot have.
    Outside(String, String),
    /// BACKUP DATABASE
    Backup(String),
    /// BACKUP LOG
    BackupLog(String),
    /// RESTORE DATABASE WITH RECOVERY
    Recover(String),
}

/// One statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// BEGIN .. END
    Block(Vec<Located>),
    /// IF .. ELSE
    If { condition: Expr, then: Box<Located>, otherwise: Option<Box<Located>> },
    /// WHILE
    While { condition: Expr, body: Box<Located> },
    /// BREAK
    Break,
    /// CONTINUE
    Continue,
    /// RETURN
    Return(Option<Expr>),
    /// BEGIN TRY .. BEGIN CATCH
    Try { body: Vec<Located>, catch: Vec<Located> },
    /// THROW; bare inside CATCH.
    Throw(Option<(Expr, Expr, Expr)>),
    /// RAISERROR: message, severity, state, arguments.
    RaiseError(Vec<Expr>),
    /// PRINT
    Print(Expr),
    /// DECLARE
    Declare(Vec<(String, SqlType, Option<Expr>)>),
    /// SET @x = expr
    SetVariable(String, Expr),
    /// SET option ON | OFF | value
    SetOption(Vec<String>, String),
    /// EXEC
    Execute { into: Option<String>, callee: Callee, arguments: Vec<Argument> },
    /// WAITFOR DELAY
    Wait(Expr),
    /// USE
    Use(String),
    /// KILL
    Kill(i64),
    /// Transactions
    Transaction(TransactionStatement),
    /// SELECT
    Query(Box<Query>),
    /// INSERT; a second field for INSERT .. EXEC is not supported.
    Insert(Box<Insert>),
    /// UPDATE
    Update(Box<Update>),
    /// DELETE
    Delete(Box<Delete>),
    /// Objects of a database
    Object(ObjectStatement),
    /// Security
    Security(SecurityStatement),
    /// Triggers of the server
    Trigger(TriggerStatement),
    /// Databases
    Database(DatabaseStatement),
    /// Availability groups
    Group(String, GroupStatement),
}
