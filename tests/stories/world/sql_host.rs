//! Containers of SQL Server: each is a stand-in instance in this process, on the simulated network, with a disk that
//! outlives it.

use super::{
    apiserver::ApiServer,
    cluster::{Container, ContainerHost},
    history::History,
    sql_door::{Door, Watched},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use standin::{
    faults::Faults,
    instance::{self, Disk},
    server::{Server, ServerOptions},
    sim::SimNet,
    tds::{self, Encryption, TlsSettings},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

/// Port of SQL Server.
pub const PORT: u16 = 1433;
/// Exit code after SIGTERM.
const STOPPED: i32 = 0;
/// Exit code when it cannot start.
const FAILED: i32 = 1;

struct Process {
    server: Option<Server>,
    stop: Arc<Notify>,
}

struct Inner {
    api: ApiServer,
    history: History,
    net: SimNet,
    faults: Faults,
    door: Door,
    seed: u64,
    /// Disks by claim.
    disks: Mutex<BTreeMap<String, Disk>>,
    /// Processes by UID of the pod.
    processes: Mutex<BTreeMap<String, Process>>,
}

/// Runs instances; clones share them.
#[derive(Clone)]
pub struct SqlHost(Arc<Inner>);

impl SqlHost {
    /// No instance yet. All of them share the switches.
    pub fn new(api: ApiServer, history: History, net: SimNet, faults: Faults, seed: u64) -> Self {
        let (disks, processes) = (Mutex::default(), Mutex::default());
        let door = Door::new(api.clone(), history.clone());
        Self(Arc::new(Inner { api, history, net, faults, door, seed, disks, processes }))
    }

    /// The API server of their cluster.
    pub fn api(&self) -> &ApiServer {
        &self.0.api
    }

    /// What happened.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// The door of all instances.
    pub fn door(&self) -> &Door {
        &self.0.door
    }

    /// The running server of a pod.
    pub fn server(&self, pod: &str) -> Option<Server> {
        let processes = self.0.processes.lock().unwrap();
        processes.values().filter_map(|process| process.server.clone()).find(|s| s.catalog.read().server_name == pod)
    }

    fn disk(&self, container: &Container) -> Disk {
        let claim = container.claims.get("data").cloned().unwrap_or_else(|| container.uid.clone());
        self.0.disks.lock().unwrap().entry(claim).or_insert_with(Disk::memory).clone()
    }

    /// The next container of a pod finds an empty disk.
    pub fn wipe(&self, pod: &str) {
        self.0.disks.lock().unwrap().retain(|claim, _| *claim != format!("data-{pod}"));
    }

    /// One value of a Secret.
    pub fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<Vec<u8>, String> {
        let secret = self.0.api.find("secrets", namespace, name).ok_or_else(|| format!("secret {name} not found"))?;
        let text = secret["data"][key].as_str().ok_or_else(|| format!("secret {name} has no key {key}"))?;
        decode(text).ok_or_else(|| format!("secret {name}: {key} is not base64"))
    }

    fn tls(&self, container: &Container) -> Result<TlsSettings, String> {
        let volumes = container.object["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let name = volumes
            .iter()
            .find_map(|volume| volume["secret"]["secretName"].as_str())
            .ok_or("the pod mounts no certificate")?;
        let part = |key: &str| self.secret(&container.namespace, name, key);
        TlsSettings::from_pem(&part("tls.crt")?, &part("tls.key")?).map_err(|error| error.to_string())
    }

    fn password(&self, container: &Container) -> Result<String, String> {
        let env = container.object["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        let own =
            env.iter().find(|entry| entry["name"] == "MSSQL_SA_PASSWORD").ok_or("MSSQL_SA_PASSWORD is not set")?;
        let from = &own["valueFrom"]["secretKeyRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let bytes = self.secret(&container.namespace, &text(&from["name"]), &text(&from["key"]))?;
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }

    async fn run(self, container: Container, stop: Arc<Notify>) -> Result<(), String> {
        let (tls, sa_password) = (self.tls(&container)?, self.password(&container)?);
        let network = self.0.net.host(&container.pod);
        let spec = &container.object["spec"]["containers"][0];
        let (edition, engine_edition) = instance::edition(&variable(spec, "MSSQL_PID"))?;
        let mix = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        let config = instance::Config {
            server_name: container.pod.clone(),
            version: version(spec["image"].as_str().unwrap_or_default()).into(),
            edition: edition.into(),
            engine_edition,
            hadr_enabled: true,
            disk: self.disk(&container),
            collation: "SQL_Latin1_General_CP1_CI_AS".into(),
            seed: self.0.seed ^ container.pod.bytes().fold(container.restart, mix),
        };
        let uptime = u64::try_from(self.0.api.clock().elapsed().as_millis()).unwrap_or_default() + 600_000;
        let wall = self.0.api.clock().now().as_microsecond();
        let (network, faults) = (network.clone(), self.0.faults.clone());
        let options = ServerOptions { config, network: network.clone(), faults, sa_password, uptime, wall };
        let server = Server::start(options).await.map_err(|error| error.to_string())?;
        let listener = network.listen(PORT).await.map_err(|error| error.to_string())?;
        if let Some(process) = self.0.processes.lock().unwrap().get_mut(&container.uid) {
            process.server = Some(server.clone());
        }
        let watched = Watched::new(server.clone(), &container.pod, self.0.door.clone());
        tds::listen(Arc::new(watched), listener, Some(tls), Encryption::Required, stop.notified()).await;
        server.stop();
        Ok(())
    }
}

impl ContainerHost for SqlHost {
    fn prepare(&self, container: &Container) -> BoxFuture<'static, Result<(), String>> {
        let ready = self.tls(container).and_then(|_| self.password(container)).map(drop);
        async move { ready }.boxed()
    }

    fn start(&self, container: &Container) -> BoxFuture<'static, i32> {
        let stop = Arc::new(Notify::new());
        let process = Process { server: None, stop: stop.clone() };
        self.0.processes.lock().unwrap().insert(container.uid.clone(), process);
        let (host, container, net) = (self.clone(), container.clone(), self.0.net.clone());
        async move {
            let ended = host.clone().run(container.clone(), stop).await;
            net.kill(&container.pod);
            if let Err(why) = &ended {
                host.0.history.note(container.pod.clone(), format!("does not start: {why}"));
            }
            if ended.is_ok() { STOPPED } else { FAILED }
        }
        .boxed()
    }

    fn stop(&self, container: &Container) {
        if let Some(process) = self.0.processes.lock().unwrap().get(&container.uid) {
            process.stop.notify_one();
        }
    }

    fn kill(&self, container: &Container) {
        let process = self.0.processes.lock().unwrap().remove(&container.uid);
        if let Some(Process { server: Some(server), .. }) = process {
            server.instance.crash();
        }
        // A host without power cannot reset anything.
        if self.0.net.is_up(&container.pod) {
            self.0.net.kill(&container.pod);
        }
    }

    fn last_words(&self, _: &Container) -> Option<String> {
        None
    }
}

fn variable(container: &Value, name: &str) -> String {
    let env = container["env"].as_array().into_iter().flatten();
    let value = env.filter(|entry| entry["name"] == name).find_map(|entry| entry["value"].as_str());
    value.unwrap_or_default().to_owned()
}

/// Product version of an image, by its tag: the release, and 2017 also as it was before configuration-only replicas.
fn version(image: &str) -> &'static str {
    let tag = image.rsplit(':').next().unwrap_or_default();
    match tag.split('-').next().unwrap_or_default() {
        "2017" if tag.starts_with("2017-GA") => "14.0.1000.169",
        "2017" => "14.0.3456.2",
        "2019" => "15.0.4385.2",
        "2025" => "17.0.1000.7",
        _ => "16.0.4225.2",
    }
}

/// RFC 4648, with padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for c in text.bytes().filter(|c| *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    Some(out)
}
