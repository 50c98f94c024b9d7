//! Arguments of a system procedure.

use crate::{
    errors::{Message, SqlResult},
    tsql::raise::shown,
    value::{Parameter, Value},
};

/// Arguments by name or position.
pub(super) struct Given<'a> {
    pub procedure: &'a str,
    pub parameters: &'a [Parameter],
    pub names: &'a [&'a str],
}

impl Given<'_> {
    pub fn value(&self, name: &str) -> Option<&Value> {
        let index = self.names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let named = self.parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name));
        let positional = index.and_then(|index| self.parameters.get(index)).filter(|p| p.name.is_empty());
        named.or(positional).map(|parameter| &parameter.value).filter(|value| **value != Value::Null)
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(shown)
    }

    pub fn needed(&self, name: &str) -> SqlResult<String> {
        self.text(name).ok_or_else(|| {
            Message::new(
                201,
                16,
                format!(
                    "Procedure or function '{}' expects parameter '{name}', which was not supplied.",
                    self.procedure
                ),
            )
            .state(4)
        })
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Int(value) => Some(*value),
            other => shown(other).parse().ok(),
        }
    }

    /// 8145 for a name that the procedure does not have.
    pub fn check(&self) -> SqlResult<()> {
        let known = |name: &str| name.is_empty() || self.names.iter().any(|known| known.eq_ignore_ascii_case(name));
        match self.parameters.iter().find(|parameter| !known(&parameter.name)) {
            None => Ok(()),
            Some(wrong) => Err(Message::new(
                8145,
                16,
                format!("{} is not a parameter for procedure {}.", wrong.name, self.procedure),
            )),
        }
    }
}
