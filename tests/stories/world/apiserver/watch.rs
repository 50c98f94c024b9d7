//! WATCH: a stream of changes that ends, stalls and lies as its link orders.

use super::{
    ApiServer,
    link::{Delivery, Link, Reach},
    read::{as_seen, selector, view},
    request::Request,
    selector::Selector,
    status::Failure,
};
use bytes::Bytes;
use futures::Stream;
use http_body::Frame;
use serde_json::{Value, json};
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use tower::BoxError;

/// A real server sends a bookmark about once a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

struct Watch {
    server: ApiServer,
    link: Link,
    request: Request,
    selector: Selector,
    resource: String,
    kind: (String, String),
    /// Changes up to this revision were looked at.
    seen: u64,
    lines: VecDeque<Value>,
    held: Option<Value>,
    closing: bool,
    deadline: Instant,
    bookmark: Instant,
}

/// The body of the answer to a watch.
pub fn stream(
    server: &ApiServer,
    link: &Link,
    request: Request,
) -> Result<impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + use<>, Failure> {
    let watch = Watch::begin(server, link, request)?;
    Ok(futures::stream::unfold(watch, |mut watch| async move {
        let item = watch.next().await?;
        Some((item, watch))
    }))
}

impl Watch {
    fn begin(server: &ApiServer, link: &Link, request: Request) -> Result<Self, Failure> {
        let seconds = request.parameter("timeoutSeconds").parse().unwrap_or(1800);
        let mut watch = {
            let store = server.store();
            let kind = store.kind_of(&request)?;
            Self {
                selector: selector(&request)?,
                resource: kind.full_name(),
                kind: (kind.api_version(), kind.kind.clone()),
                seen: store.revision,
                server: server.clone(),
                link: link.clone(),
                lines: VecDeque::new(),
                held: None,
                closing: false,
                deadline: Instant::now() + Duration::from_secs(seconds),
                bookmark: Instant::now() + BOOKMARK_EVERY,
                request,
            }
        };
        watch.position();
        Ok(watch)
    }

    /// Finds where the stream starts.
    fn position(&mut self) {
        let asked: u64 = self.request.parameter("resourceVersion").parse().unwrap_or_default();
        let (revision, oldest) = {
            let store = self.server.store();
            (store.revision, store.compacted)
        };
        let initial = self.request.parameter("sendInitialEvents") == "true";
        if asked == 0 || initial {
            let objects: Vec<Arc<Value>> = {
                let store = self.server.store();
                let kind = store.kind_of(&self.request).unwrap();
                store
                    .all(&kind, &self.request.namespace)
                    .filter(|object| self.selector.selects(object))
                    .cloned()
                    .collect()
            };
            for object in objects {
                self.push("ADDED", &object);
            }
            self.seen = revision;
            if initial {
                let annotation = json!({"k8s.io/initial-events-end": "true"});
                let bookmark = self.bookmark_event(annotation);
                self.lines.push_back(bookmark);
            }
        } else if asked < oldest {
            self.lines.push_back(json!({"type": "ERROR", "object": Failure::expired(asked, oldest).body()}));
            self.closing = true;
        } else {
            self.seen = asked.min(revision);
        }
    }

    fn push(&mut self, what: &str, object: &Arc<Value>) {
        let object = view(object, self.request.metadata_only);
        self.lines.push_back(json!({"type": what, "object": *object}));
    }

    fn bookmark_event(&self, annotations: Value) -> Value {
        let (api_version, kind) = match self.request.metadata_only {
            true => ("meta.k8s.io/v1", "PartialObjectMetadata"),
            false => (self.kind.0.as_str(), self.kind.1.as_str()),
        };
        let mut metadata = json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        if annotations.is_object() {
            metadata["annotations"] = annotations;
        }
        json!({"type": "BOOKMARK", "object": {"apiVersion": api_version, "kind": kind, "metadata": metadata}})
    }

    async fn next(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        let mut reach = self.link.watch_reach();
        let mut revisions = self.server.watch_revision();
        loop {
            let now = *reach.borrow_and_update();
            match now {
                Reach::Fine => {}
                Reach::Refused => return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset).into())),
                Reach::Hanging => {
                    let _ = reach.changed().await;
                    continue;
                }
            }
            if let Some(line) = self.lines.pop_front() {
                let mut text = line.to_string();
                text.push('\n');
                return Some(Ok(Frame::data(Bytes::from(text))));
            }
            if self.closing {
                return None;
            }
            revisions.borrow_and_update();
            if self.behind() {
                sleep(self.link.draw_watch_latency()).await;
                self.catch_up();
                continue;
            }
            if Instant::now() >= self.bookmark {
                self.bookmark = Instant::now() + BOOKMARK_EVERY;
                if self.request.parameter("allowWatchBookmarks") == "true" {
                    let event = self.bookmark_event(Value::Null);
                    self.lines.push_back(event);
                }
                continue;
            }
            tokio::select! {
                biased;
                _ = reach.changed() => {}
                _ = revisions.changed() => {}
                () = sleep_until(self.deadline) => return None,
                () = sleep_until(self.bookmark) => {}
            }
        }
    }

    fn concerns(&self, change: &super::store::Change) -> bool {
        change.revision > self.seen
            && change.key.resource == self.resource
            && (self.request.namespace.is_empty() || change.key.namespace == self.request.namespace)
    }

    /// Whether something new concerns this watch; moves on over what does not.
    fn behind(&mut self) -> bool {
        let (found, revision) = {
            let store = self.server.store();
            let found = store.log.iter().rev().take_while(|c| c.revision > self.seen).any(|c| self.concerns(c));
            (found, store.revision)
        };
        if !found {
            self.seen = revision;
        }
        found
    }

    /// Queues what is new, as the link's courier delivers it.
    fn catch_up(&mut self) {
        let (changes, revision): (Vec<_>, u64) = {
            let store = self.server.store();
            let start = store.log.partition_point(|change| change.revision <= self.seen);
            (store.log[start..].iter().filter(|c| self.concerns(c)).cloned().collect(), store.revision)
        };
        for change in changes {
            let Some((what, object)) = as_seen(&change, &self.selector) else { continue };
            let event = json!({"type": what, "object": *view(&object, self.request.metadata_only)});
            match self.link.deliver(&change) {
                Delivery::Pass => self.lines.push_back(event),
                Delivery::Drop => continue,
                Delivery::Twice => self.lines.extend([event.clone(), event]),
                Delivery::Swap if self.held.is_none() => {
                    self.held = Some(event);
                    continue;
                }
                Delivery::Swap => self.lines.push_back(event),
                Delivery::Close => {
                    self.lines.extend(self.held.take());
                    self.closing = true;
                    return;
                }
            }
            self.lines.extend(self.held.take());
        }
        self.seen = revision;
    }
}
