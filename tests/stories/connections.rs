//! Connections that are kept between batches.

use crate::stage::{Setup, Stage, clients::direct, seconds};

/// The first batch after a new start of the instance is not the one that finds out.
#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_the_instance_ended_carries_no_batch() {
    let stage = Stage::ready(Setup::new(91)).await;
    let kept = stage.connection("person", &direct("orders-1"));
    kept.run("SELECT 1 AS one").await.unwrap();
    assert!(stage.kill("orders-1"));
    stage.until("another life", seconds(20), |stage| !stage.is_ready()).await;
    stage.becomes_ready().await;
    let answer = kept.run("SELECT 1 AS one").await;
    stage.check(answer.is_ok(), &format!("{:?}", answer.err()));
}
