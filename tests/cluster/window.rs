//! The time in which production is read-only: how long it is for databases of two sizes, and what kills in it change.

use serde_json::Value;

use crate::{shop::*, support::*, upgrade::*};

/// Rows of 4,000 characters are doubled so often for a megabyte.
const DOUBLINGS: u32 = 8;

/// Everything up to the upgrade, with so many megabytes in the database.
fn begun(megabytes: u32) -> (Namespace, Healed, Writer) {
    let (namespace, healed) = in_service();
    sql("orders", "CREATE TABLE dbo.block (text nvarchar(4000)); CREATE TABLE dbo.filler (text nvarchar(4000))");
    sql("orders", "INSERT INTO dbo.block (text) VALUES (REPLICATE(N'x', 4000))");
    for _ in 0..DOUBLINGS {
        sql("orders", "INSERT INTO dbo.block (text) SELECT b.text FROM dbo.block AS b");
    }
    for block in (1..megabytes).step_by(8) {
        let copies = (megabytes - block).min(8);
        let copy = "INSERT INTO dbo.filler (text) SELECT b.text FROM dbo.block AS b; ".repeat(copies as usize);
        sql("orders", &copy);
    }
    let writer = Writer::start();
    apply(&staged(&upgrade()));
    (namespace, healed, writer)
}

/// Milliseconds of each part of the read-only time, and all of it.
fn read_only(status: &Value) -> i64 {
    let parts = status.pointer("/readOnly/parts").and_then(Value::as_object).cloned().unwrap_or_default();
    parts.values().filter_map(Value::as_i64).sum()
}

fn succeeds(mut writer: Writer, what: &str) -> i64 {
    let status = ends_in("Succeeded");
    tell(&status);
    let report = writer.check(what, "orders-v2");
    println!("{what}: {} acknowledged on the old version, every one is on the new one", report["acknowledged"]);
    read_only(&status)
}

/// Waits until production is read-only and nobody has been switched.
fn is_read_only() -> String {
    wait_until(180, "production is read-only", || {
        let status = status()?;
        let step = text(&status, "/step").to_owned();
        let within = ["ReadOnly", "Synchronizing", "Terminating", "RunningScript"].contains(&step.as_str());
        if within { Ok(step) } else { Err(status.to_string()) }
    })
}

#[test]
#[ignore = "needs the lab"]
fn it_is_as_long_for_a_large_database_as_for_a_small_one() {
    let took = [10, 500].map(|megabytes| {
        let (_namespace, _healed, writer) = begun(megabytes);
        let took = succeeds(writer, &format!("a database of {megabytes} MB"));
        println!("{megabytes} MB: read-only {took} ms");
        took
    });
    let [small, large] = took;
    assert!(large < small + 3_000, "{small} ms, {large} ms");
}

#[test]
#[ignore = "needs the lab"]
fn an_operator_that_dies_in_it_is_followed_by_one_that_goes_on() {
    let (_namespace, _healed, writer) = begun(1);
    let step = is_read_only();
    kubectl(&["delete", "pod", "-n", SYSTEM, &leader(), "--grace-period=0", "--force"]);
    let took = succeeds(writer, &format!("the leading operator died in {step}"));
    println!("read-only {took} ms");
}

#[test]
#[ignore = "needs the lab"]
fn a_failover_of_production_in_it_lets_nobody_in() {
    let (_namespace, _healed, writer) = begun(1);
    let step = is_read_only();
    fault("kill", NAMESPACE, text(&group(), "/status/primary"));
    let took = succeeds(writer, &format!("production's primary died in {step}"));
    println!("read-only {took} ms");
}
