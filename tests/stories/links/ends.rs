//! How a link ends otherwise: given up, cut while production changes its primary, forgotten.

use super::{
    drop_link,
    fleet::{Fleet, PRODUCTION, STAGE, at, insert, link, shop, sides},
    is_promoted, mark, promote,
};
use quorate::{
    decide::upgrade::{DropAs, Facts, Mark, SqlStep},
    sql::error::guard,
};

fn discard(pod: &str, mark: Option<&str>) -> SqlStep {
    SqlStep::Discard { at: at(pod), database: shop(), mark: mark.map(Into::into) }
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_given_up_leaves_production_alone_and_its_own_databases_restoring() {
    let fleet = Fleet::linked().await;
    fleet.fine(drop_link(PRODUCTION[0], DropAs::Leading)).await;
    fleet.until(STAGE[0], "alone", |facts| !facts.links[&link()].connected).await;
    fleet.fine(drop_link(STAGE[0], DropAs::Abandoned)).await;
    let restoring = |facts: &Facts| facts.databases[&shop()].state == "RESTORING";
    for pod in STAGE {
        fleet.until(pod, "restoring", restoring).await;
    }
    let production = fleet.look(PRODUCTION[0]).await;
    assert!(production.leads() && production.databases[&shop()].writable && production.links.is_empty());
    fleet.person(PRODUCTION[0], &insert(2)).await.unwrap();
    let stage = fleet.look(STAGE[0]).await;
    assert!(stage.leads() && stage.links.is_empty());
    assert!(stage.marks(&shop()).is_none(), "a database that cannot be read says so: {:?}", stage.databases);
    assert!(stage.databases[&shop()].inside.is_some());
}

/// Both sides are linked again, and the stage gets everything once more.
async fn is_seeded_anew(fleet: &Fleet) {
    for pod in STAGE {
        assert!(!fleet.look(pod).await.databases.contains_key(&shop()), "{pod} still has it");
    }
    let (from, to) = sides();
    fleet.person(PRODUCTION[0], &insert(7)).await.unwrap();
    fleet.fine(SqlStep::CreateLink { at: at(PRODUCTION[0]), link: link(), from: from.clone(), to: to.clone() }).await;
    fleet.fine(SqlStep::JoinLink { at: at(STAGE[0]), link: link(), from, to }).await;
    for pod in STAGE {
        let follows = |facts: &Facts| {
            let own = facts.databases.get(&shop()).and_then(|database| database.own.as_ref());
            own.is_some_and(|own| own.state.starts_with("SYNCHRONIZ"))
        };
        fleet.until(pod, "seeded", follows).await;
        assert!(fleet.rows(pod).await.contains(&7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_was_given_up_before_its_promotion_is_emptied_and_seeded_anew() {
    let fleet = Fleet::linked().await;
    fleet.fine(drop_link(PRODUCTION[0], DropAs::Leading)).await;
    fleet.fine(drop_link(PRODUCTION[1], DropAs::Leftover)).await;
    fleet.until(STAGE[0], "alone", |facts| !facts.links[&link()].connected).await;
    assert_eq!(fleet.refused(discard(STAGE[0], None)).await, Some(guard::TAKEN), "it has the link");
    fleet.fine(drop_link(STAGE[0], DropAs::Abandoned)).await;
    fleet.fine(drop_link(STAGE[1], DropAs::Leftover)).await;
    for pod in STAGE {
        fleet.until(pod, "restoring", |facts| facts.databases[&shop()].state == "RESTORING").await;
        fleet.fine(discard(pod, None)).await;
        fleet.fine(discard(pod, None)).await;
    }
    is_seeded_anew(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_was_promoted_is_emptied_by_its_mark_whoever_is_connected_and_seeded_anew() {
    let fleet = Fleet::linked().await;
    fleet.fine(drop_link(PRODUCTION[0], DropAs::Leading)).await;
    fleet.fine(drop_link(PRODUCTION[1], DropAs::Leftover)).await;
    fleet.until(STAGE[0], "alone", |facts| !facts.links[&link()].connected).await;
    fleet.fine(promote(STAGE[0])).await;
    fleet.until(STAGE[0], "promoted", is_promoted).await;
    fleet.fine(mark(STAGE[0], Mark::Stage, "uid/1")).await;
    fleet.fine(drop_link(STAGE[0], DropAs::Leading)).await;
    fleet.fine(drop_link(STAGE[1], DropAs::Leftover)).await;
    for (step, number) in [
        (discard(STAGE[0], None), guard::NOT_A_STAGE),
        (discard(STAGE[0], Some("uid/2")), guard::NOT_A_STAGE),
        (discard(STAGE[1], Some("uid/1")), guard::CHANGED),
        (discard(STAGE[1], None), guard::NOT_A_STAGE),
        (discard(PRODUCTION[0], Some("uid/1")), guard::NOT_A_STAGE),
        (discard(PRODUCTION[0], None), guard::NOT_A_STAGE),
        (discard(PRODUCTION[1], None), guard::NOT_A_STAGE),
    ] {
        assert_eq!(fleet.refused(step.clone()).await, Some(number), "{step:?}");
    }
    fleet.person(STAGE[0], &insert(20)).await.unwrap();
    fleet.fine(discard(STAGE[0], Some("uid/1"))).await;
    fleet.until(STAGE[1], "restoring", |facts| facts.databases[&shop()].state == "RESTORING").await;
    fleet.fine(discard(STAGE[1], None)).await;
    is_seeded_anew(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_a_lost_stage_holds_back_is_seen_and_let_go_with_the_link() {
    let fleet = Fleet::linked().await;
    fleet.net.isolate(STAGE[0]);
    fleet.person(PRODUCTION[0], &insert(2)).await.unwrap();
    fleet.person(PRODUCTION[0], "BACKUP LOG [sh]]op] TO DISK = N'NUL'").await.unwrap();
    fleet.until(PRODUCTION[0], "held", |facts| facts.databases[&shop()].log_wait == "AVAILABILITY_REPLICA").await;
    fleet.fine(drop_link(PRODUCTION[0], DropAs::Leading)).await;
    fleet.until(PRODUCTION[0], "let go", |facts| facts.databases[&shop()].log_wait == "NOTHING").await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_promoted_beside_a_linked_production_is_asked_for_by_name() {
    let fleet = Fleet::linked().await;
    fleet.fine(SqlStep::Promote { at: at(STAGE[0]), link: link(), unless_connected: false }).await;
    fleet.until(STAGE[0], "promoted", is_promoted).await;
    let production = fleet.look(PRODUCTION[0]).await;
    assert!(production.leads() && production.databases[&shop()].writable);
    // Where it leads already nothing is left to do.
    fleet.fine(promote(STAGE[0])).await;
    for pod in [PRODUCTION[0], STAGE[0]] {
        fleet.fine(drop_link(pod, DropAs::Leading)).await;
        assert!(is_promoted(&fleet.look(pod).await), "{pod}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_trusted_can_be_forgotten() {
    let fleet = Fleet::new().await;
    fleet.trust().await;
    for other in STAGE {
        fleet.fine(SqlStep::ForgetPartner { at: at(PRODUCTION[0]), partner: at(other) }).await;
    }
    assert!(fleet.look(PRODUCTION[0]).await.trusted.is_empty());
    assert_eq!(fleet.look(PRODUCTION[1]).await.trusted.len(), 2);
    let certificate = fleet.look(PRODUCTION[1]).await.server.certificate.unwrap();
    let wrong = SqlStep::TrustPartner { at: at(PRODUCTION[0]), partner: at(STAGE[0]), certificate };
    // The same certificate is there already, as that of a partner of the own group.
    assert_eq!(fleet.refused(wrong).await, Some(15_232));
}
