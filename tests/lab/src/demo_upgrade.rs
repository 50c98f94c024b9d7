//! One screen: a new version of an application and its database is prepared beside the old one, and users are switched.

use std::ffi::OsString;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::demo::{begun, shown};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::product::{ORDERS, SHOP};
use crate::progress::Progress;
use crate::shell::{self, Look};
use crate::{cli, kubectl, product};

/// Name of the upgrade, of the stage's group, and of the Service that users reach.
const UPGRADE: &str = "shop-v2";
const STAGE: &str = "orders-v2";
const FRONT: &str = "shop";

pub(crate) fn run(layout: &Layout, progress: Progress) -> Result<()> {
    begun(layout, progress, |layout, progress| {
        product::wait_for_group(layout, 180)?;
        kubectl::apply(layout, &application("v1", ORDERS))?;
        progress.say("the group is Ready; the old version of the shop is deployed");
        kubectl::apply(layout, &product::upgrade()?)?;
        kubectl::apply(layout, &application("v2", STAGE))?;
        progress
            .say("applied deploy/examples/staged-upgrade.yaml and the new version; from here on: kubectl get rup -w");
        story(layout, progress)
    })
}

fn story(layout: &Layout, progress: Progress) -> Result<()> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error| Error::refused(format!("cannot {what}: {error}"))
    };
    let mut watch = kubectl::command(layout)?;
    watch.args(["get", "rollingupgrades", "--namespace", SHOP, "--watch"]);
    let watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let (watch, _) = shown(watch.map_err(failed("watch"))?, progress, "  | ", 1);
    let program = std::env::current_exe().map_err(failed("find this program"))?.into_os_string();
    let page = format!("{FRONT}.{SHOP}.svc.cluster.local:80");
    let visitor = cli::inside(layout, &[program, OsString::from("visit"), OsString::from(page)])
        .and_then(|mut visit| visit.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed("visit")));
    let outcome = visitor.and_then(|visitor| {
        let (visitor, _) = shown(visitor, progress, "  > ", 1);
        let ended = started(layout, progress).and_then(|()| reaches(layout, &["Succeeded", "RolledBack"]));
        visitor.end(Signal::KILL);
        ended
    });
    watch.end(Signal::KILL);
    tell(&outcome?)
}

/// Approves the start once everything is prepared and users were seen on the old version for a while.
fn started(layout: &Layout, progress: Progress) -> Result<()> {
    reaches(layout, &["ReadyForUpgrade"])?;
    progress.say("everything is prepared; users order on the old version, for as long as you like");
    sleep(Duration::from_secs(4));
    let start = r#"{"spec":{"approved":["Start"]}}"#;
    kubectl::output(layout, &["patch", "rup", UPGRADE, "--namespace", SHOP, "--type=merge", "--patch", start])?;
    progress.say(format!(
        "kubectl patch rup {UPGRADE} -n {SHOP} --type merge -p '{start}': from here on it goes on by itself"
    ));
    Ok(())
}

/// The status of the upgrade when it is at one of these steps.
fn reaches(layout: &Layout, steps: &[&str]) -> Result<Value> {
    let mut status = Value::Null;
    shell::wait_until(300, &format!("the upgrade to be at {}", steps.join(" or ")), || {
        let upgrade = kubectl::json(layout, &["get", "rollingupgrade", "--namespace", SHOP, UPGRADE, "--output=json"])?;
        status = upgrade.get("status").cloned().unwrap_or_default();
        let step = status.get("step").and_then(Value::as_str).unwrap_or_default();
        Ok(Look::when(steps.contains(&step), status.to_string()))
    })?;
    Ok(status)
}

fn tell(status: &Value) -> Result<()> {
    let text = |pointer: &str| status.pointer(pointer).map(ToString::to_string).unwrap_or_default();
    if status.get("step").and_then(Value::as_str) != Some("Succeeded") {
        return Err(Error::refused(format!("the upgrade went back: {}", text("/record/failure"))));
    }
    let parts = status.pointer("/readOnly/parts").and_then(Value::as_object).cloned().unwrap_or_default();
    let parts: Vec<_> = parts
        .iter()
        .map(|(part, took)| format!("{part} {:.1} s", took.as_f64().unwrap_or_default() / 1_000.0))
        .collect();
    println!(
        "\nThe shop took no orders for {} s, and could be read meanwhile: {}.",
        text("/readOnly/seconds"),
        parts.join(", ")
    );
    println!("Every order of the old version is there in the new one.");
    println!("\nThe cluster is yours. Try:");
    println!("  cargo lab kubectl describe rup {UPGRADE} -n {SHOP}   # each step and how long it took");
    println!(
        "  cargo lab kubectl patch rup {UPGRADE} -n {SHOP} --type merge -p '{{\"spec\":{{\"abort\":true,\"discardStageWrites\":true}}}}'"
    );
    println!(
        "                                              # back to the old version; orders since the switch are lost"
    );
    println!("`cargo lab down --purge` removes it all.");
    Ok(())
}

/// A version of the shop with its Service, writing into a group.
fn application(version: &str, group: &str) -> String {
    include_str!("../config/shop.yaml").replace("VERSION", version).replace("GROUP", group).replace("NAMESPACE", SHOP)
}
