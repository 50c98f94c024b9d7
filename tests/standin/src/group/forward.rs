//! The forwarder: the primary replica of the secondary side of a distributed group. It takes the log of the other side as a
//! secondary does, and its own group hands it on (SQL Server docs, "Distributed availability groups").

use super::{
    config::Config,
    follow::Following,
    primary,
    roles::{Group, Role},
    transport::Frame,
};
use crate::{instance::Shared, store::database::Database};
use std::{io, sync::Arc};

/// `SUSPEND_FROM_REVALIDATION`
const MISMATCH: u8 = 7;

/// How far a database is hardened on this side, and how far it is redone. A side that commits synchronously has hardened
/// what every synchronized copy of its group has, and every side behind it.
fn hardened(shared: &Arc<Shared>, link: &Arc<Group>, database: &Arc<Database>) -> (u64, u64) {
    let (end, applied) = database.positions();
    if !synchronous(link) {
        return (end, applied);
    }
    let of_others = |group: &Arc<Group>| {
        let state = group.state();
        let marked = state.committed.synchronized(database.name(), &group.me);
        let waits = state.role == Role::Primary;
        let ends = marked.into_iter().filter(|_| waits).map(|name| {
            let partner = state.partners.get(name);
            partner.and_then(|partner| partner.hardened.get(database.name())).copied().unwrap_or(0)
        });
        ends.min()
    };
    let behind = shared.links_of(&link.me).into_iter().filter(|other| other.name != link.name);
    let groups = shared.group(&link.me).into_iter().chain(behind);
    (groups.filter_map(|group| of_others(&group)).min().unwrap_or(end).min(end), applied)
}

/// Whether this side commits synchronously, as it says itself: the other side has its own word on it.
fn synchronous(link: &Group) -> bool {
    link.state().copy.config.replicas.get(&link.me).is_some_and(|own| own.availability_mode == 1)
}

impl Following<'_> {
    /// The other side's databases; its members and options are its own.
    pub(super) fn configure_side(&mut self, config: Config) -> io::Result<Vec<Frame>> {
        let number = config.number;
        let me = &self.group.me;
        self.group.as_secondary(self.reign, |state| {
            let take = |copy: &mut super::Copy| {
                copy.suspend_pending(&config.databases, me);
                copy.config.databases.clone_from(&config.databases);
            };
            self.group.persist(state, take).map_err(io::Error::other)?;
            state.following = Some(self.partner.into());
            state.last_primary = Some(self.partner.into());
            Ok(())
        })?;
        let gone: Vec<String> = {
            let state = self.group.state();
            state.copy.local.iter().filter(|name| !config.databases.contains_key(*name)).cloned().collect()
        };
        for name in gone {
            super::sides::give_up(self.shared, self.group, &name).map_err(io::Error::other)?;
        }
        self.told.retain(|told| config.databases.contains_key(told));
        self.group.touch();
        let mut answers = vec![Frame::Accepted(number), Frame::Synchronous(synchronous(self.group))];
        let suspended = self.group.state().copy.suspended.clone();
        answers.extend(
            suspended.iter().map(|(database, reason)| Frame::Suspended { database: database.clone(), reason: *reason }),
        );
        let new = config.databases.keys().filter(|name| !self.told.contains(name) && !suspended.contains_key(*name));
        for database in new.cloned().collect::<Vec<_>>() {
            self.told.push(database.clone());
            let forks = self.forks(&database)?;
            answers.push(Frame::Position { database, forks });
        }
        Ok(answers)
    }

    /// The forks of the copy that the local group has; none: it wants an image.
    fn forks(&self, database: &str) -> io::Result<Vec<(u64, u64)>> {
        let of_member = self.shared.group_of(database).is_some_and(|group| group.name == self.group.me);
        let Some(local) = self.shared.database(database).filter(|_| of_member) else { return Ok(vec![]) };
        self.group.as_secondary(self.reign, |state| {
            let join = |copy: &mut super::Copy| {
                copy.local.insert(database.to_string());
            };
            self.group.persist(state, join).map_err(io::Error::other)?;
            Ok(local.forks())
        })
    }

    /// Records, and the cut before them.
    pub(super) fn forward(&mut self, frame: Frame) -> io::Result<Vec<Frame>> {
        match frame {
            Frame::Cut { database, lsn } => {
                let Some(local) = self.shared.database(&database) else { return Ok(vec![]) };
                let shorter = lsn < local.end();
                if shorter && self.shared.faults.get().forwarder_ahead_is_stuck {
                    return self.get_ahead(database);
                }
                let cut = self.group.as_secondary(self.reign, |_| {
                    local.throw_out();
                    Ok(local.cut(lsn).is_ok())
                })?;
                if !cut {
                    return Ok(vec![Frame::Position { database, forks: vec![] }]);
                }
                if let Some(member) = self.shared.group(&self.group.me).filter(|_| shorter) {
                    // Its secondaries have what was cut: they say anew where they are.
                    member.drop_sessions();
                }
                Ok(vec![self.report(&local)])
            }
            Frame::Records { database, records, acknowledged } => {
                let Some(local) = self.shared.database(&database) else { return Ok(vec![]) };
                let taken = self.group.as_secondary(self.reign, |state| {
                    if !state.copy.local.contains(&database) || state.copy.suspended.contains_key(&database) {
                        return Ok(false);
                    }
                    local.receive(&records)?;
                    local.redo(acknowledged).map_err(io::Error::other)?;
                    Ok(true)
                })?;
                // Its own group hands it on.
                self.group.touch();
                Ok(if taken { vec![self.report(&local)] } else { vec![] })
            }
            other => Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }

    /// It has log that the other side does not have: a log change mismatch on reconnection, suspend reason 7.
    fn get_ahead(&mut self, database: String) -> io::Result<Vec<Frame>> {
        tracing::error!(group = self.group.name, database, "data movement has been suspended (35264): the log differs");
        self.group.as_secondary(self.reign, |state| {
            let suspend = |copy: &mut super::Copy| {
                copy.suspended.insert(database.clone(), MISMATCH);
            };
            self.group.persist(state, suspend).map_err(io::Error::other)
        })?;
        Ok(vec![Frame::Suspended { database, reason: MISMATCH }])
    }

    fn report(&mut self, local: &Arc<Database>) -> Frame {
        let (lsn, redone) = hardened(self.shared, self.group, local);
        self.reported.insert(local.name().into(), (lsn, redone));
        Frame::Hardened { database: local.name().into(), lsn, redone }
    }

    /// What the copies of this side have hardened since it was told last, and whether it commits synchronously.
    pub(super) fn progress(&mut self) -> Vec<Frame> {
        let mut news = vec![];
        let local: Vec<String> = self.group.state().copy.local.iter().cloned().collect();
        for database in local.iter().filter_map(|name| self.shared.database(name)) {
            let now = hardened(self.shared, self.group, &database);
            if self.reported.get(database.name()).is_some_and(|told| *told != now) {
                news.push(self.report(&database));
            }
        }
        news
    }
}

/// The databases of a group are those of its replicas again, or a forwarder's: whoever writes in them is thrown out.
pub(super) fn change_hands(shared: &Arc<Shared>, member: &Arc<Group>) {
    let local: Vec<String> = {
        let mut state = member.state();
        state.reign += 1;
        state.fork = shared.random();
        state.copy.local.iter().cloned().collect()
    };
    for database in local.iter().filter_map(|name| shared.database(name)) {
        database.set_owner(Some(primary::owner(member)));
    }
    member.touch();
}
