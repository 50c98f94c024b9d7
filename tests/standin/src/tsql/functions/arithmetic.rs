//! Operators on numbers, with SQL Server's types: text beside a number is a number, integers stay integers.

use super::{Arguments, arg, float, number};
use crate::errors::{Message, SqlResult};
use rusqlite::types::Value;

fn overflow() -> Message {
    Message::new(8115, 16, "Arithmetic overflow error converting expression to data type bigint.").state(2)
}

/// Brings text to the number beside it, as SQL Server's precedence of types demands.
fn numeric(value: &Value) -> SqlResult<Value> {
    let Value::Text(text) = value else { return Ok(value.clone()) };
    let int = text.trim().parse().map(Value::Integer);
    int.or_else(|_| text.trim().parse().map(Value::Real)).map_err(|_| {
        Message::new(245, 16, format!("Conversion failed when converting the varchar value '{text}' to data type int."))
    })
}

pub(super) fn arithmetic(arguments: Arguments<'_>, operator: &str) -> SqlResult<Value> {
    let (left, right) = (arg(arguments, 0), arg(arguments, 1));
    match (&left, &right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Text(a), Value::Text(b)) if operator == "+" => return Ok(Value::Text(format!("{a}{b}"))),
        (Value::Blob(a), Value::Blob(b)) if operator == "+" => return Ok(Value::Blob([a.as_slice(), b].concat())),
        _ => {}
    }
    let (left, right) = (numeric(&left)?, numeric(&right)?);
    let zero = matches!(&right, Value::Integer(0)) || matches!(&right, Value::Real(r) if *r == 0.0);
    if zero && matches!(operator, "/" | "%") {
        return Err(Message::new(8134, 16, "Divide by zero error encountered."));
    }
    if let (Value::Integer(a), Value::Integer(b)) = (&left, &right) {
        let result = match operator {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "/" => a.checked_div(*b),
            _ => a.checked_rem(*b),
        };
        return result.map(Value::Integer).ok_or_else(overflow);
    }
    let (Some(a), Some(b)) = (float(&left), float(&right)) else {
        return Err(Message::new(402, 16, format!("The data types are incompatible in the {operator} operator.")));
    };
    Ok(Value::Real(match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => a % b,
    }))
}

/// AVG of integers is an integer.
pub(super) fn average(arguments: Arguments<'_>) -> SqlResult<Value> {
    Ok(match (arg(arguments, 0), arg(arguments, 1)) {
        (_, Value::Integer(0)) | (Value::Null, _) => Value::Null,
        (Value::Integer(sum), Value::Integer(count)) => Value::Integer(sum / count),
        (sum, count) => float(&sum).zip(float(&count)).map_or(Value::Null, |(sum, count)| Value::Real(sum / count)),
    })
}

pub(super) fn round(arguments: Arguments<'_>) -> SqlResult<Value> {
    let digits = float(&arg(arguments, 1)).unwrap_or(0.0).clamp(-18.0, 18.0) as i32;
    number(arguments, |i| i, |f| f).map(|value| {
        let scale = 10f64.powi(digits);
        match value {
            Value::Real(r) => Value::Real((r * scale).round() / scale),
            Value::Integer(i) if digits < 0 => Value::Integer(((i as f64 * scale).round() / scale) as i64),
            other => other,
        }
    })
}
