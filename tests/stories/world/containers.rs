//! What runs in containers: instances of SQL Server, the script of a staged upgrade, and applications, which only wait.

use super::{
    cluster::{Container, ContainerHost},
    sql_host::SqlHost,
};
use futures::{FutureExt, future::BoxFuture};
use quorate::sql::{
    Dial, Secret, Servers, Stream, Target,
    script::{self, Order, Script},
};
use serde_json::Value;
use standin::{net::SharedNetwork, sim::SimNet};
use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// Image of SQL Server, but for its tag.
const SQL_SERVER: &str = "mcr.microsoft.com/mssql/server:";
/// Image of a user's own tool.
pub const TOOL: &str = "tool:1";
/// Exit code of a script that failed.
const FAILED: i32 = 1;

#[derive(Default)]
struct Scripts {
    /// Asks runs to stop, by UID of the pod.
    stop: BTreeMap<String, watch::Sender<bool>>,
    words: BTreeMap<String, String>,
}

/// Runs everything; clones share it.
#[derive(Clone)]
pub struct Containers {
    sql: SqlHost,
    net: SimNet,
    scripts: Arc<Mutex<Scripts>>,
}

impl Containers {
    /// Nothing runs yet.
    pub fn new(sql: SqlHost, net: SimNet) -> Self {
        Self { sql, net, scripts: Arc::default() }
    }

    async fn script(self, container: Container, stop: watch::Receiver<bool>) -> i32 {
        let ended = match self.order(&container) {
            Err(why) => Err(why),
            Ok((script, order)) => {
                let (dialer, history) = (Way(self.net.host(&container.pod)), self.sql.history().clone());
                let mut say = |line: &str| history.note(container.pod.clone(), line.to_owned());
                script::run(&dialer, &script, &order, stop, &mut say).await.map_err(|failed| failed.to_string())
            }
        };
        let Err(why) = ended else { return 0 };
        self.scripts.lock().unwrap().words.insert(container.uid, why);
        FAILED
    }

    /// What the container is told by its arguments and finds in its volumes.
    fn order(&self, container: &Container) -> Result<(Script, Order), String> {
        let argument = |name: &str| {
            let arguments = container.object["spec"]["containers"][0]["args"].as_array().into_iter().flatten();
            let mut values =
                arguments.filter_map(|it| it.as_str()?.strip_prefix(&format!("--{name}=")).map(str::to_owned));
            values.next().ok_or_else(|| format!("--{name} is not given"))
        };
        let folder = volume_at(container, &argument("folder")?)?;
        let script = Script::new(self.files(container, &folder)?).map_err(|faults| format!("{faults:?}"))?;
        if argument("sha256")? != script.sha256 {
            return Err("nothing was run: the files are not those that the upgrade was started with".into());
        }
        let password = self.file(container, &argument("password-file")?)?;
        let authorities = self.file(container, &argument("authorities")?)?;
        let link = argument("link").ok().map(TryInto::try_into).transpose();
        let number = |text: String| text.parse().map_err(|error| format!("{text}: {error}"));
        Ok((
            script,
            Order {
                host: argument("host")?,
                port: 1433,
                authorities: authorities.into(),
                login: argument("login")?,
                password: Secret::new(String::from_utf8_lossy(&password)),
                database: argument("database")?.try_into().map_err(|error| format!("--database: {error}"))?,
                barrier: argument("barrier")?,
                attempt: argument("attempt")?,
                completion: argument("completion")?,
                links: link.map_err(|error| format!("--link: {error}"))?.into_iter().collect(),
                within: Duration::from_secs(number(argument("timeout")?)?),
                batch_within: None,
            },
        ))
    }

    /// A tool of the user's own: it finds the stage by its environment and makes the table of the new version there.
    async fn tool(self, container: Container) -> i32 {
        let ended = async {
            let variable = |name: &str| {
                let all = container.object["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
                let mut values = all.filter(|it| it["name"] == name).filter_map(|it| it["value"].as_str());
                values.next().map(str::to_owned).ok_or_else(|| format!("{name} is not set"))
            };
            let server = variable("QUORATE_SERVER")?;
            let (host, port) = server.split_once(',').ok_or("QUORATE_SERVER names no port")?;
            let password = self.file(&container, &variable("QUORATE_PASSWORD_FILE")?)?;
            let target = Target {
                key: "tool".into(),
                host: host.into(),
                address: None,
                port: port.parse().map_err(|error| format!("{port}: {error}"))?,
                authorities: self.file(&container, &variable("QUORATE_AUTHORITIES_FILE")?)?.into(),
                login: variable("QUORATE_LOGIN")?,
                password: Secret::new(String::from_utf8_lossy(&password)),
                database: Some(variable("QUORATE_DATABASE")?),
                program: "tool",
                kept: false,
            };
            let servers = Servers::new(Arc::new(Way(self.net.host(&container.pod))));
            let table = "CREATE TABLE dbo.invoice (id bigint NOT NULL PRIMARY KEY)";
            servers.run(&target, table, Duration::from_secs(10)).await.map_err(|error| error.to_string())
        };
        let Err(why) = ended.await else { return 0 };
        self.scripts.lock().unwrap().words.insert(container.uid, why);
        FAILED
    }

    /// A file in a volume that the container has.
    fn file(&self, container: &Container, path: &str) -> Result<Vec<u8>, String> {
        let (folder, key) = path.rsplit_once('/').unwrap_or_default();
        let volume = volume_at(container, folder)?;
        match volume["secret"]["secretName"].as_str() {
            Some(secret) => self.sql.secret(&container.namespace, secret, key),
            None => self.files(container, &volume)?.remove(key).ok_or_else(|| format!("{path} does not exist")),
        }
    }

    /// The files of a ConfigMap that is mounted.
    fn files(&self, container: &Container, volume: &Value) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let Some(name) = volume["configMap"]["name"].as_str() else { return Ok(BTreeMap::new()) };
        let map = self.sql.api().find("configmaps", &container.namespace, name);
        let map = map.ok_or_else(|| format!("configmap {name} not found"))?;
        let files = map["data"].as_object().into_iter().flatten();
        Ok(files.map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().into())).collect())
    }
}

/// The way of a script to its instance.
struct Way(SharedNetwork);

impl Dial for Way {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move { Ok(Box::new(self.0.dial(host, port).await?) as Stream) }.boxed()
    }
}

/// The volume that a container has at a folder.
fn volume_at(container: &Container, folder: &str) -> Result<Value, String> {
    let spec = &container.object["spec"];
    let named = |list: &Value, key: &str, value: &Value| {
        let mut found = list.as_array().into_iter().flatten().filter(|it| it[key] == *value);
        found.next().cloned().ok_or_else(|| format!("no volume is at {folder}"))
    };
    let mount = named(&spec["containers"][0]["volumeMounts"], "mountPath", &folder.into())?;
    named(&spec["volumes"], "name", &mount["name"])
}

fn is_sql_server(container: &Container) -> bool {
    container.object["spec"]["containers"][0]["image"].as_str().is_some_and(|image| image.starts_with(SQL_SERVER))
}

impl ContainerHost for Containers {
    fn prepare(&self, container: &Container) -> BoxFuture<'static, Result<(), String>> {
        if is_sql_server(container) {
            return self.sql.prepare(container);
        }
        async { Ok(()) }.boxed()
    }

    fn start(&self, container: &Container) -> BoxFuture<'static, i32> {
        if is_sql_server(container) {
            return self.sql.start(container);
        }
        let spec = &container.object["spec"]["containers"][0];
        if spec["image"] == TOOL {
            return self.clone().tool(container.clone()).boxed();
        }
        if spec["args"][0] != "script" {
            return pending().boxed();
        }
        let (stop, stopped) = watch::channel(false);
        self.scripts.lock().unwrap().stop.insert(container.uid.clone(), stop);
        self.clone().script(container.clone(), stopped).boxed()
    }

    fn stop(&self, container: &Container) {
        self.sql.stop(container);
        if let Some(stop) = self.scripts.lock().unwrap().stop.get(&container.uid) {
            stop.send_replace(true);
        }
    }

    fn kill(&self, container: &Container) {
        if is_sql_server(container) {
            self.sql.kill(container);
        }
    }

    fn last_words(&self, container: &Container) -> Option<String> {
        self.scripts.lock().unwrap().words.get(&container.uid).cloned()
    }
}
