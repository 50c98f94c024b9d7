//! The primary's side of a session: configuration, positions, images and records to one secondary.

use super::{
    config::ReplicaConfig,
    roles::{Group, Role, Seeding, State},
    transport::{self, CHUNK, Frame, Session, send_within},
};
use crate::{instance::Shared, store::database::Database};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::mpsc,
    time::{Instant, interval, timeout},
};

/// Records in one frame.
const BATCH: usize = 100;
const PING: Duration = Duration::from_secs(1);
/// Pause between invitations of replicas that never joined.
const INVITE: Duration = Duration::from_millis(500);
/// Every so many pauses those are invited, too, that joined once and have no session.
const INVITE_AGAIN: u64 = 6;

type Stream = tokio_rustls::TlsStream<crate::net::Stream>;
type Writer = WriteHalf<Stream>;

/// Answers whoever opened a session.
pub async fn answer(shared: Arc<Shared>, mut session: Session) -> io::Result<()> {
    let first = timeout(Duration::from_secs(10), transport::receive(&mut session.stream))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let answer = match first {
        Frame::Invite { group, config } => match shared.group(&group) {
            Some(known) => {
                known.yields_to(config.number);
                Frame::Refused("it has joined".into())
            }
            None if shared.invite(&group, *config) => Frame::Ping,
            None => Frame::Refused("nobody waits for it".into()),
        },
        Frame::Hello { group, name, number, ex_primary } => match shared.group(&group) {
            Some(known) => return hello(&known, &name, (number, ex_primary), session).await,
            None => Frame::Refused(format!("no availability group {group} here")),
        },
        Frame::Promise { group, number } => match shared.group(&group) {
            Some(known) => promise(&known, number),
            None => Frame::Refused(format!("no availability group {group} here")),
        },
        other => return Err(io::Error::other(format!("unexpected {other:?}"))),
    };
    transport::send(&mut session.stream, &answer).await
}

/// Promises never to accept less, and stops serving less.
fn promise(group: &Arc<Group>, number: i64) -> Frame {
    let mut state = group.state();
    let accepted = state.copy.config.number;
    if number <= state.copy.promised || number <= accepted {
        return Frame::Promised { granted: false, accepted };
    }
    if group.persist(&mut state, |copy| copy.promised = number).is_err() {
        return Frame::Promised { granted: false, accepted };
    }
    let serves = state.role == Role::Primary;
    drop(state);
    if serves && group.become_role(Role::Resolving).is_err() {
        return Frame::Promised { granted: false, accepted };
    }
    Frame::Promised { granted: true, accepted }
}

async fn hello(
    group: &Arc<Group>,
    name: &str,
    (number, ex_primary): (i64, bool),
    mut session: Session,
) -> io::Result<()> {
    let refusal = if group.yields_to(number) {
        Some(Frame::Refused("a newer configuration exists".into()))
    } else if group.turns_away(name, ex_primary) {
        Some(Frame::Stuck)
    } else {
        let state = group.state();
        let member = state.committed.replicas.contains_key(name);
        let gone = state.role == Role::Primary && !member && !state.copy.config.replicas.contains_key(name);
        gone.then(|| Frame::Removed(state.committed.number))
    };
    let id = if refusal.is_none() { group.open_session(name) } else { None };
    let Some(id) = id else {
        let frame = refusal.unwrap_or_else(|| Frame::Refused("this replica is not the primary".into()));
        return transport::send(&mut session.stream, &frame).await;
    };
    let result = serve(group, name, id, session).await;
    let why = result.as_ref().err().map_or_else(|| "closed".into(), ToString::to_string);
    group.close_session(name, id, &why);
    result
}

/// What was sent in a session.
#[derive(Default)]
struct Sent {
    config: (i64, bool),
    records: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, u64>,
    backups: BTreeMap<String, (bool, Option<i64>, u64)>,
}

/// One session.
struct Serving<'a> {
    group: &'a Arc<Group>,
    shared: Arc<Shared>,
    partner: &'a str,
    id: u64,
    writer: Writer,
    sent: Sent,
}

async fn serve(group: &Arc<Group>, partner: &str, id: u64, session: Session) -> io::Result<()> {
    let shared = group.instance().map_err(io::Error::other)?;
    let mut grants = shared.identity.changes();
    let peer = session.peer.clone();
    let (reader, writer) = tokio::io::split(session.stream);
    // What a secondary says is short, and must never wait: it would wait for us in turn.
    let (inbox, mut frames) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        read(reader, |frame| {
            let sent = inbox.send(frame).is_ok();
            async move { sent }
        })
        .await;
    });
    let _guard = AbortOnDrop(reading.abort_handle());
    let mut serving = Serving { group, shared, partner, id, writer, sent: Sent::default() };
    serving.welcome().await?;
    let mut changes = group.changes();
    let mut ping = interval(PING);
    let mut heard = Instant::now();
    loop {
        serving.ship().await?;
        let limit = serving.limit();
        tokio::select! {
            biased;
            frame = frames.recv() => {
                heard = Instant::now();
                serving.hear(frame.ok_or(io::ErrorKind::UnexpectedEof)?).await?;
            }
            changed = changes.changed() => changed.map_err(|_| io::ErrorKind::BrokenPipe)?,
            _ = grants.changed() => {
                if serving.shared.faults.get().deny_cuts_connections && !serving.shared.identity.authorize(&peer) {
                    return Err(io::Error::other("the partner lost CONNECT on the endpoint"));
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > limit {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "a connection timeout has occurred (35206)"));
                }
                send_within(&mut serving.writer, &Frame::Ping, limit).await?;
            }
        }
    }
}

/// Reads frames one after the other, so that none is read half and dropped.
pub async fn read<F: Future<Output = bool>>(mut reader: ReadHalf<Stream>, mut take: impl FnMut(Frame) -> F) {
    while let Ok(frame) = transport::receive(&mut reader).await {
        if !take(frame).await {
            return;
        }
    }
}

impl Serving<'_> {
    fn limit(&self) -> Duration {
        let state = self.group.state();
        Duration::from_secs(state.committed.replicas.get(self.partner).map_or(10, ReplicaConfig::seconds))
    }

    /// The state, while this session is the one that counts.
    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.group.state();
        let counts = state.role == Role::Primary
            && state.partners.get(self.partner).is_some_and(|entry| entry.session == self.id);
        if counts { Ok(work(&mut state)) } else { Err(io::Error::other("this session is over")) }
    }

    async fn welcome(&mut self) -> io::Result<()> {
        let config = self.with_state(|state| state.copy.config.clone())?;
        send_within(&mut self.writer, &Frame::Welcome(Box::new(config)), PING * 10).await
    }

    /// Sends what is new: the configuration, then records.
    async fn ship(&mut self) -> io::Result<()> {
        loop {
            let frames = self.next()?;
            if frames.is_empty() {
                return Ok(());
            }
            let limit = self.limit();
            for frame in frames {
                send_within(&mut self.writer, &frame, limit).await?;
            }
        }
    }

    fn next(&mut self) -> io::Result<Vec<Frame>> {
        let mut sent = std::mem::take(&mut self.sent);
        let frames = self.with_state(|state| {
            let mut frames = Vec::new();
            let config = (state.copy.config.number, state.pending.is_none());
            if sent.config != config {
                sent.config = config;
                frames.push(Frame::Configure { config: Box::new(state.copy.config.clone()), committed: config.1 });
            }
            for (name, position) in &mut sent.records {
                let member = state.copy.config.databases.contains_key(name) && !state.copy.suspended.contains_key(name);
                let Some(database) = self.shared.database(name).filter(|_| member) else { continue };
                let ((log_chain, log_backup), truncated) = (self.shared.backups(name), database.truncated());
                let backups = (log_chain, log_backup, truncated);
                if sent.backups.insert(name.clone(), backups) != Some(backups) {
                    frames.push(Frame::Backups { database: name.clone(), log_chain, log_backup, truncated });
                }
                let records = database.records_after(*position, BATCH);
                let acknowledged = database.applied();
                if records.is_empty() && sent.acknowledged.get(name) == Some(&acknowledged) {
                    continue;
                }
                *position = records.last().map_or(*position, |record| record.lsn);
                sent.acknowledged.insert(name.clone(), acknowledged);
                frames.push(Frame::Records { database: name.clone(), records, acknowledged });
            }
            frames
        });
        self.sent = sent;
        frames
    }

    async fn hear(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::Accepted(number) => self.group.accepted(self.partner, self.id, number),
            Frame::Hardened { database, lsn, redone } => {
                self.group.hardened(self.partner, self.id, &database, lsn, redone);
            }
            Frame::Position { database, forks } => return self.start(&database, &forks).await,
            Frame::Left { database } => {
                self.sent.records.remove(&database);
                self.group.without(self.partner, self.id, &database);
            }
            Frame::Synchronous(synchronous) => {
                self.with_state(|state| {
                    if let Some(entry) = state.partners.get_mut(self.partner) {
                        entry.synchronous = synchronous;
                    }
                })?;
                self.group.reconcile();
            }
            Frame::Suspended { database, reason } => {
                self.sent.records.remove(&database);
                self.group.suspended(self.partner, self.id, &database, reason);
            }
            Frame::SeedRefused { database, failure } => {
                self.sent.records.remove(&database);
                let now = self.shared.now();
                self.with_state(|state| {
                    let row = state.seeding.iter_mut().rev();
                    let mut row = row.filter(|row| row.database == database && row.partner == self.partner);
                    if let Some(row) = row.next() {
                        (row.state, row.failure, row.ended) = ("FAILED", failure, Some(now));
                    }
                })?;
            }
            Frame::Ping => {}
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
        Ok(())
    }

    /// Starts one database on a secondary: from the common prefix of the logs, else with an image.
    async fn start(&mut self, name: &str, forks: &[(u64, u64)]) -> io::Result<()> {
        self.sent.records.remove(name);
        self.sent.backups.remove(name);
        let Some(database) = self.shared.database(name) else { return Ok(()) };
        let suspended = |state: &mut State| {
            state.partners.get(self.partner).is_some_and(|entry| entry.suspended.contains_key(name))
        };
        if self.with_state(suspended)? {
            // What only a suspended copy has stays there until it is resumed; it opens its session anew then.
            return Ok(());
        }
        let common = self.with_state(|state| {
            let common = if forks.is_empty() { None } else { database.common(forks) };
            let automatic = state.committed.replicas.get(self.partner).is_some_and(|replica| replica.seeding_mode == 0);
            if let Some(entry) = state.partners.get_mut(self.partner) {
                entry.hardened.remove(name);
                if common.is_none() {
                    entry.reseeding.insert(name.into());
                }
            }
            (common, automatic)
        })?;
        // It may be marked SYNCHRONIZED no longer.
        self.group.reconcile();
        let limit = self.limit();
        match common {
            (Some(lsn), _) => {
                send_within(&mut self.writer, &Frame::Cut { database: name.into(), lsn }, limit).await?;
                self.sent.records.insert(name.into(), lsn);
                self.sent.acknowledged.remove(name);
                Ok(())
            }
            (None, true) => self.seed(name, &database, limit).await,
            (None, false) => Ok(()),
        }
    }

    async fn seed(&mut self, name: &str, database: &Arc<Database>, limit: Duration) -> io::Result<()> {
        let (lsn, fork, bytes) = self.with_state(|_| database.image())?.map_err(io::Error::other)?;
        let size = bytes.len() as u64;
        let row = Seeding::new(name, self.partner, true, size, self.shared.now());
        let index = self.with_state(|state| {
            state.seeding.push(row);
            state.seeding.len() - 1
        })?;
        send_within(&mut self.writer, &Frame::Image { database: name.into(), lsn, fork, size }, limit).await?;
        for chunk in bytes.chunks(CHUNK) {
            send_within(&mut self.writer, &Frame::Chunk(chunk.to_vec()), limit).await?;
            self.with_state(|state| {
                if let Some(row) = state.seeding.get_mut(index) {
                    row.moved += chunk.len() as u64;
                }
            })?;
        }
        self.sent.records.insert(name.into(), lsn);
        self.sent.acknowledged.remove(name);
        Ok(())
    }
}

/// Ends a task with its owner.
pub struct AbortOnDrop(pub tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Invites every replica of the configuration that has no session: it may be waiting in JOIN.
pub async fn invite(group: Arc<Group>) {
    for round in 0_u64.. {
        let absent: Vec<(String, u16)> = {
            let state = group.state();
            let due = |name: &String, replica: &ReplicaConfig| {
                let connected = state.partners.get(name).is_some_and(|partner| partner.connected);
                *name != group.me && !connected && (!replica.joined || round % INVITE_AGAIN == 0)
            };
            let others = state.committed.replicas.iter().filter(|(name, replica)| due(name, replica));
            others.filter_map(|(_, replica)| replica.address()).collect()
        };
        let Ok(shared) = group.instance() else { return };
        let config = group.state().copy.config.clone();
        let frame = Frame::Invite { group: group.name.clone(), config: Box::new(config) };
        let asking = absent.into_iter().map(|(host, port)| {
            let (shared, frame) = (shared.clone(), frame.clone());
            async move {
                let ask = async {
                    let mut session = super::follow::call(&shared, &host, port, &frame).await?;
                    transport::receive(&mut session.stream).await
                };
                let _ = timeout(INVITE, ask).await;
            }
        });
        futures::future::join_all(asking).await;
        tokio::time::sleep(INVITE).await;
    }
}
