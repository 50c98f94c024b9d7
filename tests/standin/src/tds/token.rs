//! The tokens that answers are made of.

use super::{
    bytes::Put,
    encode::{self, Unfit},
    kind,
};
use crate::{
    errors::Message,
    value::{Column, Parameter, SqlType, Value},
};

const RETURN_STATUS: u8 = 0x79;
const COLUMNS: u8 = 0x81;
const ERROR: u8 = 0xAA;
const INFO: u8 = 0xAB;
const RETURN_VALUE: u8 = 0xAC;
const LOGIN_ACKNOWLEDGED: u8 = 0xAD;
const ROW: u8 = 0xD1;
const CHANGE: u8 = 0xE3;

/// What a DONE token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoneOf {
    /// A statement of a batch.
    Batch,
    /// A procedure.
    Procedure,
    /// A statement in a procedure.
    InProcedure,
}

pub(super) const DONE_MORE: u16 = 0x01;
pub(super) const DONE_ERROR: u16 = 0x02;
pub(super) const DONE_COUNT: u16 = 0x10;
pub(super) const DONE_ATTENTION: u16 = 0x20;

/// Current command of a SELECT, and of a procedure call.
pub(super) const COMMAND_SELECT: u16 = 0xC1;
pub(super) const COMMAND_EXECUTE: u16 = 0xE0;

/// What an ENVCHANGE token changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Database = 1,
    Language = 2,
    PacketSize = 4,
    Collation = 7,
    Begin = 8,
    Commit = 9,
    Rollback = 10,
    Reset = 18,
}

/// Longest text of a message, in UTF-16 code units: what leaves room for the rest of the token.
const LONGEST_TEXT: usize = 8_000;

pub(super) fn done(out: &mut Vec<u8>, of: DoneOf, status: u16, command: u16, rows: u64) {
    out.u8(match of {
        DoneOf::Batch => 0xFD,
        DoneOf::Procedure => 0xFE,
        DoneOf::InProcedure => 0xFF,
    });
    out.u16(status);
    out.u16(command);
    out.u64(rows);
}

/// ERROR, or INFO when the class is 10 or below.
pub(super) fn message(out: &mut Vec<u8>, message: &Message, server: &str) {
    let mut body = Vec::new();
    body.i32(message.number);
    body.u8(message.state);
    body.u8(message.class);
    body.us_varchar(&message.text, LONGEST_TEXT);
    body.b_varchar(server);
    body.b_varchar(&message.procedure);
    body.u32(message.line.max(1));
    out.u8(if message.is_error() { ERROR } else { INFO });
    out.counted(&body);
}

/// ENVCHANGE with texts.
pub(super) fn change(out: &mut Vec<u8>, what: Change, new: &str, old: &str) {
    let mut body = vec![what as u8];
    body.b_varchar(new);
    body.b_varchar(old);
    out.u8(CHANGE);
    out.counted(&body);
}

/// ENVCHANGE with bytes.
pub(super) fn change_bytes(out: &mut Vec<u8>, what: Change, new: &[u8], old: &[u8]) {
    let mut body = vec![what as u8];
    for bytes in [new, old] {
        body.u8(u8::try_from(bytes.len()).unwrap_or(0));
        body.bytes(bytes);
    }
    out.u8(CHANGE);
    out.counted(&body);
}

pub(super) fn login_acknowledged(out: &mut Vec<u8>, tds: [u8; 4], version: [u8; 4]) {
    let mut body = vec![1];
    body.bytes(&tds);
    body.b_varchar("Microsoft SQL Server");
    body.bytes(&version);
    out.u8(LOGIN_ACKNOWLEDGED);
    out.counted(&body);
}

/// COLMETADATA.
pub(super) fn columns(out: &mut Vec<u8>, columns: &[Column]) {
    out.u8(COLUMNS);
    out.u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
    for column in columns {
        out.u32(0);
        // Bit 0: nullable. Bit 3: whether it can be updated is unknown.
        out.u16(0x08 | u16::from(column.nullable));
        kind::type_info(out, column.kind);
        out.b_varchar(&column.name);
    }
}

/// ROW; on failure nothing of it is left.
pub(super) fn row(out: &mut Vec<u8>, columns: &[Column], values: &[Value]) -> Result<(), Unfit> {
    let start = out.len();
    out.u8(ROW);
    let fits = columns.len() == values.len()
        && columns.iter().zip(values).all(|(column, value)| encode::value(out, column.kind, value).is_ok());
    if fits {
        return Ok(());
    }
    out.truncate(start);
    Err(Unfit)
}

pub(super) fn return_status(out: &mut Vec<u8>, status: i32) {
    out.u8(RETURN_STATUS);
    out.i32(status);
}

/// RETURNVALUE of the parameter at this position.
pub(super) fn return_value(out: &mut Vec<u8>, ordinal: u16, parameter: &Parameter) -> Result<(), Unfit> {
    let kind: SqlType = kind::fitting(parameter.kind, std::iter::once(&parameter.value));
    let mut body = Vec::new();
    body.u16(ordinal);
    body.b_varchar(&parameter.name);
    body.u8(1); // an output parameter, not a function's value
    body.u32(0);
    body.u16(1);
    kind::type_info(&mut body, kind);
    encode::value(&mut body, kind, &parameter.value)?;
    out.u8(RETURN_VALUE);
    out.bytes(&body);
    Ok(())
}
