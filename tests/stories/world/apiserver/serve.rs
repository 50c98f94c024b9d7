//! HTTP in, HTTP out, with the faults of the client's link between.

use super::{
    ApiServer,
    link::{Act, Link, Reach},
    read::view,
    request::{Request, Verb},
    status::Failure,
    store::Outcome,
    watch,
};
use crate::world::effects::Verdict;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::Value;
use std::{future::pending, io};
use tokio::time::sleep;
use tower::BoxError;

type Answer = http::Response<UnsyncBoxBody<Bytes, BoxError>>;

/// Answers one HTTP request of a client.
pub async fn answer(server: ApiServer, link: Link, request: http::Request<Body>) -> Result<Answer, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if link.effects.has_stopped() {
        return pending().await;
    }
    arrive(&link).await?;
    let request = match Request::parse(&parts.method, &parts.uri, &parts.headers, &body) {
        Ok(request) => request,
        Err(failure) => return Ok(respond(failure.code, &failure.body())),
    };
    let act = link.act_on(&request);
    if let Some(act) = act {
        server.history().note("fault", format!("{}: {request}: {act:?}", link.id));
    }
    match act {
        Some(Act::Refuse) => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        Some(Act::Hang) => return pending().await,
        Some(Act::Delay(extra)) => sleep(extra).await,
        _ => {}
    }
    let verdict = if request.verb.writes() { link.effects.next(request.to_string()) } else { Verdict::Proceed };
    if verdict == Verdict::Withhold {
        server.history().note("fault", format!("{} stopped before: {request}", link.id));
        return pending().await;
    }
    sleep(link.draw_latency()).await;
    arrive(&link).await?;
    if let Some(Act::Answer(code)) = act {
        return Ok(respond(code, &Failure::of_code(code).body()));
    }
    if request.verb == Verb::Watch {
        return Ok(match watch::stream(&server, &link, request) {
            Ok(stream) => http::Response::new(StreamBody::new(stream).boxed_unsync()),
            Err(failure) => respond(failure.code, &failure.body()),
        });
    }
    if let Some(Act::Late(by)) = act {
        tokio::spawn(async move {
            sleep(by).await;
            let _ = server.perform(&link.id, &request);
        });
        return pending().await;
    }
    let outcome = server.perform(&link.id, &request);
    if verdict == Verdict::Swallow || act == Some(Act::LoseAnswer) {
        server.history().note("fault", format!("{} gets no answer to: {request}", link.id));
        return pending().await;
    }
    if let Some(Act::EffectThenAnswer(code)) = act {
        return Ok(respond(code, &Failure::of_code(code).body()));
    }
    sleep(link.draw_latency()).await;
    arrive(&link).await?;
    Ok(told(outcome, &request))
}

fn told(outcome: Result<Outcome, Failure>, request: &Request) -> Answer {
    match outcome {
        Ok(Outcome { code, body, .. }) if request.metadata_only && request.verb.writes() => {
            respond(code, &view(&body, true))
        }
        Ok(Outcome { code, body, .. }) => respond(code, &body),
        Err(failure) => respond(failure.code, &failure.body()),
    }
}

/// Waits while packets vanish; fails when the connection is reset.
async fn arrive(link: &Link) -> Result<(), BoxError> {
    let mut reach = link.watch_reach();
    loop {
        let now = *reach.borrow_and_update();
        match now {
            Reach::Fine => return Ok(()),
            Reach::Refused => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Reach::Hanging => reach.changed().await?,
        }
    }
}

fn respond(code: u16, body: &Value) -> Answer {
    let bytes = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = http::Response::new(bytes);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
