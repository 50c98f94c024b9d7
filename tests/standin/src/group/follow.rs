//! The secondary's side: find a primary, take its configuration, harden its log.

use super::{
    arrival::Arriving,
    config::{Config, FROM_PARTNER, ReplicaConfig},
    roles::{Group, Role, State},
    serve::{AbortOnDrop, read},
    transport::{self, Frame, Session, send_within},
};
use crate::{instance::Shared, store::database::Database};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep, timeout},
};

/// Time to reach one partner.
const DIAL: Duration = Duration::from_secs(2);
/// Pause after a round in which nobody was the primary.
const ROUND: Duration = Duration::from_millis(200);
const PING: Duration = Duration::from_secs(1);

/// Follows whichever primary can be reached, until the role changes.
pub async fn run(group: Arc<Group>) {
    let Ok(shared) = group.instance() else { return };
    let reign = group.state().reign;
    loop {
        if let Some((partner, session)) = find(&group, &shared).await {
            let result = Following::new(&group, &shared, &partner, reign).run(session).await;
            let lost = group.as_secondary(reign, |state| {
                state.following = None;
                Ok(())
            });
            if lost.is_err() {
                return;
            }
            group.touch();
            if let Err(error) = result {
                tracing::info!(group = group.name, partner, %error, "the connection to the primary replica ended (35206)");
            }
        }
        sleep(ROUND).await;
    }
}

/// Whether a primary can be reached that would be followed.
pub async fn reachable(group: &Arc<Group>) -> bool {
    match group.instance() {
        Ok(shared) => find(group, &shared).await.is_some(),
        Err(_) => false,
    }
}

/// Calls every partner at once; the first that says it is the primary, and that may be followed.
async fn find(group: &Arc<Group>, shared: &Arc<Shared>) -> Option<(String, Session)> {
    let (partners, number, ex_primary) = {
        let state = group.state();
        let others = state.copy.config.replicas.iter().filter(|(name, _)| **name != group.me);
        let partners: Vec<_> = others.filter_map(|(name, replica)| Some((name.clone(), replica.address()?))).collect();
        (partners, state.copy.config.number, state.stuck.ex_primary)
    };
    let hello = Frame::Hello { group: group.name.clone(), name: group.me.clone(), number, ex_primary };
    let mut calls: FuturesUnordered<_> = partners
        .into_iter()
        .map(|(partner, (host, port))| {
            let hello = &hello;
            async move {
                let mut session = timeout(DIAL, call(shared, &host, port, hello)).await.ok()?.ok()?;
                let answer = timeout(DIAL, transport::receive(&mut session.stream)).await.ok()?.ok()?;
                Some((partner, answer, session))
            }
        })
        .collect();
    while let Some(call) = calls.next().await {
        let Some((partner, answer, session)) = call else { continue };
        match answer {
            Frame::Welcome(config) if group.acceptable(&group.state(), config.number) => {
                return Some((partner, session));
            }
            Frame::Removed(number) if group.acceptable(&group.state(), number) => leave(group, shared),
            Frame::Stuck => group.get_stuck(),
            Frame::Refused(why) => tracing::debug!(group = group.name, partner, why, "not following"),
            _ => {}
        }
    }
    None
}

/// Opens a session and says the first word.
pub async fn call(shared: &Arc<Shared>, host: &str, port: u16, first: &Frame) -> io::Result<Session> {
    let own = shared
        .identity
        .endpoint()
        .filter(|endpoint| endpoint.started)
        .ok_or_else(|| io::Error::other("no endpoint is started here"))?;
    let stream = shared.network.dial(host, port).await?;
    let mut session = transport::connect(stream, &own).await?;
    let outbound = shared.faults.get().checks_outbound;
    let trusted =
        if outbound { shared.identity.authorize(&session.peer) } else { shared.identity.knows(&session.peer) };
    if !trusted {
        return Err(io::Error::other("the partner has no CONNECT permission on the endpoint"));
    }
    transport::send(&mut session.stream, first).await?;
    Ok(session)
}

/// This replica was removed from the group: its databases are RESTORING, and the group waits for DROP.
fn leave(group: &Arc<Group>, shared: &Arc<Shared>) {
    tracing::warn!(group = group.name, "the local replica was removed from the availability group (41059)");
    let local: Vec<String> = group.state().copy.local.iter().cloned().collect();
    for name in local {
        let _ = super::membership::leave_database(group, shared, &name, true);
    }
    let _ = group.become_role(Role::Resolving);
}

/// One session with a primary.
pub(super) struct Following<'a> {
    pub(super) group: &'a Arc<Group>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) partner: &'a str,
    pub(super) reign: u64,
    pub(super) arriving: Option<Arriving>,
    /// Databases whose position was told in this session.
    pub(super) told: Vec<String>,
    /// How far the other side of a distributed group was told that databases are hardened.
    pub(super) reported: BTreeMap<String, (u64, u64)>,
}

impl<'a> Following<'a> {
    fn new(group: &'a Arc<Group>, shared: &'a Arc<Shared>, partner: &'a str, reign: u64) -> Self {
        Self { group, shared, partner, reign, arriving: None, told: vec![], reported: BTreeMap::new() }
    }

    async fn run(mut self, session: Session) -> io::Result<()> {
        let peer = session.peer.clone();
        let (reader, mut writer) = tokio::io::split(session.stream);
        let (inbox, mut frames) = mpsc::channel(64);
        let reading = tokio::spawn(async move {
            read(reader, |frame| {
                let inbox = inbox.clone();
                async move { inbox.send(frame).await.is_ok() }
            })
            .await;
        });
        let _guard = AbortOnDrop(reading.abort_handle());
        let identity = &self.shared.identity;
        let (mut grants, mut changes) = (identity.changes(), self.group.changes());
        let (stops, again) = (identity.stops(), self.group.state().again);
        let mut ping = interval(PING);
        let mut heard = Instant::now();
        loop {
            let limit = self.limit();
            tokio::select! {
                biased;
                frame = frames.recv() => {
                    heard = Instant::now();
                    let answers = self.hear(frame.ok_or(io::ErrorKind::UnexpectedEof)?)?;
                    for answer in answers {
                        send_within(&mut writer, &answer, limit).await?;
                    }
                }
                changed = changes.changed() => {
                    changed.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    if self.group.state().again != again {
                        return Err(io::Error::other("it opens its session anew"));
                    }
                    let news = if self.group.distributed { self.progress() } else { self.suspensions()? };
                    for answer in news {
                        send_within(&mut writer, &answer, limit).await?;
                    }
                }
                _ = grants.changed() => {
                    if self.shared.faults.get().deny_cuts_connections && !identity.authorize(&peer) {
                        return Err(io::Error::other("the partner lost CONNECT on the endpoint"));
                    }
                    if identity.stops() != stops || identity.endpoint().is_none_or(|endpoint| !endpoint.started) {
                        return Err(io::Error::other("the endpoint was stopped"));
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > limit {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "a connection timeout has occurred"));
                    }
                    send_within(&mut writer, &Frame::Ping, limit).await?;
                }
            }
        }
    }

    fn limit(&self) -> Duration {
        let state = self.group.state();
        Duration::from_secs(state.copy.config.replicas.get(&self.group.me).map_or(10, ReplicaConfig::seconds))
    }

    /// Does what a frame says and returns what to answer.
    fn hear(&mut self, frame: Frame) -> io::Result<Vec<Frame>> {
        match frame {
            Frame::Configure { config, .. } if self.group.distributed => self.configure_side(*config),
            Frame::Configure { config, committed } => self.configure(*config, committed),
            Frame::Cut { .. } | Frame::Records { .. } if self.group.distributed => self.forward(frame),
            Frame::Cut { database, lsn } => {
                let Some(local) = self.shared.database(&database) else { return Ok(vec![]) };
                self.group.as_secondary(self.reign, |_| {
                    local.throw_out();
                    match local.cut(lsn) {
                        Ok(()) => Ok(vec![position(&local)]),
                        Err(_) => Ok(vec![Frame::Position { database, forks: vec![] }]),
                    }
                })
            }
            Frame::Records { database, records, acknowledged } => {
                let Some(local) = self.shared.database(&database) else { return Ok(vec![]) };
                self.group.as_secondary(self.reign, |state| {
                    if state.copy.suspended.contains_key(&database) || !state.copy.local.contains(&database) {
                        return Ok(vec![]);
                    }
                    local.receive(&records)?;
                    local.redo(acknowledged).map_err(io::Error::other)?;
                    Ok(vec![position(&local)])
                })
            }
            Frame::Backups { database, log_chain, log_backup, truncated } => {
                let local = self.shared.database(&database);
                self.group.as_secondary(self.reign, |state| {
                    if let Some(local) = local.filter(|_| state.copy.local.contains(&database)) {
                        self.shared.set_backups(&database, (log_chain, log_backup)).map_err(io::Error::other)?;
                        local.truncate_log(truncated)?;
                    }
                    Ok(vec![])
                })
            }
            Frame::Image { database, lsn, fork, size } => self.image(database, lsn, fork, size),
            Frame::Chunk(chunk) => {
                let Some(mut image) = self.arriving.take() else { return Err(io::Error::other("a chunk of nothing")) };
                image.bytes.extend(chunk);
                self.land(image)
            }
            Frame::Ping => Ok(vec![]),
            other => Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }

    /// Accepts a configuration: on disk first, then the word.
    fn configure(&mut self, config: Config, committed: bool) -> io::Result<Vec<Frame>> {
        let number = config.number;
        let me = &self.group.me;
        if !config.replicas.contains_key(me) {
            leave(self.group, self.shared);
            return Err(io::Error::other("removed from the availability group"));
        }
        let gone: Vec<String> = self.group.as_secondary(self.reign, |state| {
            if !self.group.acceptable(state, number) {
                return Err(io::Error::other("its configuration is older than ours"));
            }
            let accept = |copy: &mut super::Copy| {
                copy.suspend_pending(&config.databases, me);
                copy.config = config.clone();
                copy.committed = committed;
                copy.in_force = None;
                copy.asked.retain(|name, _| config.databases.contains_key(name));
                copy.promised = copy.promised.max(number);
            };
            self.group.persist(state, accept).map_err(io::Error::other)?;
            state.following = Some(self.partner.into());
            state.last_primary = Some(self.partner.into());
            state.stuck.ex_primary = false;
            Ok(state.copy.local.iter().filter(|name| !config.databases.contains_key(*name)).cloned().collect())
        })?;
        for name in gone {
            super::membership::leave_database(self.group, self.shared, &name, true).map_err(io::Error::other)?;
        }
        self.told.retain(|told| config.databases.contains_key(told.trim_end_matches('\0')));
        super::sides::learn(self.shared, self.group, &config.links).map_err(io::Error::other)?;
        self.group.touch();
        let mut answers = vec![Frame::Accepted(number)];
        answers.extend(self.suspensions()?);
        if !config.replicas.get(me).is_some_and(ReplicaConfig::holds_data) {
            return Ok(answers);
        }
        let new: Vec<String> = config.databases.keys().filter(|name| !self.told.contains(name)).cloned().collect();
        for database in new {
            self.told.push(database.clone());
            let position = self.first_position(database)?;
            answers.extend(self.suspensions()?);
            answers.push(position);
        }
        Ok(answers)
    }

    /// Where the copy of a database stands. A copy that left this group is taken up again when the logs still agree: by
    /// itself where seeding is automatic, else when SET HADR says so. What SET HADR OFF took out stays out.
    fn first_position(&self, database: String) -> io::Result<Frame> {
        let there = self.shared.database(&database);
        let automatic =
            |state: &State| state.copy.config.replicas.get(&self.group.me).is_some_and(|own| own.seeding_mode == 0);
        let forks = self.group.as_secondary(self.reign, |state| {
            let config = state.copy.config.databases.get(&database);
            let pending = config.is_some_and(|config| config.pending_suspend.contains(&self.group.me));
            let id = config.map(|config| config.id);
            let left = !state.copy.local.contains(&database) && self.shared.left(&database) == id && id.is_some();
            let asked = state.copy.asked.get(&database).copied();
            if asked == Some(false) && there.is_some() {
                return Ok(None);
            }
            let adopted = left && asked.unwrap_or_else(|| automatic(state));
            if adopted {
                let adopt = |copy: &mut super::Copy| {
                    copy.asked.remove(&database);
                    copy.local.insert(database.clone());
                    copy.suspended.extend(pending.then(|| (database.clone(), FROM_PARTNER)));
                };
                self.group.persist(state, adopt).map_err(io::Error::other)?;
                self.shared.set_restoring(&database, None).map_err(io::Error::other)?;
            }
            let mine = there.as_ref().filter(|_| state.copy.local.contains(&database));
            if let Some(local) = mine.filter(|_| adopted) {
                local.set_owner(Some(super::primary::owner(self.group)));
            }
            Ok(Some(mine.map(|local| local.forks()).unwrap_or_default()))
        })?;
        Ok(match forks {
            Some(forks) => Frame::Position { database, forks },
            None => Frame::Left { database },
        })
    }

    /// Tells the primary what is suspended here.
    fn suspensions(&mut self) -> io::Result<Vec<Frame>> {
        let suspended = self.group.as_secondary(self.reign, |state| Ok(state.copy.suspended.clone()))?;
        let new: Vec<_> = suspended.into_iter().filter(|(name, _)| !self.told.contains(&suspended_key(name))).collect();
        self.told.extend(new.iter().flat_map(|(name, _)| [name.clone(), suspended_key(name)]));
        Ok(new.into_iter().map(|(database, reason)| Frame::Suspended { database, reason }).collect())
    }
}

/// Marks in `told` that a suspension was told; no database has such a name.
fn suspended_key(database: &str) -> String {
    format!("{database}\0")
}

pub(super) fn position(local: &Arc<Database>) -> Frame {
    Frame::Hardened { database: local.name().into(), lsn: local.end(), redone: local.applied() }
}
