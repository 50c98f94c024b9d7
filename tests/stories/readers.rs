//! Readers through Service `orders-ro`: synchronized, readable secondaries and nobody else (product.md, Services).

use crate::stage::{Setup, Stage, seconds, with_each_engine};
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(100);
const READ: &str = "SELECT @@SERVERNAME, (SELECT COUNT(*) FROM dbo.ledger AS l);";

/// Reads on a new connection, as far as the Service leads anywhere: who answered, and how many rows there were.
async fn read(stage: &Stage) -> Option<(String, i32)> {
    let sets = stage.connection("reader", "orders-ro.shop.svc").run(READ).await.ok()?;
    let row = &sets[0][0];
    Some((row.get::<&str, _>(0).unwrap().to_owned(), row.get::<i32, _>(1).unwrap()))
}

/// Reads for so long; nobody but a secondary answers. Returns the longest time without an answer.
async fn read_for(stage: &Stage, time: Duration) -> Duration {
    let (from, mut answered, mut longest) = (stage.plane.clock.elapsed(), stage.plane.clock.elapsed(), Duration::ZERO);
    while stage.plane.clock.elapsed() - from < time {
        if let Some((who, _)) = read(stage).await {
            let group = stage.host.server(&who).unwrap().instance.shared().group("orders").unwrap();
            let role = group.state().role;
            stage.check(role != standin::group::roles::Role::Primary, &format!("{who} answered a reader as primary"));
            answered = stage.plane.clock.elapsed();
        }
        longest = longest.max(stage.plane.clock.elapsed() - answered);
        stage.pass(OFTEN).await;
    }
    longest
}

async fn failed_over(engine: standin::faults::FailoverEngine) {
    let stage = Stage::ready(Setup::new(121).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let rows = stage.ledger.acknowledged() as i32;
    let (_, seen) = read(&stage).await.unwrap();
    stage.check((rows - 2..=rows + 2).contains(&seen), &format!("{seen} rows of {rows}"));
    let longest = read_for(&stage, seconds(5)).await;
    stage.check(longest < seconds(1), &format!("readers waited {longest:?} at rest"));
    // The secondary that readers are led to goes.
    let (reader, _) = read(&stage).await.unwrap();
    assert!(stage.kill(&reader));
    let longest = read_for(&stage, seconds(20)).await;
    stage.check(longest < seconds(3), &format!("readers waited {longest:?} for the other secondary"));
    stage.becomes_ready().await;
    // The primary goes: one of the two takes over, the other one serves readers again once it follows.
    assert!(stage.kill("orders-0"));
    let longest = read_for(&stage, seconds(20)).await;
    stage.check(longest < seconds(5), &format!("readers waited {longest:?} in a failover"));
    stage.ends_well(seconds(120), vec![client]).await;
}

#[test]
fn readers_are_led_to_synchronized_secondaries_and_never_to_a_primary() {
    with_each_engine(failed_over);
}

#[tokio::test(start_paused = true)]
async fn readers_are_led_nowhere_where_nobody_may_read_a_secondary() {
    let stage = Stage::ready(Setup::new(122).spec(|spec| spec["secondaryConnections"] = "No".into())).await;
    stage.pass(seconds(5)).await;
    let service = stage.plane.api.find("services", "shop", "orders-ro").unwrap();
    let led_to = crate::world::cluster::resolve::endpoints(&stage.plane.api, "shop", &service);
    stage.check(led_to.is_empty() && read(&stage).await.is_none(), &format!("{led_to:?}"));
}

/// Only those with read intent may enter: a driver says ApplicationIntent=ReadOnly.
#[tokio::test(start_paused = true)]
async fn a_secondary_for_readers_with_intent_refuses_others_with_978() {
    let stage = Stage::ready(Setup::new(123).spec(|spec| spec["secondaryConnections"] = "ReadIntentOnly".into())).await;
    stage.pass(seconds(5)).await;
    let refused = stage.connection("reader", "orders-ro.shop.svc").run(READ).await.unwrap_err();
    stage.check(refused.number() == Some(978), &format!("{refused}"));
}
