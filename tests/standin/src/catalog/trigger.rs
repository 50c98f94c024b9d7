//! Triggers of the server, which `master` keeps: a replica has its own, whatever its groups do.

use super::{Catalog, cannot};
use crate::{
    errors::{Message, SqlResult},
    tsql::{ast::Definition, schema::object_id},
};
use serde::{Deserialize, Serialize};

/// A logon trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Name as written.
    pub name: String,
    /// `object_id`
    pub id: i64,
    /// The statement that made it.
    pub text: String,
    /// What it runs.
    pub body: String,
    /// The login that it runs as. `None`: whoever logs in.
    pub runs_as: Option<i32>,
    /// `is_disabled`
    pub disabled: bool,
    /// Microseconds since 1970.
    pub created: i64,
    /// Microseconds since 1970.
    pub modified: i64,
}

/// What CREATE and ALTER TRIGGER say.
#[derive(Clone, Debug)]
pub struct TriggerText<'a> {
    /// Name.
    pub name: &'a str,
    /// The whole statement.
    pub text: &'a str,
    /// What it runs.
    pub body: &'a str,
    /// The login that it runs as.
    pub runs_as: Option<i32>,
}

/// 1088
fn not_found(name: &str) -> Message {
    Message::new(
        1088,
        16,
        format!("Cannot find the object \"{name}\" because it does not exist or you do not have permissions."),
    )
    .state(120)
}

impl Catalog {
    /// CREATE, CREATE OR ALTER and ALTER TRIGGER. A new one is enabled. `enables`: ALTER enables it, too. Errors: 2714,
    /// 208.
    pub fn create_trigger(&self, what: &TriggerText<'_>, how: Definition, enables: bool, now: i64) -> SqlResult<()> {
        let name = what.name;
        self.change(|data| {
            let key = name.to_lowercase();
            let (id, created, disabled) = match (data.triggers.get(&key), how) {
                (Some(_), Definition::Create) => {
                    let text = format!("There is already an object named '{name}' in the database.");
                    return Err(Message::new(2714, 16, text).state(2));
                }
                (None, Definition::Alter) => {
                    return Err(Message::new(208, 16, format!("Invalid object name '{name}'.")).state(6));
                }
                (Some(old), _) => (old.id, old.created, old.disabled && !enables),
                (None, _) => (object_id(&format!("{name} {now}")), now, false),
            };
            let trigger = Trigger {
                name: name.into(),
                id,
                text: what.text.into(),
                body: what.body.into(),
                runs_as: what.runs_as,
                disabled,
                created,
                modified: now,
            };
            data.triggers.insert(key, trigger);
            Ok(())
        })
    }

    /// DROP TRIGGER; 3701 when it is not there, and then none of them is dropped.
    pub fn drop_triggers(&self, names: &[String], if_exists: bool) -> SqlResult<()> {
        self.change(|data| {
            for name in names {
                if data.triggers.remove(&name.to_lowercase()).is_none() && !if_exists {
                    let Message { class: _, text, .. } = cannot("drop", "trigger", name);
                    return Err(Message::new(3701, 11, text).state(5));
                }
            }
            Ok(())
        })
    }

    /// ENABLE and DISABLE TRIGGER; without names all of them. 1088 when one is not there.
    pub fn switch_triggers(&self, names: &[String], enabled: bool) -> SqlResult<()> {
        self.change(|data| {
            if let Some(name) = names.iter().find(|name| !data.triggers.contains_key(&name.to_lowercase())) {
                return Err(not_found(name));
            }
            for (key, trigger) in &mut data.triggers {
                if names.is_empty() || names.iter().any(|name| name.to_lowercase() == *key) {
                    trigger.disabled = !enabled;
                }
            }
            Ok(())
        })
    }
}
