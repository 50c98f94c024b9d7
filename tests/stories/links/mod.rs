//! Links between two groups: every statement of an upgrade against instances, in the order of an upgrade and out of it.

mod ends;
mod fleet;
mod guards;
mod logins;

use fleet::{Fleet, PRODUCTION, STAGE, at, group_name, insert, link, shop};
use quorate::{
    decide::upgrade::{DropAs, Facts, Mark, SqlStep, observation::CopyFacts},
    model::{Mode, Role},
};

fn mark(pod: &str, mark: Mark, value: &str) -> SqlStep {
    SqlStep::WriteMark { at: at(pod), database: shop(), mark, value: value.into() }
}

fn drop_link(pod: &str, as_what: DropAs) -> SqlStep {
    SqlStep::DropLink { at: at(pod), link: link(), as_what }
}

fn promote(pod: &str) -> SqlStep {
    SqlStep::Promote { at: at(pod), link: link(), unless_connected: true }
}

fn resume(pod: &str) -> SqlStep {
    SqlStep::Resume { at: at(pod), group: group_name("orders-v2"), database: shop() }
}

/// Whether the stage leads its own databases.
fn is_promoted(facts: &Facts) -> bool {
    facts.leads() && facts.databases[&shop()].writable
}

#[tokio::test(start_paused = true)]
async fn a_stage_is_linked_seeded_levelled_cut_off_and_promoted_with_everything() {
    let fleet = Fleet::level().await;
    fleet.person(PRODUCTION[0], &insert(2)).await.unwrap();
    fleet.fine(mark(PRODUCTION[0], Mark::Barrier, "uid/1/a")).await;
    fleet
        .until(PRODUCTION[0], "level", |facts| {
            facts.links[&link()].databases[&shop()].is_level()
                && facts.marks(&shop()).is_some_and(|marks| marks.barrier.as_deref() == Some("uid/1/a"))
        })
        .await;

    fleet.fine(drop_link(PRODUCTION[0], DropAs::Leading)).await;
    let production = fleet.look(PRODUCTION[0]).await;
    assert!(production.leads() && production.databases[&shop()].writable && production.links.is_empty());
    fleet.person(PRODUCTION[0], &insert(3)).await.unwrap();
    fleet.fine(drop_link(PRODUCTION[1], DropAs::Leftover)).await;
    fleet.until(PRODUCTION[1], "clean", |facts| facts.links.is_empty()).await;

    fleet.until(STAGE[0], "alone", |facts| !facts.links[&link()].connected).await;
    fleet.fine(promote(STAGE[0])).await;
    let stage = fleet.until(STAGE[0], "promoted", is_promoted).await;
    assert_eq!(stage.links[&link()].role, Role::Primary);
    assert_eq!(stage.marks(&shop()).unwrap().barrier.as_deref(), Some("uid/1/a"));
    assert_eq!(fleet.rows(STAGE[0]).await, [1, 2]);

    fleet.fine(mark(STAGE[0], Mark::Stage, "uid/1")).await;
    fleet.fine(drop_link(STAGE[0], DropAs::Leading)).await;
    let stage = fleet.look(STAGE[0]).await;
    assert!(is_promoted(&stage) && stage.links.is_empty());
    let suspended = |facts: &Facts| facts.databases[&shop()].own.as_ref().is_some_and(|own| own.suspended);
    let left = fleet.until(STAGE[1], "left behind", suspended).await;
    let reason = left.databases[&shop()].own.as_ref().unwrap().suspend_reason.clone();
    assert_eq!(reason.as_deref(), Some("SUSPEND_FROM_PARTNER"));
    fleet.fine(resume(STAGE[1])).await;
    fleet.until(STAGE[1], "resumed", |facts| !suspended(facts)).await;
    fleet.fine(drop_link(STAGE[1], DropAs::Leftover)).await;
    fleet.until(STAGE[1], "clean", |facts| facts.links.is_empty()).await;

    fleet.person(STAGE[0], &insert(20)).await.unwrap();
    fleet.fine(mark(STAGE[0], Mark::Completion, "uid/1/done")).await;
    let told = |facts: &Facts| facts.marks(&shop()).is_some_and(|marks| marks.completion.is_some());
    let second = fleet.until(STAGE[1], "told", told).await;
    let marks = second.marks(&shop()).unwrap();
    assert_eq!((marks.stage.as_deref(), marks.completion.as_deref()), (Some("uid/1"), Some("uid/1/done")));
    assert_eq!(fleet.rows(STAGE[1]).await, [1, 2, 20]);
    assert_eq!(fleet.rows(PRODUCTION[0]).await, [1, 2, 3]);
    let ready = |facts: &Facts| {
        let members = &facts.group.as_ref().unwrap().members;
        members.values().all(|member| member.databases.values().all(|copy| copy.state == "SYNCHRONIZED"))
    };
    fleet.until(STAGE[0], "synchronized within", ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_link_says_who_is_who_and_how_far_each_is() {
    let fleet = Fleet::linked().await;
    let facts = fleet.look(PRODUCTION[0]).await;
    assert_eq!((facts.server.name.as_str(), facts.server.engine_edition), (PRODUCTION[0], 3));
    assert!(facts.server.version.starts_with("16.") && facts.server.collation.starts_with("SQL_Latin1"));
    let own = facts.group.as_ref().unwrap();
    assert_eq!((own.role, own.members.len()), (Role::Primary, 2));
    assert!(own.members.values().all(|member| member.connected && member.readable == "ALL"));
    assert_eq!(own.members[&at(PRODUCTION[1]).replica].databases[&shop()].state, "SYNCHRONIZED");
    let found = &facts.links[&link()];
    assert_eq!(found.role, Role::Primary);
    let member = |name: &str| found.members[&group_name(name)].clone();
    let (local, remote) = (member("orders"), member("orders-v2"));
    assert!(local.local && !remote.local && remote.connected == Some(true));
    assert_eq!(remote.listener_url, "tcp://orders-v2-primary.shop.svc:5022");
    assert_eq!((remote.mode, remote.automatic_seeding), (Mode::Asynchronous, true));
    let copies = &found.databases[&shop()];
    let there = |copy: &Option<CopyFacts>| copy.as_ref().map(|copy| (copy.state.clone(), copy.hardened.is_some()));
    // A primary that commits asynchronously has no hardened position.
    assert_eq!(there(&copies.local), Some(("SYNCHRONIZING".into(), false)));
    assert_eq!(there(&copies.remote), Some(("SYNCHRONIZING".into(), true)));
    assert!(!copies.is_level());
    let sent = facts.seedings.iter().rfind(|seeding| seeding.group == Some(link())).unwrap();
    assert_eq!((sent.source, sent.state.as_str(), sent.partner.as_deref()), (true, "COMPLETED", Some("orders-v2")));
    assert_eq!((&sent.database, sent.failure.as_deref()), (&Some(shop()), None));
    assert!(sent.total.is_some_and(|total| total > 0) && sent.bytes == sent.total);
    let database = &facts.databases[&shop()];
    assert!(database.writable && database.full_recovery && database.log_chain && database.joined);
    assert_eq!((database.state.as_str(), &database.group), ("ONLINE", &Some(group_name("orders"))));
    assert!(database.own.as_ref().unwrap().committed.is_some() && database.fork.is_some());
    assert!(facts.marks(&shop()).unwrap().log_used_percent.is_some_and(|percent| (1..100).contains(&percent)));
    for other in STAGE {
        assert_eq!(facts.trusted[&format!("shop_{other}")].certificate, fleet.look(other).await.server.certificate);
        assert!(facts.trusted[&format!("shop_{other}")].admitted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_other_side_knows_itself_alone() {
    let fleet = Fleet::linked().await;
    let facts = fleet.look(STAGE[0]).await;
    assert!(facts.leads());
    let found = &facts.links[&link()];
    assert_eq!((found.role, found.connected), (Role::Secondary, true));
    assert_eq!(found.members[&group_name("orders")].connected, None);
    let copies = &found.databases[&shop()];
    assert!(copies.local.is_some() && copies.remote.is_none());
    let database = &facts.databases[&shop()];
    assert!(!database.writable && database.joined);
    assert_eq!(database.group, Some(group_name("orders-v2")));
    let received = facts.seedings.iter().rfind(|seeding| seeding.group == Some(link())).unwrap();
    assert_eq!((received.source, received.state.as_str()), (false, "COMPLETED"));
    let second = fleet.look(STAGE[1]).await;
    assert!(!second.leads() && second.links.contains_key(&link()));
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts, "a look can be kept and read again");
}

#[tokio::test(start_paused = true)]
async fn copies_are_level_when_both_sides_commit_synchronously_and_hardened_the_same() {
    let fleet = Fleet::linked().await;
    let copies = |facts: &Facts| facts.links[&link()].databases[&shop()].clone();
    fleet.mode(Mode::Synchronous).await;
    fleet.until(PRODUCTION[0], "level", |facts| copies(facts).is_level()).await;
    fleet.person(PRODUCTION[0], &insert(2)).await.unwrap();
    let facts = fleet.until(PRODUCTION[0], "level", |facts| copies(facts).is_level()).await;
    assert_eq!(copies(&facts).local.unwrap().hardened, copies(&facts).remote.unwrap().hardened);
    fleet.net.isolate(STAGE[0]);
    fleet
        .until(PRODUCTION[0], "apart", |facts| {
            let remote = copies(facts).remote.unwrap();
            remote.state == "NOT SYNCHRONIZING"
                && facts.links[&link()].members[&group_name("orders-v2")].connected == Some(false)
        })
        .await;
    assert!(!copies(&fleet.look(PRODUCTION[0]).await).is_level());
    fleet.net.heal_all();
    fleet.until(PRODUCTION[0], "level", |facts| copies(facts).is_level()).await;
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_written_again_is_no_further_commit() {
    let fleet = Fleet::linked().await;
    let committed = async || fleet.look(PRODUCTION[0]).await.databases[&shop()].own.clone().unwrap().committed;
    fleet.send(&mark(PRODUCTION[0], Mark::Barrier, "uid/1/a")).await.unwrap();
    let first = committed().await;
    fleet.send(&mark(PRODUCTION[0], Mark::Barrier, "uid/1/a")).await.unwrap();
    assert_eq!(committed().await, first);
    fleet.send(&mark(PRODUCTION[0], Mark::Barrier, "uid/2/b'")).await.unwrap();
    assert!(committed().await > first);
    let barrier = fleet.look(PRODUCTION[0]).await.marks(&shop()).unwrap().barrier.clone();
    assert_eq!(barrier.as_deref(), Some("uid/2/b'"));
}
