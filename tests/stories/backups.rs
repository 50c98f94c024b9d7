//! Log backups: people take them, the operator tells when they do not.

use crate::stage::{Setup, Stage, seconds};
use serde_json::Value;

const DAY: i64 = 24 * 3_600;

fn line(stage: &Stage) -> Value {
    stage.group()["status"]["databases"][0].clone()
}

/// Warnings in the status, and events of the same reason that were written.
fn overdue(stage: &Stage) -> (bool, usize) {
    let warnings = stage.group()["status"]["warnings"].as_array().cloned().unwrap_or_default();
    let events = stage.plane.api.all("events", "shop");
    let told = events.iter().filter(|event| event["reason"] == "LogBackupOverdue");
    (warnings.iter().any(|warning| warning["reason"] == "LogBackupOverdue"), told.count())
}

/// A person backs up the log on the primary.
async fn back_up(stage: &Stage) {
    let connection = stage.connection("person", "orders-rw.shop.svc");
    connection.run("BACKUP LOG [orders] TO DISK = N'/backup/orders.trn'").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_day_without_log_backups_is_warned_of_once_until_a_person_takes_one() {
    let stage = Stage::ready(Setup::new(71)).await;
    stage.pass(seconds(90)).await;
    assert_eq!(line(&stage).get("lastLogBackup"), None, "the first backup of a database is a full one");
    assert_eq!(overdue(&stage), (false, 0));
    // The last one is almost a day old.
    let server = stage.host.server("orders-0").unwrap();
    let almost = server.now() - (DAY - 120) * 1_000_000;
    server.instance.backup_log("orders", almost).await.unwrap();
    stage.until("told", seconds(70), |stage| line(stage).get("lastLogBackup").is_some()).await;
    assert_eq!(overdue(&stage), (false, 0));
    stage.until("overdue", seconds(150), |stage| overdue(stage).0).await;
    stage.check(stage.is_ready(), "still ready");
    stage.check(stage.condition("Stalled").is_none(), "nothing is stalled");
    stage.pass(seconds(90)).await;
    assert_eq!(overdue(&stage), (true, 1), "one event");
    // Another process finds it told.
    stage.crash("operator").await;
    stage.start("operator");
    stage.pass(seconds(90)).await;
    assert_eq!(overdue(&stage), (true, 1), "no second event");
    let before = server.now() / 1_000_000;
    back_up(&stage).await;
    stage.until("no longer overdue", seconds(70), |stage| !overdue(stage).0).await;
    let last: jiff::Timestamp = line(&stage)["lastLogBackup"].as_str().unwrap().parse().unwrap();
    assert!((0..5).contains(&(last.as_second() - before)), "{last} {before}");
    stage.rests().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_forgets_no_log_backup() {
    let stage = Stage::ready(Setup::new(72)).await;
    back_up(&stage).await;
    stage.until("told", seconds(70), |stage| line(stage).get("lastLogBackup").is_some()).await;
    let told = line(&stage)["lastLogBackup"].clone();
    assert!(stage.kill("orders-0"));
    stage
        .until("another primary", seconds(10), |stage| !stage.primary().is_empty() && stage.primary() != "orders-0")
        .await;
    stage.becomes_ready().await;
    stage.pass(seconds(90)).await;
    assert_eq!(line(&stage)["lastLogBackup"], told);
    back_up(&stage).await;
    stage.until("told again", seconds(70), |stage| line(stage)["lastLogBackup"] != told).await;
}
