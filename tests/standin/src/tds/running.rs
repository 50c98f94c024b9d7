//! Execution of one request, and what may interrupt it: an attention, a client that leaves, a kill, a fatal error.

use super::{
    backend::SqlSession,
    packet::{ATTENTION, Request, Wire},
    response::Response,
    rpc::Step,
    transaction::Order,
};
use crate::{
    errors::Message,
    value::{Output, Parameter},
};
use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

/// A batch rests while the client has this much of its answer still to take.
const BACKLOG: usize = 1 << 20;

/// Completes when the session is killed.
pub(super) type Killed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs on behalf of a request.
pub(super) enum Work {
    Step(Step),
    Order(Order),
}

/// How it ended.
pub(super) enum Ending {
    Finished,
    /// An error of class 20 or above.
    Fatal,
    Attention,
    Killed,
    Left,
}

/// What happened on the wire while something ran.
enum Event {
    Request(Request),
    Left,
    Drained,
    Fatal,
}

/// Runs work to its end. Meanwhile its answer is sent as it grows, and the client is listened to.
pub(super) async fn watch<S: SqlSession>(
    wire: &mut Wire,
    session: &mut S,
    killed: &mut Killed,
    work: Work,
    response: Response,
) -> io::Result<(Response, Ending)> {
    let shared = Mutex::new(response);
    let ending = {
        let mut out = |output| lock(&shared).push(output);
        let mut running = pin!(perform(session, work, &mut out));
        loop {
            let open = wire.backlog() < BACKLOG;
            tokio::select! {
                biased;
                () = killed.as_mut() => break Ending::Killed,
                () = &mut running, if open => break Ending::Finished,
                event = poll_fn(|cx| pump(wire, &shared, open, cx)) => match event? {
                    Event::Request(request) if request.kind == ATTENTION => break Ending::Attention,
                    Event::Request(request) => wire.queue(request)?,
                    Event::Left => break Ending::Left,
                    Event::Fatal => break Ending::Fatal,
                    Event::Drained => {}
                },
            }
        }
    };
    Ok((shared.into_inner().unwrap_or_else(PoisonError::into_inner), ending))
}

fn lock(shared: &Mutex<Response>) -> MutexGuard<'_, Response> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what can be sent and receives what has come; losing it between two polls loses nothing.
fn pump(wire: &mut Wire, shared: &Mutex<Response>, open: bool, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
    let (ready, fatal) = {
        let mut response = lock(shared);
        (response.take(), response.fatal())
    };
    wire.write(&ready, false);
    if let Poll::Ready(Err(error)) = wire.poll_flush(cx) {
        return Poll::Ready(Err(error));
    }
    if fatal {
        return Poll::Ready(Ok(Event::Fatal));
    }
    if !open && wire.backlog() < BACKLOG {
        return Poll::Ready(Ok(Event::Drained));
    }
    wire.poll_request(cx).map_ok(|request| request.map_or(Event::Left, Event::Request))
}

async fn perform<S: SqlSession>(session: &mut S, work: Work, out: &mut (dyn FnMut(Output) + Send)) {
    let result: Result<(), Message> = match work {
        Work::Step(Step::Batch { sql, parameters }) => {
            session.batch(&sql, parameters, out).await;
            Ok(())
        }
        Work::Step(Step::Procedure { name, parameters }) => {
            session.procedure(&name, parameters, out).await;
            Ok(())
        }
        Work::Step(Step::Nothing) => Ok(()),
        Work::Order(Order::Begin) => session.begin().await,
        Work::Order(Order::Commit) => session.commit().await,
        Work::Order(Order::Rollback) => session.rollback().await,
        Work::Order(Order::Statement(sql)) => {
            session.batch(&sql, Vec::<Parameter>::new(), out).await;
            Ok(())
        }
    };
    if let Err(message) = result {
        out(Output::Message(message));
    }
}
