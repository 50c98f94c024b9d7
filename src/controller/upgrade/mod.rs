//! The loop of one staged upgrade: see, decide, act, tell. Start at [`pass`].
//!
//! | File | What it holds |
//! |---|---|
//! | `slot.rs` | one of its groups: looks at every replica |
//! | `see.rs` | everything one pass sees |
//! | `act.rs` | the acts of a plan |
//! | `told.rs` | what people read |

mod act;
mod see;
mod slot;
mod told;

use super::{Shared, backoff::Backoff, bells::Key, beside::Running, reconcile::Next};
use crate::{
    api::{self, RollingUpgrade, v1alpha1::upgrade_status::RollingUpgradeStatus},
    decide::upgrade::{self, Observation, Plan, Reason, Record, SqlStep, Step, seen::Answer},
    k8s,
    model::{Slot, upgrade::Wish},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Pause when there is nothing to decide by.
const AGAIN: Duration = Duration::from_secs(1);
/// Shortest pause between two passes.
pub const SHORTEST: Duration = Duration::from_millis(10);

/// What this process remembers of an upgrade between passes. Nothing here is needed for safety.
#[derive(Default)]
pub struct Memory {
    uid: Option<String>,
    slots: BTreeMap<Slot, slot::Memory>,
    around: Option<(Instant, see::Around)>,
    /// Answers to the queries of an attempt.
    answers: (u32, Vec<Answer>),
    quiet: u32,
    level: u32,
    running: Vec<Running<SqlStep>>,
    told: Option<RollingUpgradeStatus>,
    reason: Option<(Step, Reason)>,
    backoff: Backoff,
}

/// One pass.
pub async fn pass(shared: &Shared, key: &Key, memory: &mut Memory) -> Next {
    if shared.stores.upgrade(key).is_none() {
        return Next::Gone;
    }
    if shared.permits.permit().is_none() {
        return Next::After(AGAIN);
    }
    // Every pass decides by the object as it is now: the record is what everything hangs on.
    let object = match shared.kube.rolling_upgrade(&key.0, &key.1).await {
        Ok(Some(object)) if object.metadata.deletion_timestamp.is_none() => object,
        Ok(_) => return Next::After(AGAIN),
        Err(error) => return unread(&key.1, &error, memory),
    };
    if memory.uid != object.metadata.uid {
        *memory = Memory { uid: object.metadata.uid.clone(), ..Memory::default() };
    }
    let (record, wish, refusal) = match read(&object) {
        Ok(read) => read,
        Err(refusals) => {
            write(shared, &object, told::refused(&object, &refusals, shared.wall()), memory).await;
            return Next::After(AGAIN);
        }
    };
    act::collect(memory).await;
    let seen = match see::see(shared, &object, wish, record, memory).await {
        Ok(seen) => seen,
        Err(error) => return unread(&key.1, &error, memory),
    };
    let plan = upgrade::decide(&seen);
    let mut actor = act::Actor { shared, object, seen: &seen, notes: 0 };
    let done = actor.act(&plan, memory).await;
    tell(shared, &actor.object, &seen, &plan, refusal.as_deref(), memory).await;
    log(&seen, &plan, &done, memory);
    if done.failed {
        return Next::After(memory.backoff.failed(plan.recheck));
    }
    memory.backoff.reset();
    Next::After(plan.recheck.max(SHORTEST))
}

fn unread(name: &str, error: &k8s::Error, memory: &mut Memory) -> Next {
    tracing::warn!(upgrade = name, %error, "not read; nothing is done");
    Next::After(memory.backoff.failed(Duration::ZERO))
}

/// The record in a status. Error: one that cannot be read; it says what was done, so that nothing is without it.
fn record_of(object: &RollingUpgrade) -> Result<Option<Record>, String> {
    let Some(record) = object.status.as_ref().and_then(|status| status.record.clone()) else { return Ok(None) };
    serde_json::from_value(record.into_iter().collect()).map(Some).map_err(|error| {
        format!("status.record cannot be read: {error}; nothing is done; to open production delete this RollingUpgrade")
    })
}

/// The record and the wish of this attempt. While one is under way, what it began with: of a changed spec only approvals and
/// abort count. With them a sentence about what does not count. Error: what cannot be read.
fn read(object: &RollingUpgrade) -> Result<(Option<Record>, Wish, Option<String>), String> {
    let record = record_of(object)?;
    // After an attempt that went back, what the spec says now is the next one's.
    let attempt = record.as_ref().filter(|record| record.step != Step::RolledBack);
    let Some(frozen) = attempt.map(|record| record.inputs.wish.clone()) else {
        let wish = api::parse_upgrade(object).map_err(|refusals| refusals.to_string())?;
        return Ok((record, wish, None));
    };
    Ok(match api::parse_upgrade(object) {
        Ok(wish) => {
            let (approved, abort, discards) = (wish.approved.clone(), wish.abort, wish.discards);
            let mine = Wish { approved, abort, discards, ..frozen };
            let ignored = (mine != wish).then(|| {
                "spec was changed after the attempt began: of the changes only approved, abort and discardStageWrites \
                 count now, the rest in the next attempt"
                    .to_string()
            });
            (record, mine, ignored)
        }
        Err(refusals) => (record, frozen, Some(refusals.to_string())),
    })
}

async fn tell(
    shared: &Shared,
    object: &RollingUpgrade,
    seen: &Observation,
    plan: &Plan,
    refusal: Option<&str>,
    memory: &mut Memory,
) {
    let record = record_of(object).ok().flatten();
    let status = told::status(object, seen, record.as_ref(), plan, refusal, shared.wall());
    write(shared, object, status, memory).await;
}

async fn write(shared: &Shared, object: &RollingUpgrade, status: RollingUpgradeStatus, memory: &mut Memory) {
    if memory.told.as_ref() == Some(&status) {
        return;
    }
    let value = serde_json::to_value(&status).unwrap_or_default();
    match shared.kube.upgrade_status(object, &value).await {
        Ok(_) => memory.told = Some(status),
        Err(error) => {
            tracing::warn!(upgrade = object.metadata.name, %error, "status not written");
            memory.told = None;
        }
    }
}

/// One line per pass that did something, or saw something new.
fn log(seen: &Observation, plan: &Plan, done: &act::Done, memory: &mut Memory) {
    let now = Some((plan.step, plan.reason));
    if !done.acts.is_empty() || memory.reason != now {
        tracing::info!(
            namespace = seen.wish.namespace,
            upgrade = seen.wish.name,
            step = ?plan.step,
            reason = %plan.reason,
            message = plan.message,
            acts = done.acts.join("; "),
            "pass"
        );
    }
    memory.reason = now;
}
