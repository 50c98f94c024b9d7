//! The primary's side of a session: configuration, positions, images and records to one secondary.

use super::{
    roles::{Group, Role, Seeding},
    transport::{self, CHUNK, Frame, Session},
};
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::mpsc,
    time::{Instant, interval, timeout},
};

/// Records in one frame.
const BATCH: usize = 100;
const PING: Duration = Duration::from_secs(1);

type Stream = tokio_rustls::TlsStream<crate::net::Stream>;

/// Answers whoever opened a session.
pub async fn answer(shared: Arc<crate::instance::Shared>, mut session: Session) -> io::Result<()> {
    let first = timeout(Duration::from_secs(10), transport::receive(&mut session.stream))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    match first {
        Frame::Invite { group, config } => {
            let taken = shared.group(&group).is_none() && shared.invite(&group, *config);
            let answer = if taken { Frame::Ping } else { Frame::Refused("nobody waits for it".into()) };
            transport::send(&mut session.stream, &answer).await
        }
        Frame::Hello { group, name, number } => {
            let Some(found) = shared.group(&group) else {
                return transport::send(
                    &mut session.stream,
                    &Frame::Refused(format!("no availability group {group} here")),
                )
                .await;
            };
            hello(found, name, number, session).await
        }
        Frame::Promise { group, number } => {
            let answer = match shared.group(&group) {
                Some(group) => promise(&group, number),
                None => Frame::Refused(format!("no availability group {group} here")),
            };
            transport::send(&mut session.stream, &answer).await
        }
        other => Err(io::Error::other(format!("unexpected {other:?}"))),
    }
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
    if serves {
        let _ = group.become_role(Role::Resolving);
    }
    Frame::Promised { granted: true, accepted }
}

async fn hello(group: Arc<Group>, name: String, number: i64, mut session: Session) -> io::Result<()> {
    let strict = group
        .instance()
        .map(|shared| shared.faults.get().failover != crate::faults::FailoverEngine::Local)
        .unwrap_or(false);
    let (role, known, own) = {
        let state = group.state();
        (state.role, state.committed.replicas.contains_key(&name), state.copy.config.number)
    };
    if role != Role::Primary || !known {
        let why = if known { "this replica is not the primary" } else { "not a replica of this availability group" };
        return transport::send(&mut session.stream, &Frame::Refused(why.into())).await;
    }
    if strict && (number >> 32) > (own >> 32) {
        // Somebody was promoted elsewhere: this primary is over.
        let _ = group.become_role(Role::Resolving);
        return transport::send(&mut session.stream, &Frame::Refused("a newer configuration exists".into())).await;
    }
    let id = group.open_session(&name);
    let result = serve(&group, &name, id, session).await;
    let why = result.as_ref().err().map_or_else(|| "closed".into(), ToString::to_string);
    group.close_session(&name, id, &why);
    result
}

/// What was sent in a session.
#[derive(Default)]
struct Sent {
    config: (i64, bool),
    records: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, u64>,
}

async fn serve(group: &Arc<Group>, partner: &str, id: u64, session: Session) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(session.stream);
    let config = group.state().copy.config.clone();
    transport::send(&mut writer, &Frame::Welcome(Box::new(config))).await?;
    let (inbox, mut frames) = mpsc::channel(64);
    let reading = tokio::spawn(read(reader, inbox));
    let _guard = AbortOnDrop(reading.abort_handle());
    let mut changes = group.changes();
    let mut ping = interval(PING);
    let mut sent = Sent::default();
    let mut heard = Instant::now();
    loop {
        let limit = Duration::from_secs(
            group.state().committed.replicas.get(partner).map_or(10, |replica| replica.session_timeout.max(1) as u64),
        );
        if group.state().partners.get(partner).is_none_or(|entry| entry.session != id) {
            return Err(io::Error::other("replaced by a newer connection"));
        }
        timeout(limit, ship(group, partner, &mut writer, &mut sent)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        tokio::select! {
            biased;
            frame = frames.recv() => {
                heard = Instant::now();
                let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
                timeout(Duration::from_secs(600), hear(group, partner, id, frame, &mut writer, &mut sent)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
            changed = changes.changed() => changed.map_err(|_| io::ErrorKind::BrokenPipe)?,
            _ = ping.tick() => {
                if heard.elapsed() > limit {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "session timeout (35206)"));
                }
                timeout(limit, transport::send(&mut writer, &Frame::Ping)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
        }
    }
}

/// Reads frames into a channel, so that none is read half and dropped.
pub async fn read(mut reader: ReadHalf<Stream>, inbox: mpsc::Sender<Frame>) {
    while let Ok(frame) = transport::receive(&mut reader).await {
        if inbox.send(frame).await.is_err() {
            return;
        }
    }
}

/// Sends what is new: the configuration, then records.
async fn ship(group: &Arc<Group>, partner: &str, writer: &mut WriteHalf<Stream>, sent: &mut Sent) -> io::Result<()> {
    let (config, committed) = {
        let state = group.state();
        (state.copy.config.clone(), state.pending.is_none())
    };
    if sent.config != (config.number, committed) {
        sent.config = (config.number, committed);
        transport::send(writer, &Frame::Configure { config: Box::new(config.clone()), committed }).await?;
    }
    let Ok(shared) = group.instance() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let positions: Vec<(String, u64)> = sent.records.iter().map(|(name, lsn)| (name.clone(), *lsn)).collect();
    for (name, mut position) in positions {
        let Some(database) = shared.database(&name) else { continue };
        if !config.databases.contains_key(&name) {
            continue;
        }
        loop {
            let records = database.records_after(position, BATCH);
            let acknowledged = database.applied();
            if records.is_empty() && sent.acknowledged.get(&name) == Some(&acknowledged) {
                break;
            }
            position = records.last().map_or(position, |record| record.lsn);
            sent.records.insert(name.clone(), position);
            sent.acknowledged.insert(name.clone(), acknowledged);
            let synchronous = config.replicas.get(partner).is_some_and(|replica| replica.holds_data());
            if synchronous {
                transport::send(writer, &Frame::Records { database: name.clone(), records, acknowledged }).await?;
            }
        }
    }
    Ok(())
}

async fn hear(
    group: &Arc<Group>,
    partner: &str,
    id: u64,
    frame: Frame,
    writer: &mut WriteHalf<Stream>,
    sent: &mut Sent,
) -> io::Result<()> {
    match frame {
        Frame::Accepted(number) => group.accepted(partner, id, number),
        Frame::Hardened { database, lsn, redone } => group.hardened(partner, &database, lsn, redone),
        Frame::Position { database, forks } => start(group, partner, &database, &forks, writer, sent).await?,
        Frame::SeedRefused { database, failure } => {
            let mut state = group.state();
            if let Some(row) =
                state.seeding.iter_mut().rev().find(|row| row.database == database && row.partner == partner)
            {
                row.state = "FAILED";
                row.failure = failure;
                row.ended = Some(SystemTime::now());
            }
        }
        Frame::Ping => {}
        other => return Err(io::Error::other(format!("unexpected {other:?}"))),
    }
    Ok(())
}

/// Starts one database on a secondary: from the common prefix of the logs, else with an image.
async fn start(
    group: &Arc<Group>,
    partner: &str,
    name: &str,
    forks: &[(u64, u64)],
    writer: &mut WriteHalf<Stream>,
    sent: &mut Sent,
) -> io::Result<()> {
    let Some(database) = group.instance().ok().and_then(|shared| shared.database(name)) else { return Ok(()) };
    let common = if forks.is_empty() { None } else { database.common(forks) };
    if let Some(lsn) = common {
        transport::send(writer, &Frame::Cut { database: name.into(), lsn }).await?;
        sent.records.insert(name.into(), lsn);
        sent.acknowledged.remove(name);
        return Ok(());
    }
    let (lsn, fork, bytes) = database.image().map_err(io::Error::other)?;
    let size = bytes.len() as u64;
    let row = Seeding {
        database: name.into(),
        partner: partner.into(),
        source: true,
        state: "SEEDING",
        failure: 0,
        moved: 0,
        size,
        started: SystemTime::now(),
        ended: None,
    };
    group.state().seeding.push(row);
    transport::send(writer, &Frame::Image { database: name.into(), lsn, fork, size }).await?;
    for chunk in bytes.chunks(CHUNK) {
        transport::send(writer, &Frame::Chunk(chunk.to_vec())).await?;
        if let Some(row) = group.state().seeding.last_mut() {
            row.moved += chunk.len() as u64;
        }
    }
    if let Some(row) = group.state().seeding.last_mut() {
        row.state = "COMPLETED";
        row.ended = Some(SystemTime::now());
    }
    sent.records.insert(name.into(), lsn);
    sent.acknowledged.remove(name);
    Ok(())
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
    loop {
        let absent: Vec<(String, u16)> = {
            let state = group.state();
            let connected = |name: &String| state.partners.get(name).is_some_and(|partner| partner.connected);
            let others = state.committed.replicas.iter().filter(|(name, _)| **name != group.me && !connected(name));
            others.filter_map(|(_, replica)| replica.address()).collect()
        };
        for (host, port) in absent {
            let Ok(shared) = group.instance() else { return };
            let config = Box::new(group.state().copy.config.clone());
            let frame = Frame::Invite { group: group.name.clone(), config };
            let ask = async {
                let mut session = super::follow::call(&shared, &host, port, &frame).await?;
                transport::receive(&mut session.stream).await
            };
            let _ = timeout(Duration::from_millis(500), ask).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
