//! SET options, KILL, transactions.

use super::{ast::TransactionStatement, parse::not_supported, session::Session};
use crate::{
    errors::{Message, SqlResult},
    instance::Transaction,
    views::SYSTEM_SESSIONS,
};
use std::time::Duration;

impl Session {
    pub(super) fn set_option(&mut self, option: &str, value: &str) -> SqlResult<()> {
        let on = value == "ON";
        match option {
            "XACT_ABORT" => self.xact_abort = on,
            "LOCK_TIMEOUT" => {
                let millis: i64 = value.replace(' ', "").parse().unwrap_or(-1);
                self.lock_timeout = u64::try_from(millis).ok().map(Duration::from_millis);
            }
            "IDENTITY_INSERT" => {
                let table = value.trim_end_matches(" ON").trim_end_matches(" OFF").replace(' ', "");
                let table = super::parse::object_name(&table)?.name.to_lowercase();
                self.identity_insert = value.ends_with("ON").then_some(table);
            }
            "NOCOUNT"
            | "ANSI_NULLS"
            | "ANSI_PADDING"
            | "ANSI_WARNINGS"
            | "ARITHABORT"
            | "QUOTED_IDENTIFIER"
            | "CONCAT_NULL_YIELDS_NULL"
            | "ANSI_NULL_DFLT_ON"
            | "NUMERIC_ROUNDABORT"
            | "TEXTSIZE"
            | "LANGUAGE"
            | "DATEFORMAT"
            | "DATEFIRST"
            | "TRANSACTION"
            | "DEADLOCK_PRIORITY"
            | "CURSOR_CLOSE_ON_COMMIT"
            | "STATISTICS"
            | "ANSI_DEFAULTS" => {}
            "IMPLICIT_TRANSACTIONS" | "FMTONLY" | "NOEXEC" | "PARSEONLY" if !on => {}
            "ROWCOUNT" if value == "0" => {}
            _ => return Err(not_supported(&format!("SET {option} {value}"))),
        }
        Ok(())
    }

    /// KILL returns at once; the other session ends at its own place. 6102, 6104, 6106, 6107 for a session of the server
    /// itself, 6115 (sys.messages).
    pub(super) fn kill(&mut self, spid: i64) -> SqlResult<()> {
        self.need_server("ALTER ANY CONNECTION", || {
            Message::new(6102, 14, "User does not have permission to use the KILL statement.")
        })?;
        if spid == i64::from(self.entry.spid) {
            return Err(Message::new(6104, 16, "Cannot use KILL to kill your own process."));
        }
        if self.depth > 0 {
            return Err(Message::new(6115, 16, "KILL command cannot be used inside user transactions."));
        }
        if SYSTEM_SESSIONS.iter().any(|(own, ..)| *own == spid) {
            return Err(Message::new(6107, 14, "Only user processes can be killed."));
        }
        if self.server.kill(spid) {
            Ok(())
        } else {
            Err(Message::new(6106, 16, format!("Process ID {spid} is not an active process ID.")))
        }
    }

    /// BEGIN, COMMIT, ROLLBACK, also for the driver.
    pub(super) async fn transaction_statement(&mut self, statement: TransactionStatement) -> Result<(), Message> {
        match statement {
            TransactionStatement::Begin => {
                self.set_depth(self.depth + 1);
                Ok(())
            }
            TransactionStatement::Rollback => {
                if self.depth == 0 {
                    return Err(Message::new(
                        3903,
                        16,
                        "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
                    ));
                }
                self.roll_back();
                Ok(())
            }
            TransactionStatement::Commit => {
                if self.depth == 0 {
                    return Err(Message::new(
                        3902,
                        16,
                        "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
                    ));
                }
                if self.doomed {
                    return Err(Message::new(
                        3930,
                        16,
                        "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
                    ));
                }
                if self.depth > 1 {
                    self.set_depth(self.depth - 1);
                    return Ok(());
                }
                // The transaction is open until the commit is done, whoever waits for it.
                self.depth = 0;
                let spid = self.entry.spid;
                let result = match self.transaction.take() {
                    Some(open) => self.commit(open.inner).await,
                    None => Ok(()),
                };
                self.set_depth(0);
                self.server.release_locks(|held| held.spid == spid && held.by_transaction);
                result
            }
        }
    }

    /// Commits. A session that ends meanwhile is seen until the commit is done: KILL does not take it back.
    pub(super) async fn commit(&self, transaction: Transaction) -> SqlResult<()> {
        let (presence, entry) = (self.presence.clone(), self.entry.clone());
        let work = tokio::spawn(async move {
            let result = transaction.commit().await;
            let mut activity = entry.activity();
            (activity.depth, activity.transaction) = (0, None);
            drop((activity, presence));
            result
        });
        let ended =
            |_| Message::new(596, 21, "Cannot continue the execution because the session is in the kill state.");
        work.await.map_err(ended)?
    }

    /// `@@TRANCOUNT` changes; the first BEGIN gives the transaction its number.
    pub(super) fn set_depth(&mut self, depth: u32) {
        self.depth = depth;
        let mut activity = self.entry.activity();
        activity.depth = depth;
        activity.transaction = match (depth, activity.transaction) {
            (0, _) => None,
            (_, Some(open)) => Some(open),
            _ => Some((self.server.next_transaction(), self.server.now())),
        };
    }

    /// Ends the transaction without it.
    pub(super) fn roll_back(&mut self) {
        self.transaction = None;
        self.set_depth(0);
        self.doomed = false;
        let spid = self.entry.spid;
        self.server.release_locks(|held| held.spid == spid && held.by_transaction);
    }
}
