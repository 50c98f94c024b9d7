//! Two groups, a link, a fence, users: as small as the policy of an upgrade can be tried on.

use crate::world::has_empty_map;
use quorate::{
    decide::{
        observation::FenceFacts,
        upgrade::{
            Act, Plan, Record, Step, decide, is_level, is_quiet,
            observation::{Marks, Session},
            seen::{Answer, Job, Script},
        },
    },
    model::{
        ActiveUpgrade, DatabaseName, FenceState, GroupName, ReplicaName, Slot,
        upgrade::{self, Approval, Geo, Place, Verification, Wish},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Time between two passes, milliseconds.
pub const TICK: i64 = 250;
pub const SIDES: [&str; 4] = ["orders", "orders-v2", "orders-dr", "orders-v2-dr"];
pub const PRODUCTION: usize = 0;
pub const STAGE: usize = 1;
pub const PRODUCTION_DR: usize = 2;
pub const STAGE_DR: usize = 3;

/// What one instance has.
#[derive(Clone, Default)]
pub struct Node {
    pub up: bool,
    pub link: bool,
    /// The link to the other region, or from this one.
    pub far: bool,
    pub trusts: BTreeSet<String>,
    pub trigger: Option<(FenceFacts, i64)>,
    /// The stage's copy of an attempt that was given up is gone here.
    pub discarded: bool,
}

/// One group.
pub struct Side {
    pub nodes: Vec<Node>,
    pub primary: usize,
    pub upgrade: Option<ActiveUpgrade>,
    /// Numbers of the commits it holds.
    pub commits: BTreeSet<u64>,
    pub marks: Marks,
    pub writable: bool,
    pub suspended: bool,
    pub synchronous: bool,
    /// Copies are left without a group: all of them, or those of secondaries.
    pub restoring: Option<bool>,
}

/// See the module.
pub struct World {
    pub at: i64,
    pub wish: Wish,
    pub record: Option<Record>,
    pub job: Job,
    pub script: Script,
    pub answers: Vec<Answer>,
    /// The script's login is on the stage: whoever asks queries asks with it.
    pub runner: bool,
    pub sides: [Side; 4],
    /// Seconds of seeding that are left. `None`: the link is not joined.
    pub seeding: Option<i64>,
    /// The side of the stage leads the link.
    pub promoted: bool,
    /// The stage's copy in the other region waits to be told to go on.
    pub chain_waits: bool,
    /// A person made this copy in the other region production.
    pub moved: Option<usize>,
    pub front: Option<String>,
    pub sessions: BTreeMap<i64, Session>,
    /// Somebody is in who writes on the stage.
    pub stage_session: bool,
    pub readers: bool,
    pub next: u64,
    /// Commits that users were told of, on production and on the stage.
    pub told: [BTreeSet<u64>; 2],
    quiet: u32,
    level: u32,
    pub stage_ready: u32,
    pub journal: Vec<String>,
}

pub fn replica(side: usize, ordinal: usize) -> ReplicaName {
    ReplicaName::new(format!("{}-{ordinal}", SIDES[side])).unwrap()
}

pub fn namespace(side: usize) -> &'static str {
    if side < PRODUCTION_DR { "shop" } else { "west" }
}

pub fn database() -> DatabaseName {
    DatabaseName::new("orders").unwrap()
}

impl World {
    pub fn new() -> Self {
        let side = |writable| Side {
            nodes: vec![Node { up: true, ..Node::default() }; 3],
            primary: 0,
            upgrade: None,
            commits: BTreeSet::new(),
            marks: Marks::default(),
            writable,
            suspended: false,
            synchronous: false,
            restoring: None,
        };
        let wish = Wish {
            name: "shop-v2".into(),
            namespace: "shop".into(),
            uid: "u".into(),
            slots: [SIDES[PRODUCTION], SIDES[STAGE]].map(|name| (GroupName::new(name).unwrap(), String::new())),
            geo: None,
            front: "shop".into(),
            script: upgrade::Script::Files { config_map: "shop-v2-sql".into(), database: None },
            script_time: Duration::from_secs(600),
            pauses: false,
            read_only: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            allowed: BTreeSet::new(),
            manual: BTreeSet::new(),
            approved: BTreeSet::new(),
            abort: false,
            discards: false,
            verify: vec![Verification { database: database(), query: "SELECT 1".into(), expect: "1".into() }],
        };
        Self {
            at: 1_000_000_000,
            wish,
            record: None,
            job: Job::Absent,
            script: Script::Ready("hash".into()),
            answers: Vec::new(),
            runner: false,
            sides: [side(true), side(false), side(false), side(false)],
            seeding: None,
            promoted: false,
            chain_waits: false,
            moved: None,
            front: None,
            sessions: BTreeMap::new(),
            stage_session: false,
            readers: false,
            next: 1,
            told: [BTreeSet::new(), BTreeSet::new()],
            quiet: 0,
            level: 0,
            stage_ready: 2,
            journal: Vec::new(),
        }
    }

    /// With copies of both in another region.
    pub fn in_two_regions() -> Self {
        let mut world = Self::new();
        let place = |side: usize| Place {
            group: GroupName::new(SIDES[side]).unwrap(),
            namespace: namespace(side).into(),
            endpoint: format!("endpoint of {}", SIDES[side]),
        };
        world.wish.geo = Some(Geo { production: place(PRODUCTION_DR), stage: place(STAGE_DR), required: true });
        world
    }

    /// This region has no power.
    pub fn loses_this_region(&mut self) {
        for side in [PRODUCTION, STAGE] {
            self.sides[side].nodes.iter_mut().for_each(|node| node.up = false);
        }
    }

    pub fn step(&self) -> Step {
        self.record.as_ref().map_or(Step::Preflight, |record| record.step)
    }

    /// The endpoint that users reach.
    pub fn online(&self) -> &str {
        self.front.as_deref().unwrap_or("shop-v1")
    }

    /// Whether the primary of a side lets users in at this moment.
    pub fn is_open(&self, side: usize) -> bool {
        let side = &self.sides[side];
        let node = &side.nodes[side.primary];
        node.up && node.trigger.as_ref().is_none_or(|(facts, opens)| !facts.enabled || self.at / 1_000 >= *opens)
    }

    pub fn fence(&self) -> Option<FenceState> {
        self.sides[PRODUCTION].upgrade.as_ref()?.fence.as_ref().map(|fence| fence.state)
    }

    pub fn has_link(&self, side: usize) -> bool {
        self.sides[side].nodes.iter().any(|node| node.link)
    }

    /// Another primary, at once.
    pub fn fail_over(&mut self, side: usize) {
        let group = &mut self.sides[side];
        let next = (1..3).map(|step| (group.primary + step) % 3).find(|node| group.nodes[*node].up);
        let Some(next) = next else { return };
        group.primary = next;
        self.journal.push(format!("{}: {} is primary", self.at, replica(side, group.primary)));
        match side {
            PRODUCTION => self.sessions.clear(),
            _ => self.stage_session &= side != STAGE,
        }
    }

    pub fn power(&mut self, side: usize, ordinal: usize, up: bool) {
        if up || ordinal != self.sides[side].primary {
            self.sides[side].nodes[ordinal].up = up;
        }
    }

    /// Whether every commit that users were told of is on the stage.
    pub fn stage_has_all(&self) -> bool {
        self.told[PRODUCTION].iter().all(|commit| self.sides[STAGE].commits.contains(commit))
    }

    /// Users do what they can; groups do what their own controllers do; time passes.
    pub fn lives(&mut self) {
        self.at += TICK;
        [PRODUCTION, STAGE].into_iter().for_each(|side| self.keep_fence(side));
        let (open, on_stage) = (self.is_open(PRODUCTION), self.online() == "shop-v2");
        if open && !self.readers && !on_stage {
            let session =
                Session { login: "app".into(), transactions: self.next.is_multiple_of(3).into(), ..Session::default() };
            self.sessions.insert(self.next as i64 + 50, session);
        }
        // Whoever is in may write, whatever the fence says to newcomers.
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids.into_iter().take(2) {
            self.commit(PRODUCTION);
            if self.next.is_multiple_of(5) {
                self.sessions.remove(&id);
            }
        }
        if on_stage && self.sides[STAGE].writable && self.is_open(STAGE) {
            self.stage_session = true;
        }
        if self.stage_session {
            self.commit(STAGE);
        }
        if let Some(left) = &mut self.seeding {
            *left = (*left - TICK).max(0);
            let linked = self.sides[..PRODUCTION_DR].iter().all(|side| side.nodes[side.primary].link);
            if *left == 0 && linked && !self.promoted {
                let [production, stage, ..] = &mut self.sides;
                stage.commits.clone_from(&production.commits);
                stage.marks.barrier.clone_from(&production.marks.barrier);
            }
        }
        self.sends_on();
    }

    /// What the other region is sent.
    fn sends_on(&mut self) {
        for (from, to) in [(PRODUCTION, PRODUCTION_DR), (STAGE, STAGE_DR)] {
            let linked = [from, to].iter().all(|side| {
                let side = &self.sides[*side];
                side.nodes[side.primary].far && side.nodes[side.primary].up
            });
            let waits = self.moved == Some(to) || from == STAGE && self.chain_waits;
            if linked && !waits {
                self.sides[to].commits = self.sides[from].commits.clone();
                self.sides[to].marks = self.sides[from].marks.clone();
            }
        }
    }

    /// Somebody who is let through the fence writes all the same.
    pub fn slips_through(&mut self) {
        if self.record.as_ref().is_some_and(|record| !record.switching) {
            self.commit(PRODUCTION);
            self.journal.push(format!("{}: a write past the fence", self.at));
        }
    }

    fn commit(&mut self, side: usize) {
        self.sides[side].commits.insert(self.next);
        self.told[side].insert(self.next);
        self.next += 1;
    }

    /// What a group's own controller does about the fence.
    fn keep_fence(&mut self, which: usize) {
        let side = &mut self.sides[which];
        let fence = side.upgrade.as_ref().and_then(|upgrade| upgrade.fence.clone());
        let now = self.at / 1_000;
        let wanted = fence.as_ref().filter(|fence| fence.state != FenceState::Lifted);
        let trigger = wanted.map(|fence| {
            let facts = FenceFacts {
                enabled: fence.state != FenceState::Prepared,
                mark: fence.mark(&BTreeSet::from([database()])),
            };
            (facts, fence.opens())
        });
        for node in side.nodes.iter_mut().filter(|node| node.up) {
            node.trigger.clone_from(&trigger);
        }
        if which == PRODUCTION {
            self.readers = wanted.is_some_and(|fence| fence.is_closed(now));
        }
        if fence.is_some_and(|fence| fence.state == FenceState::Lifted)
            && let Some(upgrade) = &mut side.upgrade
        {
            upgrade.fence = None;
        }
    }

    /// One pass; the acts from `lost` on are lost with the process.
    pub fn pass(&mut self, lost: Option<usize>) -> Plan {
        let mut seen = self.observe();
        self.quiet = if is_quiet(&seen) { self.quiet + 1 } else { 0 };
        self.level = if is_level(&seen) { self.level + 1 } else { 0 };
        (seen.quiet, seen.level) = (self.quiet, self.level);
        let plan = decide(&seen);
        let acts: Vec<_> = plan.acts().cloned().collect();
        for (number, act) in acts.iter().enumerate() {
            if lost.is_some_and(|lost| number >= lost) {
                self.journal.push(format!("{}: lost before {}", self.at, act.word()));
                (self.quiet, self.level) = (0, 0);
                break;
            }
            if !self.act(act) {
                self.journal.push(format!("{}: {} refused", self.at, act.word()));
                break;
            }
        }
        let words: Vec<_> = acts.iter().map(Act::word).collect();
        self.journal.push(format!("{}: {:?} {} {:?} {}", self.at, plan.step, plan.reason, words, plan.message));
        plan
    }

    fn act(&mut self, act: &Act) -> bool {
        match act {
            Act::Record(record) => {
                if self.record.as_ref().is_some_and(|before| before.attempt != record.attempt) {
                    self.job = Job::Absent;
                }
                self.record = Some((**record).clone());
            }
            Act::Claim(slot, upgrade) => {
                let side = [Slot::Production, Slot::Stage, Slot::ProductionDr, Slot::StageDr];
                let side = side.iter().position(|one| one == slot).unwrap();
                self.sides[side].upgrade = upgrade.as_deref().cloned();
            }
            Act::Lead { endpoint, .. } => self.front = Some(endpoint.clone()),
            Act::RunScript(_) => self.job = Job::Running,
            Act::ForgetScript => {}
            Act::Announce(..) => {}
            Act::Sql(step) => return self.tell(step),
        }
        true
    }

    /// Fails with the whole journal.
    pub fn fail(&self, what: &str) -> ! {
        panic!("{}\n{:#?}\nfailed: {what}", self.journal.join("\n"), self.record)
    }

    pub fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(what);
        }
    }

    /// What must hold at every moment.
    pub fn keeps_the_rules(&self) {
        let written = serde_json::to_value(&self.record).unwrap();
        self.check(!has_empty_map(&written), "an empty map in the record is null once it is written");
        if self.online() == "shop-v2" {
            self.check(self.stage_has_all(), "users are on a stage that lacks what they were told of");
            let back = self.record.as_ref().is_some_and(|record| !record.is_switched());
            self.check(self.fence() == Some(FenceState::Kept) || back, "production may open though users left it");
            self.check(!self.is_open(PRODUCTION) || back, "production is open though users left it");
        }
        // Whoever is away when it is closed is closed when it is back.
        let switched = self.record.as_ref().is_some_and(|record| record.switching);
        let stage = self.stage_session || self.is_open(STAGE) && self.sides[STAGE].writable;
        self.check(!(switched && stage && self.is_open(PRODUCTION)), "two versions take writes");
        if self.fence() == Some(FenceState::Kept) {
            self.check(
                self.record.as_ref().is_some_and(|record| record.switching) || self.moved.is_some(),
                "kept for good before the decision",
            );
        }
    }

    pub fn approve(&mut self, approval: Approval) {
        self.wish.approved.insert(approval);
    }
}
