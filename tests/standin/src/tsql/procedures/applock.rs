//! Application locks: `sp_getapplock` and `sp_releaseapplock`.

use super::given::Given;
use crate::{
    errors::{Message, SqlResult},
    server::AppLock,
    tsql::{parse::not_supported, session::Session},
};
use std::{sync::PoisonError, time::Duration};

/// Key of an application lock: its database and name, which is compared by its bytes.
pub fn lock_key(database: &str, resource: &str) -> String {
    format!("{}\u{0}{resource}", database.to_lowercase())
}

impl Session {
    /// 0 granted, 1 granted after a wait, -1 timeout.
    pub(super) async fn get_lock(&mut self, given: &Given<'_>) -> SqlResult<i32> {
        let key = lock_key(&self.database, &given.needed("@Resource")?);
        let mode = given.needed("@LockMode")?.to_lowercase();
        let exclusive = match mode.as_str() {
            "exclusive" => true,
            "shared" => false,
            _ => return Err(not_supported(&format!("The lock mode {mode}"))),
        };
        let owner = given.text("@LockOwner").unwrap_or_else(|| "Transaction".into());
        let by_transaction = owner.eq_ignore_ascii_case("Transaction");
        if by_transaction && self.depth == 0 {
            return Err(Message::new(
                1222,
                16,
                "The statement or function must be executed in the context of a user transaction.",
            )
            .state(1));
        }
        let default = self.lock_timeout.and_then(|limit| i64::try_from(limit.as_millis()).ok()).unwrap_or(-1);
        let limit = given.integer("@LockTimeout").unwrap_or(default);
        let wanted = AppLock { spid: self.entry.spid, exclusive, count: 1, by_transaction };
        if self.try_lock(&key, wanted) {
            return Ok(0);
        }
        let waiting = async {
            loop {
                let given_back = self.server.unlocked.notified();
                tokio::pin!(given_back);
                given_back.as_mut().enable();
                if self.try_lock(&key, wanted) {
                    return;
                }
                given_back.await;
            }
        };
        match u64::try_from(limit) {
            Ok(0) => Ok(-1),
            Ok(millis) => {
                let granted = tokio::time::timeout(Duration::from_millis(millis), waiting).await.is_ok();
                Ok(if granted { 1 } else { -1 })
            }
            Err(_) => {
                waiting.await;
                Ok(1)
            }
        }
    }

    fn try_lock(&self, key: &str, wanted: AppLock) -> bool {
        let mut locks = self.server.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = locks.entry(key.to_string()).or_default();
        let blocked = holders.iter().any(|held| held.spid != wanted.spid && (held.exclusive || wanted.exclusive));
        if blocked {
            return false;
        }
        match holders.iter_mut().find(|held| held.spid == wanted.spid) {
            Some(held) => {
                held.count += 1;
                held.exclusive |= wanted.exclusive;
            }
            None => holders.push(wanted),
        }
        true
    }

    pub(super) fn release_lock(&mut self, resource: &str) -> SqlResult<()> {
        let key = lock_key(&self.database, resource);
        let spid = self.entry.spid;
        let mut locks = self.server.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let held = locks.get_mut(&key).and_then(|holders| holders.iter_mut().find(|held| held.spid == spid));
        let Some(held) = held else {
            return Err(Message::new(
                1223,
                16,
                format!(
                    "Cannot release the application lock (Database Principal: 'public', Resource: '{resource}') because it is not currently held."
                ),
            ));
        };
        held.count -= 1;
        let free = held.count == 0;
        if free && let Some(holders) = locks.get_mut(&key) {
            holders.retain(|held| held.spid != spid);
            if holders.is_empty() {
                locks.remove(&key);
            }
        }
        drop(locks);
        self.server.unlocked.notify_waiters();
        Ok(())
    }
}
