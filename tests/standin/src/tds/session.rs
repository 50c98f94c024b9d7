//! The requests of a logged-in connection. While one runs, its answer is sent as it grows and the client is listened
//! to: an attention or a client that leaves drops what runs.

use super::{
    backend::SqlSession,
    bytes::{Malformed, Reader, utf16},
    packet::{ATTENTION, BATCH, RESET, RESET_KEEPING_TRANSACTION, RPC, Request, TRANSACTION, Wire, invalid},
    response::{Response, Style},
    rpc::{self, Plan, Prepared, Step},
    running::{Ending, Killed, Work, watch},
    token::{self, Change, DONE_ATTENTION, DONE_ERROR, DoneOf},
    transaction,
};
use crate::{errors::Message, value::Output};
use std::io;

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    /// The request was answered.
    Request,
    /// It was given up at an attention.
    Interrupted,
    Close,
}

/// A logged-in connection.
pub(super) struct Connection<S> {
    wire: Wire,
    session: S,
    server: String,
    database: String,
    prepared: Prepared,
    transaction: u64,
    killed: Killed,
}

impl<S: SqlSession> Connection<S> {
    pub(super) fn new(wire: Wire, session: S, server: String) -> Self {
        let killed: Killed = Box::pin(session.killed());
        let database = session.database();
        Self { wire, session, server, database, prepared: Prepared::default(), transaction: 0, killed }
    }

    /// Serves requests until the client leaves or the session ends.
    pub(super) async fn serve(mut self) -> io::Result<()> {
        loop {
            let request = match self.wire.queued() {
                Some(request) => Some(request),
                None => tokio::select! {
                    biased;
                    () = self.killed.as_mut() => return self.say_killed().await,
                    request = self.wire.request() => request?,
                },
            };
            let Some(request) = request else { return Ok(()) };
            if self.answer(request).await? == Next::Close {
                return self.wire.close().await;
            }
        }
    }

    /// A session that rests is told of its end without having asked: the client reads it at its next request.
    async fn say_killed(&mut self) -> io::Result<()> {
        let response = self.response(Style::Batch, &[]);
        self.end(response, Ending::Killed, false).await?;
        self.wire.close().await
    }

    async fn answer(&mut self, request: Request) -> io::Result<Next> {
        if request.kind == ATTENTION {
            // Nothing runs any more: the answer was complete before the attention arrived.
            self.acknowledge_attention().await?;
            return Ok(Next::Request);
        }
        if request.ignored {
            return self.taken_back().await;
        }
        let mut prefix = Vec::new();
        if request.status & (RESET | RESET_KEEPING_TRANSACTION) != 0 {
            self.reset(&mut prefix).await;
        }
        match request.kind {
            BATCH => self.batch(&request.body, &prefix).await,
            RPC => self.calls(&request.body, &prefix).await,
            TRANSACTION => self.transaction(&request.body, &prefix).await,
            _ => Err(invalid("a message of a type that is not supported")),
        }
    }

    async fn acknowledge_attention(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        token::done(&mut out, DoneOf::Batch, DONE_ATTENTION, 0, 0);
        self.wire.send(&out).await
    }

    async fn taken_back(&mut self) -> io::Result<Next> {
        let mut out = Vec::new();
        token::done(&mut out, DoneOf::Batch, DONE_ERROR, 0, 0);
        self.wire.send(&out).await?;
        Ok(Next::Request)
    }

    async fn reset(&mut self, prefix: &mut Vec<u8>) {
        self.session.reset().await;
        self.prepared.clear();
        self.transaction = 0;
        token::change_bytes(prefix, Change::Reset, &[], &[]);
        let database = self.session.database();
        if database != self.database {
            token::change(prefix, Change::Database, &database, &self.database);
            self.database = database;
        }
    }

    async fn batch(&mut self, body: &[u8], prefix: &[u8]) -> io::Result<Next> {
        let mut response = self.response(Style::Batch, prefix);
        match after_headers(body).and_then(utf16) {
            Ok(sql) => {
                let work = Work::Step(Step::Batch { sql, parameters: Vec::new() });
                self.run(work, response, false).await
            }
            Err(malformed) => {
                response.push(stream_incorrect(malformed));
                self.complete(response, false).await
            }
        }
    }

    async fn calls(&mut self, body: &[u8], prefix: &[u8]) -> io::Result<Next> {
        let mut response = self.response(Style::Call, prefix);
        let mut reader = match after_headers(body) {
            Ok(rest) => Reader::new(rest),
            Err(malformed) => {
                response.push(stream_incorrect(malformed));
                return self.complete(response, false).await;
            }
        };
        loop {
            let call = rpc::next_call(&mut reader);
            let more = call.is_ok() && !reader.is_empty();
            let plan = match call {
                Ok(call) => self.prepared.plan(call).map_err(Output::Message),
                Err(malformed) => Err(rpc::unreadable(malformed)),
            };
            let next = match plan {
                Ok(Plan { step, handle }) => {
                    handle.into_iter().for_each(|handle| response.return_first(handle));
                    self.run(Work::Step(step), response, more).await?
                }
                Err(error) => {
                    response.push(error);
                    self.complete(response, more).await?
                }
            };
            if next != Next::Request || !more {
                return Ok(next);
            }
            response = self.response(Style::Call, &[]);
        }
    }

    async fn transaction(&mut self, body: &[u8], prefix: &[u8]) -> io::Result<Next> {
        let mut response = self.response(Style::Batch, prefix);
        let orders = match after_headers(body).and_then(transaction::parse) {
            Ok(Some(orders)) => orders,
            Ok(None) => {
                let text = "Distributed transactions are not supported by the stand-in.";
                response.push(Output::Message(Message::new(40517, 16, text)));
                return self.complete(response, false).await;
            }
            Err(malformed) => {
                response.push(stream_incorrect(malformed));
                return self.complete(response, false).await;
            }
        };
        for order in orders {
            let change = order.change();
            let (after, ending) = self.watch(Work::Order(order), response).await?;
            response = after;
            if !matches!(ending, Ending::Finished) {
                return self.end(response, ending, false).await;
            }
            if response.failed() {
                break;
            }
            self.announce(&mut response, change);
        }
        self.complete(response, false).await
    }

    /// ENVCHANGE with the descriptor of the transaction that began or ended.
    fn announce(&mut self, response: &mut Response, change: Option<Change>) {
        let Some(change) = change else { return };
        if change == Change::Begin {
            self.transaction += 1;
            token::change_bytes(response.raw(), change, &self.transaction.to_le_bytes(), &[]);
        } else {
            token::change_bytes(response.raw(), change, &[], &self.transaction.to_le_bytes());
        }
    }

    fn response(&self, style: Style, prefix: &[u8]) -> Response {
        let mut response = Response::new(style, &self.server, &self.database);
        response.raw().extend_from_slice(prefix);
        response
    }

    async fn run(&mut self, work: Work, response: Response, more: bool) -> io::Result<Next> {
        let (response, ending) = self.watch(work, response).await?;
        self.end(response, ending, more).await
    }

    async fn watch(&mut self, work: Work, response: Response) -> io::Result<(Response, Ending)> {
        watch(&mut self.wire, &mut self.session, &mut self.killed, work, response).await
    }

    async fn complete(&mut self, response: Response, more: bool) -> io::Result<Next> {
        self.end(response, Ending::Finished, more).await
    }

    /// Sends the rest of an answer, whatever ended it.
    async fn end(&mut self, mut response: Response, ending: Ending, more: bool) -> io::Result<Next> {
        let (next, last) = match ending {
            Ending::Left => return Ok(Next::Close),
            Ending::Finished if !response.fatal() => {
                response.finish(more);
                (Next::Request, !more)
            }
            Ending::Finished | Ending::Fatal => {
                response.finish(false);
                (Next::Close, true)
            }
            Ending::Killed => {
                let text = "Cannot continue the execution because the session is in the kill state.";
                response.push(Output::Message(Message::new(596, 21, text)));
                response.finish(false);
                (Next::Close, true)
            }
            Ending::Attention => {
                response.abort();
                (Next::Interrupted, true)
            }
        };
        self.database = response.database().to_owned();
        self.wire.write(&response.take(), last);
        self.wire.flush().await?;
        if next == Next::Interrupted {
            // A message of its own, after the one that ends the answer.
            self.acknowledge_attention().await?;
        }
        Ok(next)
    }
}

/// What follows ALL_HEADERS, which say nothing that matters here.
fn after_headers(body: &[u8]) -> Result<&[u8], Malformed> {
    let length = Reader::new(body).length()?;
    body.get(length..).filter(|_| length >= 4).ok_or(Malformed("headers longer than their message"))
}

fn stream_incorrect(malformed: Malformed) -> Output {
    let text = format!("The incoming tabular data stream (TDS) protocol stream is incorrect: {}.", malformed.0);
    Output::Message(Message::new(4002, 16, text))
}
