//! What may go wrong between a client and the API server.

use super::{code, config_map, config_maps, plane};
use crate::world::{
    apiserver::link::{Act, Reach},
    effects::{EDGES, Edge},
};
use kube::api::PostParams;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_hangs_until_it_is_healed() {
    let (plane, client) = plane();
    let link = plane.api.link("tester");
    link.set_reach(Reach::Hanging);
    let api = config_maps(&client);
    assert!(timeout(PATIENCE, api.get("a")).await.is_err());
    let waiting = tokio::spawn(async move { api.get_opt("a").await });
    sleep(PATIENCE).await;
    link.set_reach(Reach::Fine);
    assert!(waiting.await.unwrap().unwrap().is_none());
    link.set_reach(Reach::Refused);
    assert!(matches!(config_maps(&client).get("a").await, Err(kube::Error::Service(_))));
}

#[tokio::test(start_paused = true)]
async fn answers_can_be_errors_for_the_next_few_requests() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    for wanted in [429, 500, 504] {
        plane.api.link("tester").expect(1, Act::Answer(wanted), |request| request.plural == "configmaps");
        assert_eq!(code(api.get("a").await).0, wanted);
    }
    assert_eq!(code(api.get("a").await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_write_can_take_effect_without_an_answer() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    let link = plane.api.link("tester");
    link.expect(1, Act::LoseAnswer, |request| request.verb.writes());
    assert!(timeout(PATIENCE, api.create(&PostParams::default(), &config_map("a", &[]))).await.is_err());
    assert!(api.get_opt("a").await.unwrap().is_some());
    link.expect(1, Act::EffectThenAnswer(504), |request| request.verb.writes());
    assert_eq!(code(api.create(&PostParams::default(), &config_map("b", &[])).await).0, 504);
    assert!(api.get_opt("b").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_write_can_take_effect_long_after_its_caller_gave_up() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    plane.api.link("tester").expect(1, Act::Late(Duration::from_secs(60)), |request| request.verb.writes());
    assert!(timeout(PATIENCE, api.create(&PostParams::default(), &config_map("a", &[]))).await.is_err());
    assert!(api.get_opt("a").await.unwrap().is_none());
    sleep(Duration::from_secs(60)).await;
    assert!(api.get_opt("a").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_process_can_stop_at_each_edge_of_each_effect() {
    for edge in EDGES {
        let (plane, client) = plane();
        let api = config_maps(&client);
        let effects = plane.api.link("tester").effects;
        api.create(&PostParams::default(), &config_map("first", &[])).await.unwrap();
        effects.stop_at(2, edge);
        api.create(&PostParams::default(), &config_map("second", &[])).await.unwrap();
        let third = timeout(PATIENCE, api.create(&PostParams::default(), &config_map("third", &[]))).await;
        assert!(effects.has_stopped());
        assert_eq!(third.is_ok(), edge == Edge::Answered);
        assert_eq!(plane.api.find("configmaps", "shop", "third").is_some(), edge != Edge::NotSent);
        assert!(timeout(PATIENCE, api.get("first")).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn every_write_is_in_the_journal() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    let since = plane.clock.elapsed();
    api.create(&PostParams::default(), &config_map("a", &[("x", "1")])).await.unwrap();
    api.get("a").await.unwrap();
    let _ = api.create(&PostParams::default(), &config_map("a", &[])).await;
    let writes = plane.api.writes_since("tester", since);
    assert_eq!(writes.iter().map(|write| (write.code, write.changed)).collect::<Vec<_>>(), [(201, true), (409, false)]);
    assert_eq!(writes[0].line(), "Create configmaps shop/a -> 201 .data.x=\"1\"");
    assert!(plane.history.text().contains("tester         Create configmaps shop/a -> 201"));
}
