//! What a request is answered: outputs to tokens, with the DONE tokens in between. Whether a DONE is the last one is
//! known only when the next output or the end arrives, so one DONE is held back.

use super::token::{self, COMMAND_EXECUTE, COMMAND_SELECT, Change, DONE_COUNT, DONE_ERROR, DONE_MORE, DoneOf};
use crate::{
    errors::Message,
    value::{Column, Output, Parameter, Value},
};

/// A request that ends in DONE, or one that ends in RETURNSTATUS, RETURNVALUE and DONEPROC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Batch,
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Of a result set or return status: a DONE without a count that follows belongs to it.
    Implied,
    Statement,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    of: DoneOf,
    status: u16,
    command: u16,
    rows: u64,
    origin: Origin,
}

/// The answer to one request, or to one call of a request with several.
pub(super) struct Response {
    style: Style,
    server: String,
    database: String,
    body: Vec<u8>,
    held: Option<Held>,
    /// An error that no DONE has reported yet.
    unreported: bool,
    failed: Option<i32>,
    fatal: bool,
    status: Option<i32>,
    values: Vec<(u16, Parameter)>,
}

impl Response {
    pub(super) fn new(style: Style, server: &str, database: &str) -> Self {
        Self {
            style,
            server: server.to_owned(),
            database: database.to_owned(),
            body: Vec::new(),
            held: None,
            unreported: false,
            failed: None,
            fatal: false,
            status: None,
            values: Vec::new(),
        }
    }

    /// Whether an error closes the connection.
    pub(super) fn fatal(&self) -> bool {
        self.fatal
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The database context after what was answered so far.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// What is ready to be sent; a DONE that may be the last one is not.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Tokens that are not outputs, such as ENVCHANGE.
    pub(super) fn raw(&mut self) -> &mut Vec<u8> {
        self.settle();
        &mut self.body
    }

    pub(super) fn push(&mut self, output: Output) {
        match output {
            Output::Rows { columns, rows } => self.rows(columns, &rows),
            Output::Done(count) => self.done(count),
            Output::Message(message) => self.message(&message),
            Output::Database(name) => {
                self.settle();
                token::change(&mut self.body, Change::Database, &name, &self.database);
                self.database = name;
            }
            Output::ReturnStatus(status) => self.return_status(status),
            Output::ReturnValue(parameter) => {
                let ordinal = u16::try_from(self.values.len()).unwrap_or(u16::MAX);
                self.values.push((ordinal, parameter));
            }
        }
    }

    /// A value returned at a known position, before those of the statement itself.
    pub(super) fn return_first(&mut self, parameter: Parameter) {
        self.values.insert(0, (0, parameter));
    }

    fn rows(&mut self, mut columns: Vec<Column>, rows: &[Vec<Value>]) {
        if columns.is_empty() {
            return self.done(None);
        }
        self.settle();
        for (index, column) in columns.iter_mut().enumerate() {
            column.kind = super::kind::fitting(column.kind, rows.iter().filter_map(|row| row.get(index)));
        }
        token::columns(&mut self.body, &columns);
        let mut count = 0;
        for values in rows {
            if token::row(&mut self.body, &columns, values).is_err() {
                self.message(&Message::new(8114, 16, "Error converting a value to the type of its column.").state(5));
                break;
            }
            count += 1;
        }
        self.hold(DONE_COUNT, COMMAND_SELECT, count, Origin::Implied);
    }

    fn done(&mut self, count: Option<u64>) {
        if count.is_none()
            && let Some(held) = &mut self.held
            && held.origin == Origin::Implied
        {
            held.origin = Origin::Statement;
            return;
        }
        // In a procedure, only statements that counted rows or failed are reported.
        if count.is_none() && self.style == Style::Call && !self.unreported {
            return;
        }
        if count.is_none() {
            // The end of a statement that failed.
            self.flush_held();
            return self.hold(0, 0, 0, Origin::Statement);
        }
        self.settle();
        self.hold(DONE_COUNT, 0, count.unwrap_or(0), Origin::Statement);
    }

    fn message(&mut self, message: &Message) {
        self.flush_held();
        token::message(&mut self.body, message, &self.server);
        if message.is_error() {
            self.unreported = true;
            self.failed = Some(message.number);
            self.fatal |= message.class >= 20;
        }
    }

    fn return_status(&mut self, status: i32) {
        if self.style == Style::Call {
            self.status = Some(status);
            return;
        }
        self.settle();
        token::return_status(&mut self.body, status);
        self.hold(0, COMMAND_EXECUTE, 0, Origin::Implied);
        if let Some(held) = &mut self.held {
            held.of = DoneOf::Procedure;
        }
    }

    fn hold(&mut self, status: u16, command: u16, rows: u64, origin: Origin) {
        let of = if self.style == Style::Call { DoneOf::InProcedure } else { DoneOf::Batch };
        let error = if std::mem::take(&mut self.unreported) { DONE_ERROR } else { 0 };
        self.held = Some(Held { of, status: status | error, command, rows, origin });
    }

    fn flush_held(&mut self) {
        if let Some(held) = self.held.take() {
            token::done(&mut self.body, held.of, held.status | DONE_MORE, held.command, held.rows);
        }
    }

    /// Something else follows: what was held back is not the last, and an error ends a statement of its own.
    fn settle(&mut self) {
        self.flush_held();
        if self.style == Style::Call {
            // DONEPROC will report it.
            self.unreported = false;
        } else if self.unreported {
            self.hold(0, 0, 0, Origin::Statement);
            self.flush_held();
        }
    }

    /// Ends the answer; `more` when another call of the same request follows.
    pub(super) fn finish(&mut self, more: bool) {
        let more = if more { DONE_MORE } else { 0 };
        if self.style == Style::Batch {
            if self.held.is_none() {
                self.hold(0, 0, 0, Origin::Statement);
            }
            if let Some(held) = self.held.take() {
                token::done(&mut self.body, held.of, held.status | more, held.command, held.rows);
            }
            return;
        }
        self.flush_held();
        token::return_status(&mut self.body, self.status.or(self.failed).unwrap_or(0));
        for (ordinal, parameter) in std::mem::take(&mut self.values) {
            if token::return_value(&mut self.body, ordinal, &parameter).is_err() {
                let text = format!("Error converting the value of {} to its type.", parameter.name);
                self.message(&Message::new(8114, 16, text).state(5));
            }
        }
        let error = if self.failed() { DONE_ERROR } else { 0 };
        token::done(&mut self.body, DoneOf::Procedure, error | more, COMMAND_EXECUTE, 0);
    }

    /// Ends the answer at an attention: what was held back is forgotten.
    pub(super) fn abort(&mut self) {
        self.held = None;
        let of = if self.style == Style::Call { DoneOf::Procedure } else { DoneOf::Batch };
        token::done(&mut self.body, of, DONE_ERROR, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::SqlType;

    fn answer(style: Style, outputs: Vec<Output>) -> Vec<u8> {
        let mut response = Response::new(style, "", "master");
        outputs.into_iter().for_each(|output| response.push(output));
        response.finish(false);
        response.take()
    }

    fn rows(values: &[i64]) -> Output {
        let columns = vec![Column { name: String::new(), kind: SqlType::TinyInt, nullable: false }];
        Output::Rows { columns, rows: values.iter().map(|value| vec![Value::Int(*value)]).collect() }
    }

    fn error(number: i32) -> Output {
        Output::Message(Message::new(number, 16, ""))
    }

    const META: &[u8] = &[0x81, 1, 0, 0, 0, 0, 0, 8, 0, 0x26, 1, 0];
    const fn done(token: u8, status: u8, command: u8, rows: u8) -> [u8; 13] {
        [token, status, 0, command, 0, rows, 0, 0, 0, 0, 0, 0, 0]
    }
    #[test]
    fn every_done_of_a_batch_but_the_last_says_that_more_follows() {
        let bytes = answer(Style::Batch, vec![rows(&[7]), Output::Done(None), rows(&[8, 9])]);
        let first = [META, &[0xD1, 1, 7], &done(0xFD, 0x11, 0xC1, 1)].concat();
        let second = [META, &[0xD1, 1, 8, 0xD1, 1, 9], &done(0xFD, 0x10, 0xC1, 2)].concat();
        assert_eq!(bytes, [first, second].concat());
    }

    #[test]
    fn an_empty_batch_is_answered_with_a_done() {
        assert_eq!(answer(Style::Batch, vec![]), done(0xFD, 0, 0, 0));
    }

    #[test]
    fn several_errors_of_a_statement_come_before_one_done_with_the_error_bit() {
        let token = |number| [0xAA, 14, 0, number, 0, 0, 0, 1, 16, 0, 0, 0, 0, 1, 0, 0, 0];
        let bytes = answer(Style::Batch, vec![error(1), error(2), Output::Done(None), Output::Done(Some(3))]);
        let tail = [done(0xFD, 3, 0, 0), done(0xFD, 0x10, 0, 3)].concat();
        assert_eq!(bytes, [&token(1)[..], &token(2), &tail].concat());
    }

    #[test]
    fn a_statement_after_an_error_is_preceded_by_the_done_of_the_failed_one() {
        let bytes = answer(Style::Batch, vec![error(1), rows(&[])]);
        let tail = [&done(0xFD, 3, 0, 0)[..], META, &done(0xFD, 0x10, 0xC1, 0)].concat();
        assert_eq!(bytes[bytes.len() - tail.len()..], tail);
    }

    #[test]
    fn a_call_reports_statements_in_doneinproc_then_status_values_and_doneproc() {
        let value = Parameter { name: "@n".into(), value: Value::Int(5), kind: SqlType::TinyInt, output: true };
        let bytes = answer(Style::Call, vec![rows(&[7]), Output::Done(None), Output::ReturnValue(value)]);
        let expected = [
            META,
            &[0xD1, 1, 7],
            &done(0xFF, 0x11, 0xC1, 1),
            &[0x79, 0, 0, 0, 0],
            &[0xAC, 0, 0, 2, b'@', 0, b'n', 0, 1, 0, 0, 0, 0, 1, 0, 0x26, 1, 1, 5],
            &done(0xFE, 0, 0xE0, 0),
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn a_failed_call_returns_the_error_number_and_the_error_bit() {
        let bytes = answer(Style::Call, vec![error(50)]);
        assert_eq!(bytes[bytes.len() - 18..], [&[0x79, 50, 0, 0, 0][..], &done(0xFE, 2, 0xE0, 0)].concat());
    }

    #[test]
    fn a_procedure_executed_in_a_batch_ends_in_doneproc() {
        let bytes = answer(Style::Batch, vec![Output::ReturnStatus(4), Output::Done(None)]);
        assert_eq!(bytes, [&[0x79, 4, 0, 0, 0][..], &done(0xFE, 0, 0xE0, 0)].concat());
    }

    #[test]
    fn an_aborted_answer_ends_with_the_error_bit_and_without_the_done_held_back() {
        let mut response = Response::new(Style::Batch, "", "");
        response.push(rows(&[]));
        response.abort();
        assert_eq!(response.take(), [META, &done(0xFD, 2, 0, 0)].concat());
    }

    #[test]
    fn a_value_that_its_column_cannot_hold_is_error_8114_and_no_row() {
        let bytes = answer(Style::Batch, vec![rows(&[1, 256])]);
        assert!(!bytes.windows(2).any(|two| two == [0xD1, 2]));
        assert_eq!(bytes[bytes.len() - 13..], done(0xFD, 0x12, 0xC1, 1));
    }

    #[test]
    fn class_20_and_above_closes_the_connection() {
        let mut response = Response::new(Style::Batch, "", "");
        response.push(error(1));
        assert!(!response.fatal());
        response.push(Output::Message(Message::new(596, 21, "")));
        assert!(response.fatal());
    }

    #[test]
    fn a_change_of_database_names_the_old_one() {
        let bytes = answer(Style::Batch, vec![Output::Database("b".into())]);
        assert_eq!(bytes[..9], [0xE3, 17, 0, 1, 1, b'b', 0, 6, b'm']);
    }
}
