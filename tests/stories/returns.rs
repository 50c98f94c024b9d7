//! Ways back into the group (promotion.md 6).

use crate::stage::{Setup, Stage, clients::direct, seconds};
use quorate::sql::Error;
use standin::faults::FailoverEngine;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(50);

/// A person tries a failover where nobody hears of it: in an engine that asks for promises first, the replica has promised
/// a number that no primary has, and follows none again. Neither OFFLINE nor new endpoints change that.
async fn promises_in_vain(stage: &Stage, pod: &str) {
    for other in stage.replicas().iter().filter(|other| *other != pod) {
        stage.cut(pod, other);
    }
    let by_hand = "USE master;
        EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes';
        ALTER AVAILABILITY GROUP [orders] FAILOVER;";
    let refused = stage.connection("person", &direct(pod)).run(by_hand).await;
    stage.check(matches!(refused, Err(Error::Lost(_))), "it waits for promises until the person gives up");
    stage.until("away", seconds(20), |stage| !stage.is_ready()).await;
    stage.heal_all();
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_no_other_cure_brings_back_joins_the_group_anew_while_the_others_write() {
    let engine = FailoverEngine::MajorityBeforePromotion;
    let stage = Stage::ready(Setup::new(81).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let epoch = stage.election()["epoch"].clone();
    promises_in_vain(&stage, "orders-1").await;
    stage.ledger.take_gap();
    stage.pass(seconds(250)).await;
    stage.check(!stage.is_ready(), "cured too early");
    stage.check(!stage.events("EndpointRestarted").is_empty(), "both endpoints were restarted first");
    stage.check(stage.events("RejoiningAnew").is_empty(), "it left too early");
    stage.becomes_ready_within(seconds(90)).await;
    stage.check(stage.events("RejoiningAnew").len() == 1, "it left once, announced");
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(2), &format!("writes stopped for {gap:?}"));
    stage.ends_well(seconds(60), vec![client]).await;
    assert_eq!((stage.primary(), &stage.election()["epoch"]), ("orders-0".into(), &epoch));
}
