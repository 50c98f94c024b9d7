//! The group that the tests break: its manifest, what it says, and a client that writes all the time and keeps a ledger.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const GROUP: [&str; 4] = ["availabilitygroup", "-n", NAMESPACE, "orders"];
pub(crate) const SYSTEM: &str = "quorate-system";
/// Longest outage that a test accepts; the goal for a killed container is 5 s.
pub(crate) const OUTAGE_LIMIT: f64 = 15.0;
/// The same for a switchover; the goal is 3 s.
pub(crate) const PLANNED_LIMIT: f64 = 5.0;

/// An application's login and its password.
pub(crate) const APPLICATION: (&str, &str) = ("shop", "Shop-4711-lab");

/// An example as it is shipped, with the stand-in as image.
pub(crate) fn with_the_stand_in(example: &str) -> String {
    example.replace("mcr.microsoft.com/mssql/server:2022-CU16-ubuntu-22.04", "lab.local/sqlservr:dev")
}

pub(crate) fn manifest() -> String {
    let (login, password) = APPLICATION;
    let secret = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: shop-db, namespace: {NAMESPACE}}}, stringData: {{password: {password}}}}}"
    );
    let logins = format!(
        "  logins: [{{name: {login}, passwordSecret: {{name: shop-db, key: password}}, databases: [{{name: orders, roles: [db_datareader]}}]}}]"
    );
    let group = with_the_stand_in(include_str!("../../deploy/examples/three-synchronous.yaml"));
    format!("{secret}\n---\n{}\n{logins}\n", group.trim_end())
}

/// A group that is Ready, and its primary.
pub(crate) fn ready_group() -> (Namespace, Healed, String) {
    let guards = (Namespace::new(NAMESPACE), Healed);
    apply(&manifest());
    let group = wait_for_condition(180, &GROUP, "Ready", "True");
    let primary = text(&group, "/status/primary").to_owned();
    (guards.0, guards.1, primary)
}

pub(crate) fn try_group() -> Result<Value, String> {
    try_kubectl_json(&[&["get"], GROUP.as_slice()].concat())
}

pub(crate) fn group() -> Value {
    try_group().unwrap_or_else(|error| panic!("{error}"))
}

/// Number of the last election.
pub(crate) fn epoch(group: &Value) -> u64 {
    group.pointer("/status/election/epoch").and_then(Value::as_u64).unwrap_or_default()
}

pub(crate) fn password() -> String {
    password_of((NAMESPACE, "orders"))
}

/// Password of `sa` in a group.
pub(crate) fn password_of((namespace, group): (&str, &str)) -> String {
    let template = "go-template={{.data.password | base64decode}}";
    kubectl(&["get", "secret", "-n", namespace, &format!("{group}-admin"), "-o", template])
}

/// The Service for writers of a group.
pub(crate) fn host((namespace, group): (&str, &str)) -> String {
    format!("{group}-rw.{namespace}.svc.cluster.local")
}

/// Runs one batch on the primary, through the service, as `sa`; rows as JSON arrays.
pub(crate) fn sql(database: &str, batch: &str) -> String {
    sql_as(("sa", &password()), database, batch)
}

pub(crate) fn sql_as(login: (&str, &str), database: &str, batch: &str) -> String {
    try_sql_as(login, database, batch).unwrap_or_else(|error| panic!("{batch}: {error}"))
}

/// The rows, or the error text.
pub(crate) fn try_sql_as(login: (&str, &str), database: &str, batch: &str) -> Result<String, String> {
    try_sql_at(&host((NAMESPACE, "orders")), login, database, batch)
}

/// The same at any host of the cluster.
pub(crate) fn try_sql_at(
    host: &str,
    (user, password): (&str, &str),
    database: &str,
    batch: &str,
) -> Result<String, String> {
    let mut command = Command::new("lab");
    command.args(["sql", "--host", host, "--user", user, "--database", database, batch]).env("LAB_PASSWORD", password);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A client that writes all the time.
pub(crate) struct Writer {
    child: Child,
    ledger: PathBuf,
    directory: tempfile::TempDir,
    /// What it writes into.
    table: &'static str,
}

impl Writer {
    /// A writer in database `orders` of a group.
    fn command(directory: &tempfile::TempDir, group: (&str, &str)) -> Command {
        let ca = directory.path().join("ca.pem");
        let authority = format!("{}-ca", group.1);
        let pem = kubectl(&["get", "configmap", "-n", group.0, &authority, "-o", "jsonpath={.data.ca\\.crt}"]);
        std::fs::write(&ca, pem).unwrap();
        let mut command = Command::new("lab");
        command.args(["writer", "--host", &host(group), "--database", "orders"]);
        command.arg("--ca").arg(ca).arg("--ledger").arg(directory.path().join("ledger"));
        command.env("LAB_PASSWORD", password_of(group));
        command
    }

    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        let child = Self::command(&directory, (NAMESPACE, "orders")).stdout(Stdio::null()).spawn().unwrap();
        let writer = Self { child, ledger, directory, table: "ledger" };
        writer.wait_for_more("the first writes");
        writer
    }

    /// A user of the application who orders all the time, from the moment on at which there is a front Service.
    pub(crate) fn user() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        let mut command = Command::new("lab");
        command.args(["visit", "--pause", "20", "--ledger"]).arg(&ledger);
        let child =
            command.arg(format!("shop.{NAMESPACE}.svc.cluster.local:80")).stdout(Stdio::null()).spawn().unwrap();
        Self { child, ledger, directory, table: "sale" }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.answers().iter().filter(|(outcome, ..)| outcome == "acknowledged").count()
    }

    /// Every answer in order: the outcome, when, in seconds, and what was said.
    fn answers(&self) -> Vec<(String, f64, String)> {
        let text = std::fs::read_to_string(&self.ledger).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let (outcome, at) = (words.next()?.to_owned(), words.nth(1)?.parse::<f64>().ok()? / 1e6);
            Some((outcome, at, words.next().unwrap_or_default().to_owned()))
        };
        text.lines().filter(|text| !text.starts_with("sent")).filter_map(line).collect()
    }

    /// Who served its user, from the first page on.
    pub(crate) fn served(&self) -> Served {
        let answers = self.answers();
        let by = |said: &str| said.split(' ').next().unwrap_or_default().to_owned();
        let mut versions: Vec<_> =
            answers.iter().filter(|(outcome, ..)| outcome == "acknowledged").map(|(_, _, said)| by(said)).collect();
        versions.dedup();
        let pages: Vec<_> = answers.iter().filter(|(outcome, ..)| outcome != "unknown").map(|(_, at, _)| *at).collect();
        let gaps = pages.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let (gap, from) = gaps.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
        let missed = answers.iter().filter(|(_, at, _)| (from..from + gap).contains(at)).skip(1);
        let instead = missed.map(|(_, at, said)| format!("{:.2} s: {said}", at - from)).collect();
        Served { versions, gap, instead }
    }

    pub(crate) fn wait_for_more(&self, what: &str) {
        let before = self.acknowledged();
        wait_until(60, what, || match self.acknowledged() {
            now if now > before + 20 => Ok(()),
            now => Err(format!("{} more", now - before)),
        });
    }

    /// Ends it and compares the table with the ledger; the longest outage in seconds.
    pub(crate) fn finish(mut self, fault: &str) -> f64 {
        sleep(Duration::from_secs(1));
        let report = self.check(fault, "orders");
        let longest = longest_outage(&report);
        println!(
            "outage after {fault}: {longest:.2} s{}; {} acknowledged, none lost, {} refused, {} unknown",
            parts(&group()),
            report["acknowledged"],
            report["refused"],
            report["unknown"],
        );
        longest
    }

    /// Ends it and compares the ledger with the table of a group: whatever was acknowledged is there.
    pub(crate) fn check(&mut self, what: &str, group: &str) -> Value {
        self.check_in(what, (NAMESPACE, group))
    }

    /// The same in any namespace.
    pub(crate) fn check_in(&mut self, what: &str, group: (&str, &str)) -> Value {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let output = Self::command(&self.directory, group).args(["--table", self.table, "--check"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: the ledger and the table of {group:?} differ: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What a user saw.
pub(crate) struct Served {
    /// The versions of the application that took orders, one after the other.
    pub(crate) versions: Vec<String>,
    /// Longest time without a page that could be read, in seconds.
    pub(crate) gap: f64,
    /// What came instead in that time.
    pub(crate) instead: Vec<String>,
}

/// Longest time between two acknowledgements of what a writer reports, in seconds; less than half a second is 0.
pub(crate) fn longest_outage(report: &Value) -> f64 {
    let outages = report["outages"].as_array().map_or([].as_slice(), Vec::as_slice);
    outages.iter().filter_map(|gap| gap["seconds"].as_f64()).fold(0.0, f64::max)
}

/// The parts of the last failover, as its status tells them.
pub(crate) fn parts(group: &Value) -> String {
    let steps = group.pointer("/status/lastFailover/steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let part = |step: &Value| format!("{} {:.2} s", text(step, "/name"), step["seconds"].as_f64().unwrap_or_default());
    let parts: Vec<_> = steps.iter().map(part).collect();
    if parts.is_empty() { String::new() } else { format!(", of it {}", parts.join(", ")) }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Changes the spec.
pub(crate) fn patch(spec: &str) {
    let patch = format!("{{\"spec\":{spec}}}");
    kubectl(&[&["patch", "--type=merge", "--patch", &patch], GROUP.as_slice()].concat());
}

/// Pauses the operator for this group, as people do before they work on an instance themselves.
pub(crate) fn pause(paused: bool) {
    patch(&format!("{{\"paused\":{paused}}}"));
    let reason = |group: &Value| group.pointer("/status/conditions/0/reason").cloned().unwrap_or_default();
    wait_until(30, if paused { "paused" } else { "no longer paused" }, || {
        let seen = reason(&try_group()?);
        if (seen == "Paused") == paused { Ok(()) } else { Err(seen.to_string()) }
    });
}

pub(crate) fn wait_for_another_primary(than: &str) -> String {
    wait_until(60, "another primary", || {
        let group = try_group()?;
        let primary = text(&group, "/status/primary").to_owned();
        if primary.is_empty() || primary == than { Err(group["status"].to_string()) } else { Ok(primary) }
    })
}

/// The leading operator's pod.
pub(crate) fn leader() -> String {
    let leases = kubectl_json(&["get", "leases", "-n", SYSTEM]);
    let holder = text(&leases, "/items/0/spec/holderIdentity").to_owned();
    let pods = kubectl_json(&["get", "pods", "-n", SYSTEM]);
    let mut names = pods["items"].as_array().unwrap().iter().map(|pod| text(pod, "/metadata/name").to_owned());
    names.find(|name| holder.contains(name)).unwrap_or_else(|| panic!("who is {holder}?"))
}

pub(crate) fn node_of(namespace: &str, pod: &str) -> String {
    text(&kubectl_json(&["get", "pod", "-n", namespace, pod]), "/spec/nodeName").to_owned()
}
