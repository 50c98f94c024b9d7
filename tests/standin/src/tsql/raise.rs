//! THROW and RAISERROR, and how values are shown.

use super::{
    run::Raised,
    session::{Out, Session},
};
use crate::{
    errors::{Message, SqlResult},
    value::{Output, Value},
};
use sqlparser::ast::Expr;

impl Session {
    /// THROW always ends the batch.
    pub(super) fn throw(&mut self, parts: Option<&(Expr, Expr, Expr)>) -> SqlResult<Raised> {
        let message = match parts {
            None => self.caught.last().cloned().ok_or_else(|| {
                Message::new(
                    10_704,
                    15,
                    "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, or add error parameters to the THROW statement.",
                )
            })?,
            Some((number, text, state)) => {
                let number = i32::try_from(self.integer(number)?).unwrap_or(0);
                if number < 50_000 {
                    return Err(Message::new(
                        35_100,
                        16,
                        format!(
                            "Error number {number} in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647."
                        ),
                    ));
                }
                let (text, _) = self.scalar(text)?;
                let state = u8::try_from(self.integer(state)?).unwrap_or(1);
                Message::new(number, 16, shown(&text)).state(state)
            }
        };
        Ok(Raised { message, ends: true, shown: false })
    }

    pub(super) fn raise_error(&mut self, arguments: &[Expr], out: Out<'_>) -> Result<(), Raised> {
        let [text, severity, state, rest @ ..] = arguments else {
            return Err(Message::new(102, 15, "Incorrect syntax near 'RAISERROR'.").into());
        };
        let (text, kind) = self.scalar(text)?;
        let class = u8::try_from(self.integer(severity)?.clamp(0, 25)).unwrap_or(16);
        let state = u8::try_from(self.integer(state)?.clamp(0, 255)).unwrap_or(1);
        let mut values = Vec::new();
        for value in rest {
            values.push(shown(&self.scalar(value)?.0));
        }
        let number = if super::kind::is_text(kind) { 50_000 } else { self.integer_of(&text) };
        let message = Message::new(number, class, formatted(&shown(&text), &values)).state(state);
        if message.class > 18 && !self.is_sysadmin() {
            return Err(Message::new(2754, 16, "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH LOG option.").into());
        }
        if message.is_error() && (self.tries > 0 || message.class >= 20) {
            return Err(Raised { ends: true, message, shown: false });
        }
        self.error = if message.is_error() { number } else { 0 };
        let error = message.is_error();
        self.show(message, out);
        if error {
            out(Output::Done(None));
        }
        Ok(())
    }

    fn integer_of(&self, value: &Value) -> i32 {
        if let Value::Int(number) = value { i32::try_from(*number).unwrap_or(50_000) } else { 50_000 }
    }
}

/// A value as PRINT shows it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bit(bit) => i32::from(*bit).to_string(),
        Value::Int(int) => int.to_string(),
        Value::Float(float) => super::convert::float_text(*float),
        Value::Decimal(decimal) => decimal.to_string(),
        Value::Text(text) => text.clone(),
        Value::Binary(bytes) => format!("0x{}", super::convert::to_hex(bytes)),
        Value::Guid(guid) => guid.to_string().to_uppercase(),
        Value::DateTime(micros) => super::convert::moment_text(*micros),
    }
}

/// `%s`, `%d` and `%i` of RAISERROR.
fn formatted(text: &str, values: &[String]) -> String {
    let mut result = String::new();
    let mut values = values.iter();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('%', Some('%')) => {
                chars.next();
                result.push('%');
            }
            ('%', Some('s' | 'd' | 'i' | 'u' | 'x')) => {
                chars.next();
                result.push_str(values.next().map_or("(null)", String::as_str));
            }
            _ => result.push(c),
        }
    }
    result
}
