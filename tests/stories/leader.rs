//! Leader election: never two permits at once, whatever happens to answers and clocks.

use crate::world::{
    ControlPlane,
    apiserver::link::{Act, Reach},
};
use quorate::leader::{Candidate, End, Permit, Permits, rules};
use std::time::Duration;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

struct Process {
    permits: Permits,
    stop: Option<oneshot::Sender<()>>,
    end: JoinHandle<End>,
}

fn process(plane: &ControlPlane, id: &str) -> Process {
    let (candidate, permits) = Candidate::new(plane.api.client(id), "default", "quorate", id);
    let (stop, stopped) = oneshot::channel();
    let end = tokio::spawn(candidate.run(async {
        let _ = stopped.await;
    }));
    Process { permits, stop: Some(stop), end }
}

impl Process {
    async fn leading(&mut self) -> Permit {
        timeout(Duration::from_secs(60), self.permits.leading()).await.expect("leads within a minute").expect("leads")
    }

    fn leads(&self) -> bool {
        self.permits.permit().is_some()
    }
}

/// Watches two processes for a while: at most one may act at any moment.
async fn watch(a: &Process, b: &Process, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(!(a.leads() && b.leads()), "two leaders");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_the_other_waits() {
    let plane = ControlPlane::start(1);
    let mut a = process(&plane, "a");
    let first = a.leading().await;
    let b = process(&plane, "b");
    watch(&a, &b, Duration::from_secs(120)).await;
    assert_eq!(a.permits.permit().unwrap().term, first.term, "renewals keep the term");
}

#[tokio::test(start_paused = true)]
async fn sigterm_hands_over_within_two_seconds() {
    let plane = ControlPlane::start(2);
    let mut a = process(&plane, "a");
    a.leading().await;
    let mut b = process(&plane, "b");
    sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    a.stop.take().unwrap().send(()).unwrap();
    assert_eq!((&mut a.end).await.unwrap(), End::Released);
    assert!(began.elapsed() < Duration::from_secs(2), "released after {:?}", began.elapsed());
    assert!(!a.leads());
    let permit = b.leading().await;
    assert!(began.elapsed() < Duration::from_secs(2), "taken over after {:?}", began.elapsed());
    assert_eq!(permit.term, 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_under_way_at_the_stop_does_not_keep_the_lease() {
    for act in [Act::LoseAnswer, Act::Delay(Duration::from_millis(900)), Act::Late(Duration::from_millis(300))] {
        let plane = ControlPlane::start(7);
        let mut a = process(&plane, "a");
        a.leading().await;
        let mut b = process(&plane, "b");
        plane.api.link("a").expect(1, act, |request| request.verb.writes());
        sleep(rules::RETRY_PERIOD + Duration::from_millis(50)).await;
        let began = Instant::now();
        a.stop.take().unwrap().send(()).unwrap();
        assert_eq!((&mut a.end).await.unwrap(), End::Released);
        assert!(began.elapsed() < Duration::from_secs(2), "{act:?}: ended after {:?}", began.elapsed());
        b.leading().await;
        assert!(began.elapsed() < Duration::from_secs(3), "{act:?}: taken over after {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_from_the_api_server_stops_acting_before_anybody_takes_over() {
    for reach in [Reach::Refused, Reach::Hanging] {
        let plane = ControlPlane::start(3);
        let mut a = process(&plane, "a");
        a.leading().await;
        let mut b = process(&plane, "b");
        sleep(Duration::from_secs(5)).await;
        plane.api.link("a").set_reach(reach);
        let cut = Instant::now();
        while a.leads() {
            assert!(!b.leads());
            sleep(Duration::from_millis(50)).await;
        }
        assert!(cut.elapsed() <= rules::RENEW_DEADLINE, "acted for {:?}", cut.elapsed());
        b.leading().await;
        assert!(cut.elapsed() > rules::RENEW_DEADLINE);
        assert_eq!(timeout(Duration::from_secs(20), &mut a.end).await.unwrap().unwrap(), End::Lost, "{reach:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frozen_leader_finds_its_permit_over_when_it_wakes() {
    let plane = ControlPlane::start(4);
    let mut a = process(&plane, "a");
    let permit = a.leading().await;
    // The process sleeps: nothing of it runs, its clock does.
    a.end.abort();
    let mut b = process(&plane, "b");
    let next = b.leading().await;
    assert!(!permit.valid() && next.term == permit.term + 1);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_leader_waits_for_its_own_old_name() {
    let plane = ControlPlane::start(5);
    let mut a = process(&plane, "a");
    a.leading().await;
    a.end.abort();
    let began = Instant::now();
    let mut again = process(&plane, "a");
    again.leading().await;
    assert!(began.elapsed() >= rules::LEASE_DURATION - Duration::from_secs(1), "its batches may still be under way");
}

#[tokio::test(start_paused = true)]
async fn lost_answers_conflicts_and_late_writes_never_make_two_leaders() {
    for seed in 0..60 {
        let plane = ControlPlane::start(seed);
        let (a, b) = (process(&plane, "a"), process(&plane, "b"));
        let acts = [
            Act::LoseAnswer,
            Act::Late(Duration::from_secs(3)),
            Act::Late(Duration::from_secs(20)),
            Act::Answer(500),
            Act::EffectThenAnswer(504),
            Act::Hang,
            Act::Delay(Duration::from_secs(1)),
        ];
        for round in 0..12u64 {
            let act = acts[((seed * 7 + round * 3) % acts.len() as u64) as usize];
            let who = if (seed + round) % 2 == 0 { "a" } else { "b" };
            plane.api.link(who).expect(1 + (round % 3) as u32, act, |_| true);
            watch(&a, &b, Duration::from_secs(3 + (seed + round) % 9)).await;
        }
        plane.api.link("a").forgive();
        plane.api.link("b").forgive();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_renewal_costs_nothing() {
    let plane = ControlPlane::start(6);
    let mut a = process(&plane, "a");
    let first = a.leading().await;
    plane.api.link("a").expect(1, Act::LoseAnswer, |request| request.verb.writes());
    for _ in 0..100 {
        sleep(Duration::from_millis(200)).await;
        assert!(a.leads(), "its own write is recognised");
    }
    assert_eq!(a.permits.permit().unwrap().term, first.term);
}
