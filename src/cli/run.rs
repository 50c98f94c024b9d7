//! `quorate run`: the operator.

use super::Exit;
use crate::{
    controller::{self, Options},
    leader::End,
    sql::Tcp,
    telemetry::{self, Format, Health},
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::Api;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};

/// Connecting to the API server takes no longer.
const CONNECT: Duration = Duration::from_secs(3);
/// The one call before the start takes no longer.
const CALL: Duration = Duration::from_secs(5);

/// What `run` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Namespace to watch; all when absent
    #[arg(long, env = "QUORATE_NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    /// Namespace of the Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "quorate-system")]
    lease_namespace: String,
    /// Name of this process in the Lease
    #[arg(long, env = "POD_NAME", default_value = "quorate")]
    identity: String,
    /// Image that holds this program, for the pods' init containers; that of its own pod when absent
    #[arg(long, env = "QUORATE_IMAGE")]
    image: Option<String>,
    /// Address for health, metrics and saved observations
    #[arg(long, env = "QUORATE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What is logged, as in `info` or `quorate=debug`
    #[arg(long, env = "QUORATE_LOG", default_value = "info")]
    log: String,
    /// How a line of the log looks
    #[arg(long, env = "QUORATE_LOG_FORMAT", value_enum, default_value = "json")]
    log_format: Format,
}

/// Runs until SIGTERM, SIGINT, or the loss of leadership.
pub fn run(arguments: Arguments) -> Exit {
    if let Err(error) = telemetry::start(&arguments.log, arguments.log_format) {
        eprintln!("error: {error}");
        return Exit::Usage;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed("no runtime", &error.to_string()),
    };
    let exit = runtime.block_on(operate(arguments));
    // A lookup of a name that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    exit
}

fn failed(what: &str, error: &str) -> Exit {
    tracing::error!(error, "{what}");
    Exit::Failed
}

async fn operate(arguments: Arguments) -> Exit {
    // One provider for the API server and for instances; an error means that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = match client().await {
        Ok(client) => client,
        Err(error) => return failed("no way to the API server", &error),
    };
    let image = match own_image(&arguments, &client).await {
        Ok(image) => image,
        Err(error) => return failed("the image of this program is not known: pass --image", &error),
    };
    let listener = match TcpListener::bind(arguments.listen).await {
        Ok(listener) => listener,
        Err(error) => return failed("the health port cannot be opened", &format!("{}: {error}", arguments.listen)),
    };
    let stop = match stop() {
        Ok(stop) => stop,
        Err(error) => return failed("signals cannot be heard", &error.to_string()),
    };
    let health = Arc::new(Health::default());
    let served = tokio::spawn(telemetry::serve(listener, health.clone(), heard(stop.clone())));
    // Each life has a name of its own: what an earlier life sent may still be under way.
    let life = hex_of(random());
    let options = Options {
        client,
        dialer: Arc::new(Tcp),
        identity: format!("{}_{}", arguments.identity, life.get(..8).unwrap_or("life")),
        namespace: arguments.namespace,
        lease_namespace: arguments.lease_namespace,
        prepare_image: image,
        health,
        wall: Arc::new(Timestamp::now),
        random: Arc::new(random),
    };
    let end = controller::run(options, heard(stop)).await;
    served.abort();
    match end {
        End::Released => {
            tracing::info!("stopped; the lease is released");
            Exit::Done
        }
        End::Lost => failed("leadership lost", "another process takes over; this one starts again"),
    }
}

/// A client that waits for nobody: deadlines are ours, retries too.
async fn client() -> Result<kube::Client, String> {
    let mut config = kube::Config::infer().await.map_err(|error| error.to_string())?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    kube::Client::try_from(config).map_err(|error| error.to_string())
}

/// The image said, or that of the first container of the own pod.
async fn own_image(arguments: &Arguments, client: &kube::Client) -> Result<String, String> {
    if let Some(image) = &arguments.image {
        return Ok(image.clone());
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &arguments.lease_namespace);
    let pod = timeout(CALL, pods.get(&arguments.identity)).await.map_err(|_| "no answer in time".to_string())?;
    let spec = pod.map_err(|error| error.to_string())?.spec.unwrap_or_default();
    let image = spec.containers.into_iter().next().and_then(|container| container.image);
    image.ok_or_else(|| format!("pod {} names none", arguments.identity))
}

/// Turns true at SIGTERM or SIGINT.
pub(super) fn stop() -> std::io::Result<watch::Receiver<bool>> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn heard(mut stop: watch::Receiver<bool>) {
    // An error means that the listener is gone: then nothing can be heard any more.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Bytes from the operating system, by way of the TLS provider.
fn random() -> [u8; 24] {
    let mut bytes = [0; 24];
    let provider = rustls::crypto::ring::default_provider();
    if provider.secure_random.fill(&mut bytes).is_err() {
        // Never in practice: without randomness there is no TLS either, and nothing gets this far.
        std::process::abort();
    }
    bytes
}

fn hex_of(bytes: [u8; 24]) -> String {
    crate::sql::hex(&bytes)
}
