//! The secondary's side: find a primary, take its configuration, harden its log.

use super::{
    roles::{Group, Role, Seeding},
    serve::{AbortOnDrop, read},
    transport::{self, Frame, Session},
};
use crate::{instance::Shared, store::database::Database};
use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::WriteHalf,
    sync::mpsc,
    time::{Instant, interval, sleep, timeout},
};

/// Time to reach one partner.
const DIAL: Duration = Duration::from_secs(2);
/// Pause after a round in which nobody was the primary.
const ROUND: Duration = Duration::from_millis(200);
const PING: Duration = Duration::from_secs(1);

type Writer = WriteHalf<tokio_rustls::TlsStream<crate::net::Stream>>;

/// Follows whichever primary can be reached, until the role changes.
pub async fn run(group: Arc<Group>) {
    loop {
        let partners: Vec<(String, (String, u16))> = {
            let state = group.state();
            let others = state.copy.config.replicas.iter().filter(|(name, _)| **name != group.me);
            others.filter_map(|(name, replica)| Some((name.clone(), replica.address()?))).collect()
        };
        for (partner, (host, port)) in partners {
            let Ok(shared) = group.instance() else { return };
            let number = group.state().copy.config.number;
            let hello = Frame::Hello { group: group.name.clone(), name: group.me.clone(), number };
            if let Ok(Ok(session)) = timeout(DIAL, call(&shared, &host, port, &hello)).await {
                let result = welcome(&group, &partner, session).await;
                group.state().following = None;
                group.touch();
                if let Err(error) = result {
                    tracing::debug!(group = group.name, partner, %error, "not following");
                }
            }
        }
        sleep(ROUND).await;
    }
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
    if shared.faults.get().checks_outbound && !shared.identity.authorize(&session.peer) {
        return Err(io::Error::other("the partner has no CONNECT permission on the endpoint"));
    }
    transport::send(&mut session.stream, first).await?;
    Ok(session)
}

async fn welcome(group: &Arc<Group>, partner: &str, mut session: Session) -> io::Result<()> {
    match timeout(DIAL, transport::receive(&mut session.stream)).await.map_err(|_| io::ErrorKind::TimedOut)?? {
        Frame::Welcome(config) if group.acceptable(config.number) => {}
        Frame::Welcome(_) => return Err(io::Error::other("its configuration is older than ours")),
        Frame::Refused(why) => return Err(io::Error::other(why)),
        other => return Err(io::Error::other(format!("unexpected {other:?}"))),
    }
    follow(group, partner, session).await
}

/// An image that is arriving.
struct Arriving {
    database: String,
    lsn: u64,
    fork: u64,
    size: u64,
    bytes: Vec<u8>,
    refused: bool,
}

async fn follow(group: &Arc<Group>, partner: &str, session: Session) -> io::Result<()> {
    let peer = session.peer.clone();
    let (reader, mut writer) = tokio::io::split(session.stream);
    let (inbox, mut frames) = mpsc::channel(64);
    let reading = tokio::spawn(read(reader, inbox));
    let _guard = AbortOnDrop(reading.abort_handle());
    let shared = group.instance().map_err(io::Error::other)?;
    let mut grants = shared.identity.changes();
    let stops = shared.identity.stops();
    let mut ping = interval(PING);
    let mut heard = Instant::now();
    let mut arriving = None;
    loop {
        let limit = Duration::from_secs(
            group
                .state()
                .copy
                .config
                .replicas
                .get(&group.me)
                .map_or(10, |replica| replica.session_timeout.max(1) as u64),
        );
        tokio::select! {
            biased;
            frame = frames.recv() => {
                heard = Instant::now();
                let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
                timeout(limit, hear(group, &shared, partner, frame, &mut writer, &mut arriving)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
            _ = grants.changed() => {
                if shared.faults.get().deny_cuts_connections && !shared.identity.authorize(&peer) {
                    return Err(io::Error::other("the partner lost CONNECT on the endpoint"));
                }
                if shared.identity.stops() != stops || shared.identity.endpoint().is_none_or(|endpoint| !endpoint.started) {
                    return Err(io::Error::other("the endpoint was stopped"));
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > limit {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "session timeout (35206)"));
                }
                timeout(limit, transport::send(&mut writer, &Frame::Ping)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
        }
    }
}

async fn hear(
    group: &Arc<Group>,
    shared: &Arc<Shared>,
    partner: &str,
    frame: Frame,
    writer: &mut Writer,
    arriving: &mut Option<Arriving>,
) -> io::Result<()> {
    match frame {
        Frame::Configure { config, committed } => configure(group, shared, partner, *config, committed, writer).await,
        Frame::Cut { database, lsn } => {
            let Some(local) = shared.database(&database) else { return Ok(()) };
            local.throw_out();
            if local.cut(lsn).is_err() {
                return transport::send(writer, &Frame::Position { database, forks: vec![] }).await;
            }
            report(&local, writer).await
        }
        Frame::Records { database, records, acknowledged } => {
            let Some(local) = shared.database(&database) else { return Ok(()) };
            if group.state().copy.suspended.contains_key(&database) {
                return Ok(());
            }
            local.receive(&records)?;
            local.redo(acknowledged).map_err(io::Error::other)?;
            report(&local, writer).await
        }
        Frame::Image { database, lsn, fork, size } => {
            let refused = seeding_failure(group, shared, &database);
            let row = Seeding {
                database: database.clone(),
                partner: partner.into(),
                source: false,
                state: if refused.is_some() { "FAILED" } else { "SEEDING" },
                failure: refused.unwrap_or(0),
                moved: 0,
                size,
                started: SystemTime::now(),
                ended: None,
            };
            group.state().seeding.push(row);
            if let Some(failure) = refused {
                transport::send(writer, &Frame::SeedRefused { database: database.clone(), failure }).await?;
            }
            let image = Arriving { database, lsn, fork, size, bytes: vec![], refused: refused.is_some() };
            land(group, shared, image, writer, arriving).await
        }
        Frame::Chunk(chunk) => {
            let Some(mut image) = arriving.take() else { return Err(io::Error::other("a chunk of nothing")) };
            image.bytes.extend(chunk);
            if let Some(row) = group.state().seeding.last_mut() {
                row.moved = image.bytes.len() as u64;
            }
            land(group, shared, image, writer, arriving).await
        }
        Frame::Ping => Ok(()),
        other => Err(io::Error::other(format!("unexpected {other:?}"))),
    }
}

/// Accepts a configuration: on disk first, then the word.
async fn configure(
    group: &Arc<Group>,
    shared: &Arc<Shared>,
    partner: &str,
    config: super::Config,
    committed: bool,
    writer: &mut Writer,
) -> io::Result<()> {
    if !group.acceptable(config.number) {
        return Err(io::Error::other("its configuration is older than ours"));
    }
    let number = config.number;
    let first = group.state().following.as_deref() != Some(partner);
    let new: Vec<String> = {
        let mut state = group.state();
        if state.role != Role::Secondary {
            return Err(io::Error::other("the role changed"));
        }
        let known: Vec<String> = if first { vec![] } else { state.copy.config.databases.keys().cloned().collect() };
        let removed = !config.replicas.contains_key(&group.me);
        group
            .persist(&mut state, |copy| {
                copy.config = config.clone();
                copy.committed = committed;
                copy.promised = copy.promised.max(number);
            })
            .map_err(io::Error::other)?;
        state.following = Some(partner.into());
        state.last_primary = Some(partner.into());
        if removed {
            return Err(io::Error::other("removed from the availability group"));
        }
        config.databases.keys().filter(|name| !known.contains(name)).cloned().collect()
    };
    group.touch();
    transport::send(writer, &Frame::Accepted(number)).await?;
    let holds_data = config.replicas.get(&group.me).is_some_and(super::ReplicaConfig::holds_data);
    for database in new.into_iter().filter(|_| holds_data) {
        let mine = group.state().copy.local.contains(&database);
        let forks = shared.database(&database).filter(|_| mine).map(|local| local.forks()).unwrap_or_default();
        transport::send(writer, &Frame::Position { database, forks }).await?;
    }
    Ok(())
}

async fn report(local: &Arc<Database>, writer: &mut Writer) -> io::Result<()> {
    transport::send(
        writer,
        &Frame::Hardened { database: local.name().into(), lsn: local.end(), redone: local.applied() },
    )
    .await
}

/// Why an image is refused: the documented failure number, on the target (+200).
fn seeding_failure(group: &Arc<Group>, shared: &Arc<Shared>, database: &str) -> Option<i64> {
    let state = group.state();
    if !state.copy.may_create_databases {
        return Some(203);
    }
    (shared.database(database).is_some() && !state.copy.local.contains(database)).then_some(223)
}

/// Takes the image into use once it is complete.
async fn land(
    group: &Arc<Group>,
    shared: &Arc<Shared>,
    image: Arriving,
    writer: &mut Writer,
    arriving: &mut Option<Arriving>,
) -> io::Result<()> {
    if (image.bytes.len() as u64) < image.size {
        *arriving = Some(image);
        return Ok(());
    }
    if image.refused {
        return Ok(());
    }
    let local = shared.create(&image.database)?;
    local.throw_out();
    local.seed(image.lsn, image.fork, image.bytes)?;
    local.set_owner(Some(super::primary::owner(group)));
    {
        let mut state = group.state();
        group
            .persist(&mut state, |copy| {
                copy.local.insert(image.database.clone());
            })
            .map_err(io::Error::other)?;
        if let Some(row) = state.seeding.last_mut() {
            row.state = "COMPLETED";
            row.ended = Some(SystemTime::now());
        }
    }
    report(&local, writer).await
}
