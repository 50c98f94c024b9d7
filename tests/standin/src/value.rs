//! Values, types and what a batch answers.

use crate::errors::Message;

/// Type of a result column or parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlType {
    /// `bit`
    Bit,
    /// `tinyint`
    TinyInt,
    /// `smallint`
    SmallInt,
    /// `int`
    Int,
    /// `bigint`
    BigInt,
    /// `float`
    Float,
    /// `decimal(precision, scale)`; LSNs are `numeric(25,0)`.
    Decimal {
        /// Digits, 1..=38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `nchar(n)`
    NChar(u16),
    /// `nvarchar(n)`, n in characters, 1..=4000.
    NVarChar(u16),
    /// `nvarchar(max)`
    NVarCharMax,
    /// `varchar(n)`
    VarChar(u16),
    /// `varchar(max)`
    VarCharMax,
    /// `varbinary(n)`
    VarBinary(u16),
    /// `varbinary(max)`
    VarBinaryMax,
    /// `uniqueidentifier`
    Guid,
    /// `datetime`
    DateTime,
    /// `datetime2(scale)`
    DateTime2(u8),
    /// `sql_variant`, as SERVERPROPERTY and SESSION_CONTEXT return
    Variant,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// `bit`
    Bit(bool),
    /// Any integer type; the column says which.
    Int(i64),
    /// `float`
    Float(f64),
    /// `decimal`: unscaled value; the column says the scale.
    Decimal(i128),
    /// Any character type.
    Text(String),
    /// Any binary type.
    Binary(Vec<u8>),
    /// `uniqueidentifier`
    Guid(uuid::Uuid),
    /// `datetime`, `datetime2`: microseconds since 1970-01-01 without zone.
    DateTime(i64),
}

/// Description of a result column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, empty for an unnamed expression.
    pub name: String,
    /// Type on the wire.
    pub kind: SqlType,
    /// Whether NULL is possible.
    pub nullable: bool,
}

/// A named parameter of a parameterised batch (`@p1`) or procedure call.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name with `@`, empty when positional.
    pub name: String,
    /// Value.
    pub value: Value,
    /// Declared type.
    pub kind: SqlType,
    /// Passed with OUTPUT.
    pub output: bool,
}

/// One thing a batch answers, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A whole result set.
    Rows {
        /// Its columns.
        columns: Vec<Column>,
        /// Its rows.
        rows: Vec<Vec<Value>>,
    },
    /// A statement ended; the count is present for DML.
    Done(Option<u64>),
    /// An error or informational message.
    Message(Message),
    /// The database context changed (`USE`).
    Database(String),
    /// Return status of a procedure.
    ReturnStatus(i32),
    /// Output parameter of a procedure.
    ReturnValue(Parameter),
}
