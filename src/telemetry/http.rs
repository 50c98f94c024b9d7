//! Health, readiness, metrics, and the last observation of each group that could not be failed over.

use super::Metrics;
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::net::TcpListener;

/// Most observations kept; the one kept longest goes first.
const KEPT: usize = 64;

/// What the endpoints answer from.
#[derive(Default)]
pub struct Health {
    ready: AtomicBool,
    kept: Mutex<BTreeMap<(String, String), String>>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Health {
    /// The process serves: it leads, or it stands by for the leader.
    pub fn ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Keeps the observation of a group, as JSON, for `quorate explain`.
    pub fn keep(&self, namespace: &str, name: &str, observation: String) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((namespace.into(), name.into()), observation);
        if kept.len() > KEPT {
            kept.pop_first();
        }
    }

    fn kept(&self, namespace: &str, name: &str) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(namespace.into(), name.into())).cloned()
    }
}

/// Serves until `stop`. Error: the socket.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(health)).with_graceful_shutdown(stop).await
}

/// The endpoints.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/debug/observations/{namespace}/{name}", get(observation))
        .with_state(health)
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    if health.ready.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: no answer from the API server yet\n").into_response()
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match health.metrics.text() {
        Ok(text) => (kind, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn observation(State(health): State<Arc<Health>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    match health.kept(&namespace, &name) {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => (StatusCode::NOT_FOUND, "no failover of this group was blocked since this process started\n")
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn ask(health: &Arc<Health>, path: &str) -> (StatusCode, String) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router(health.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_is_alive_at_once_and_ready_when_told() {
        let health = Arc::new(Health::default());
        assert_eq!(ask(&health, "/healthz").await.0, StatusCode::OK);
        assert_eq!(ask(&health, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.ready(true);
        assert_eq!(ask(&health, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn the_observation_of_a_blocked_failover_is_kept() {
        let health = Arc::new(Health::default());
        let path = "/debug/observations/shop/orders";
        assert_eq!(ask(&health, path).await.0, StatusCode::NOT_FOUND);
        health.keep("shop", "orders", "{}".into());
        assert_eq!(ask(&health, path).await, (StatusCode::OK, "{}".into()));
        assert!(ask(&health, "/metrics").await.1.ends_with("# EOF\n"));
    }
}
