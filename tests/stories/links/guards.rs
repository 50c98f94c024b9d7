//! What a step does where it has no business.

use super::{
    drop_link,
    fleet::{Fleet, PRODUCTION, STAGE, at, group_name, link, shop, sides},
    mark, promote, resume,
};
use quorate::{
    decide::upgrade::{DropAs, Mark, Side, SqlStep},
    model::Mode,
    sql::error::guard,
};

fn create(pod: &str, (from, to): (Side, Side)) -> SqlStep {
    SqlStep::CreateLink { at: at(pod), link: link(), from, to }
}

fn join(pod: &str, (from, to): (Side, Side)) -> SqlStep {
    SqlStep::JoinLink { at: at(pod), link: link(), from, to }
}

fn set_mode(pod: &str) -> SqlStep {
    let members = [group_name("orders"), group_name("orders-v2")].into();
    SqlStep::SetLinkMode { at: at(pod), link: link(), members, mode: Mode::Synchronous }
}

#[tokio::test(start_paused = true)]
async fn without_a_link_nothing_is_done_to_one() {
    let fleet = Fleet::new().await;
    assert_eq!(fleet.refused(set_mode(PRODUCTION[0])).await, Some(guard::NO_LINK));
    assert_eq!(fleet.refused(promote(STAGE[0])).await, Some(guard::NO_LINK));
    for as_what in [DropAs::Leading, DropAs::Abandoned, DropAs::Leftover] {
        fleet.fine(drop_link(PRODUCTION[0], as_what)).await;
    }
    assert_eq!(fleet.refused(create(PRODUCTION[1], sides())).await, Some(guard::CHANGED), "a secondary");
    assert_eq!(fleet.refused(join(STAGE[1], sides())).await, Some(guard::CHANGED), "a secondary");
}

#[tokio::test(start_paused = true)]
async fn a_step_for_a_primary_or_for_the_other_side_is_refused() {
    let fleet = Fleet::linked().await;
    let (from, to) = sides();
    for (step, number) in [
        (create(STAGE[0], sides()), guard::CHANGED),
        (join(PRODUCTION[0], sides()), guard::CHANGED),
        (create(PRODUCTION[0], (from.clone(), Side { namespace: "other".into(), ..to.clone() })), guard::TAKEN),
        (create(PRODUCTION[0], (from, Side { group: group_name("third"), ..to })), guard::TAKEN),
        (set_mode(PRODUCTION[1]), guard::CHANGED),
        (set_mode(STAGE[1]), guard::CHANGED),
        (promote(STAGE[0]), guard::STILL_CONNECTED),
        (promote(STAGE[1]), guard::CHANGED),
        (drop_link(STAGE[0], DropAs::Leading), guard::CHANGED),
        (drop_link(STAGE[0], DropAs::Leftover), guard::CHANGED),
        (drop_link(STAGE[0], DropAs::Abandoned), guard::STILL_CONNECTED),
        (drop_link(STAGE[1], DropAs::Abandoned), guard::CHANGED),
        (drop_link(STAGE[1], DropAs::Leading), guard::CHANGED),
        (drop_link(PRODUCTION[0], DropAs::Leftover), guard::CHANGED),
        (drop_link(PRODUCTION[0], DropAs::Abandoned), guard::CHANGED),
        (drop_link(PRODUCTION[1], DropAs::Leading), guard::CHANGED),
        (mark(PRODUCTION[1], Mark::Barrier, "x"), guard::CHANGED),
        (mark(STAGE[0], Mark::Stage, "x"), guard::NOT_WRITABLE),
    ] {
        assert_eq!(fleet.refused(step.clone()).await, Some(number), "{step:?}");
    }
    // Promoting where it leads already is what was wanted.
    fleet.fine(promote(PRODUCTION[0])).await;
    let facts = fleet.look(PRODUCTION[0]).await;
    assert!(facts.leads() && facts.databases[&shop()].writable && facts.links[&link()].databases.len() == 1);
    fleet.fine(resume(STAGE[1])).await;
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_group_of_that_name_is_no_link() {
    let fleet = Fleet::new().await;
    let (from, to) = sides();
    let step = SqlStep::CreateLink { at: at(PRODUCTION[0]), link: group_name("orders"), from, to };
    assert_eq!(fleet.refused(step).await, Some(guard::TAKEN));
    for as_what in [DropAs::Leading, DropAs::Leftover, DropAs::Abandoned] {
        fleet.fine(SqlStep::DropLink { at: at(PRODUCTION[0]), link: group_name("orders"), as_what }).await;
    }
    assert!(fleet.look(PRODUCTION[0]).await.leads(), "it is never dropped");
}
