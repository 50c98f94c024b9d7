//! One screen: a group comes up, loses its primary while a client writes, and is writable again.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::error::{AtPath as _, Error, Result};
use crate::faults::{self, Blow};
use crate::layout::Layout;
use crate::product::{ORDERS, SHOP};
use crate::progress::Progress;
use crate::shell::{self, Look};
use crate::{cli, cluster, kubectl, product};

pub(crate) fn run(layout: &Layout, progress: Progress) -> Result<()> {
    begun(layout, progress, story)
}

/// A cluster with Quorate and the example group, then what is told on it.
pub(crate) fn begun(
    layout: &Layout,
    progress: Progress,
    story: impl FnOnce(&Layout, Progress) -> Result<()>,
) -> Result<()> {
    cluster::up(layout, progress)?;
    product::load_images(layout, progress)?;
    product::install(layout, progress)?;
    // The old version of an upgrade that succeeded stays read-only for good, for one.
    let earlier = kubectl::output(layout, &["delete", "namespace", SHOP, "--ignore-not-found", "--timeout=120s"])?;
    if !earlier.trim().is_empty() {
        progress.say(format!("removed namespace {SHOP}, which an earlier demo left"));
    }
    product::example(layout)?;
    progress.say("applied deploy/examples/three-synchronous.yaml; from here on: kubectl get ag -w");
    let outcome = story(layout, progress);
    if outcome.is_err() {
        eprintln!("the cluster is left running: cargo lab kubectl get ag,pods -A; cargo lab down");
    }
    outcome
}

fn story(layout: &Layout, progress: Progress) -> Result<()> {
    let mut watch = kubectl::command(layout)?;
    watch.args(["get", "availabilitygroups", "--namespace", SHOP, "--watch"]);
    let watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let watch = watch.map_err(|error| Error::refused(format!("cannot watch: {error}")))?;
    let (watch, _) = shown(watch, progress, "  | ", 1);
    let outcome = lose_primary(layout, progress);
    watch.end(Signal::KILL);
    let summary = outcome?;
    let outage = summary.pointer("/outages/0/seconds").and_then(Value::as_f64).unwrap_or_default();
    println!();
    println!("The primary's container was killed; the group was writable again after {outage:.1} s.");
    println!("Quorate's part of it: {}.", parts(&product::group(layout)?));
    let count = |key: &str| summary.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (acknowledged, refused, unknown) = (count("acknowledged"), count("refused"), count("unknown"));
    println!(
        "{acknowledged} rows were acknowledged, and every one is there. {refused} were refused, {unknown} left in doubt."
    );
    println!("\nThe cluster is yours. Try:");
    println!("  cargo lab kubectl get ag -n {SHOP} -w           # and in another terminal:");
    println!("  cargo lab node off n1                        # pull the plug of a node, then `node on n1`");
    println!("  cargo lab kubectl describe ag {ORDERS} -n {SHOP}    # what happened, and why");
    println!("`cargo lab down --purge` removes it all.");
    Ok(())
}

/// The parts of the last failover, as the status of a group tells them.
fn parts(group: &Value) -> String {
    let steps = group.pointer("/status/lastFailover/steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let part = |step: &Value| {
        let name = step["name"].as_str().unwrap_or_default();
        format!("{name} {:.2} s", step["seconds"].as_f64().unwrap_or_default())
    };
    steps.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn lose_primary(layout: &Layout, progress: Progress) -> Result<Value> {
    let primary = product::wait_for_group(layout, 180)?;
    progress.say(format!("the group is Ready; {primary} is the primary; a client begins to write"));
    let (writer, acknowledged) = write(layout, progress)?;
    let writing = |from: u64, what: &str| {
        shell::wait_until(60, what, || {
            let now = acknowledged.load(Ordering::Relaxed);
            Ok(Look::when(now > from + 20, format!("{now} acknowledged")))
        })
    };
    let outcome = (|| -> Result<()> {
        writing(0, "the first writes")?;
        sleep(Duration::from_secs(4));
        faults::strike(layout, SHOP, &primary, None, Blow::Kill)?;
        progress.say(format!("killed the container of {primary}"));
        sleep(Duration::from_secs(1));
        writing(acknowledged.load(Ordering::Relaxed), "writes after the loss of the primary")?;
        sleep(Duration::from_secs(3));
        Ok(())
    })();
    writer.end(Signal::TERM);
    outcome?;
    check(layout)
}

fn ledger(layout: &Layout) -> PathBuf {
    layout.root().join("demo-ledger")
}

fn arguments(layout: &Layout) -> Result<Vec<OsString>> {
    let program = std::env::current_exe().at(Path::new("/proc/self/exe"))?;
    let ca = layout.root().join("demo-ca.crt");
    let text = kubectl::output(
        layout,
        &["get", "configmap", "--namespace", SHOP, &format!("{ORDERS}-ca"), "--output=jsonpath={.data.ca\\.crt}"],
    )?;
    fs::write(&ca, text).at(&ca)?;
    let host = format!("{ORDERS}-rw.{SHOP}.svc.cluster.local");
    let mut arguments = vec![program.into_os_string(), "writer".into(), "--host".into(), host.into()];
    arguments.extend(["--database", ORDERS, "--user", "sa", "--table", "demo"].map(OsString::from));
    arguments.extend(["--ca".into(), ca.into_os_string(), "--ledger".into(), ledger(layout).into_os_string()]);
    Ok(arguments)
}

fn password(layout: &Layout) -> Result<String> {
    let secret = format!("{ORDERS}-admin");
    let template = "--output=go-template={{.data.password | base64decode}}";
    kubectl::output(layout, &["get", "secret", "--namespace", SHOP, &secret, template])
}

fn write(layout: &Layout, progress: Progress) -> Result<(Shown, std::sync::Arc<AtomicU64>)> {
    let _ = fs::remove_file(ledger(layout));
    let mut command = cli::inside(layout, &arguments(layout)?)?;
    command.env("LAB_PASSWORD", password(layout)?);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.map_err(|error| Error::refused(format!("cannot start the writer: {error}")))?;
    Ok(shown(child, progress, "  > ", 2))
}

/// Compares the table with the ledger.
fn check(layout: &Layout) -> Result<Value> {
    let mut command = cli::inside(layout, &arguments(layout)?)?;
    let text = shell::output(command.arg("--check").env("LAB_PASSWORD", password(layout)?))?;
    serde_json::from_str(&text).map_err(|source| Error::Json { what: "the writer".to_owned(), source })
}

/// A program whose output appears on the screen.
pub(crate) struct Shown {
    child: Child,
    reader: std::thread::JoinHandle<()>,
}

impl Shown {
    pub(crate) fn end(mut self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            shell::signal(pid, signal);
        }
        let _ = self.child.wait();
        let _ = self.reader.join();
    }
}

/// Shows every `nth` line and counts the acknowledgements that the lines of a writer tell of.
pub(crate) fn shown(
    mut child: Child,
    progress: Progress,
    mark: &'static str,
    nth: usize,
) -> (Shown, std::sync::Arc<AtomicU64>) {
    let acknowledged = std::sync::Arc::new(AtomicU64::new(0));
    let (output, counter) = (child.stdout.take(), acknowledged.clone());
    let reader = std::thread::spawn(move || {
        let lines =
            output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(std::result::Result::ok));
        let mut before = String::new();
        for (number, line) in lines.enumerate() {
            if let Some(total) = total(&line) {
                counter.store(total, Ordering::Relaxed);
            }
            // A row that differs in nothing but its age tells nothing new.
            let news = line.rsplit_once(' ').map_or(line.as_str(), |(row, _age)| row.trim_end()).to_owned();
            let shown = number % nth == 0 || line.contains("writable again");
            if shown && !line.starts_with('{') && news != before {
                before = news;
                let line = line.split_once(" s  ").map_or(line.as_str(), |(_, rest)| rest);
                progress.say(format!("{mark}{line}"));
            }
        }
    });
    (Shown { child, reader }, acknowledged)
}

/// The number before `in all` in a writer's line.
fn total(line: &str) -> Option<u64> {
    line.split_once(" in all")?.0.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writers_line_tells_how_many_rows_it_has() {
        assert_eq!(total("    3.0 s  orders-0: 180 acknowledged in this second, 540 in all, 0 refused"), Some(540));
        assert_eq!(total("orders  True  orders-0"), None);
    }
}
