//! What a look at the two groups shows.

use super::world::{PRODUCTION, PRODUCTION_DR, SIDES, STAGE, STAGE_DR, World, database, namespace, replica};
use quorate::{
    decide::upgrade::{
        Facts, Observation, Step, chain_name,
        observation::{
            CopyFacts, DatabaseFacts, GroupFacts, Inside, LinkDatabase, LinkFacts, LinkMember, Member, Server, Session,
            Trust, trust_of,
        },
        seen::{Answer, Endpoint, Front, Geo, Group, Slot},
    },
    model::{GroupName, Lsn, Mode, Role, SecondaryConnections},
};
use std::collections::BTreeMap;

fn selector(version: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), version.into())])
}

impl World {
    pub fn observe(&self) -> Observation {
        let endpoint = |name: &str, version, ready| Endpoint {
            name: name.into(),
            selector: Some(selector(version)),
            ready,
            pods: 2,
        };
        let slot = |side: usize, endpoint| Slot {
            namespace: namespace(side).into(),
            group: SIDES[side].into(),
            found: Some(self.group(side)),
            endpoint,
        };
        let geo = self.wish.geo.as_ref().map(|_| Geo {
            production: slot(PRODUCTION_DR, endpoint("shop-dr", "v1", 2)),
            stage: slot(STAGE_DR, endpoint("shop-v2-dr", "v2", 2)),
        });
        let standby = |endpoint: &String| if endpoint == "shop-v1" { "west/shop-dr" } else { "west/shop-v2-dr" };
        let front = self.front.as_ref().map(|endpoint| Front {
            selector: selector(if endpoint == "shop-v1" { "v1" } else { "v2" }),
            standby: geo.as_ref().map(|_| standby(endpoint).into()),
            ours: true,
            leads_to: BTreeMap::from([(endpoint.clone(), 2)]),
        });
        Observation {
            at: self.at,
            wish: self.wish.clone(),
            approver: (!self.wish.approved.is_empty()).then(|| "kubectl-patch".into()),
            record: self.record.clone(),
            production: slot(PRODUCTION, endpoint("shop-v1", "v1", 2)),
            stage: slot(STAGE, endpoint("shop-v2", "v2", self.stage_ready)),
            geo,
            front,
            script: self.script.clone(),
            job: self.job.clone(),
            answers: match self.step() {
                Step::Verifying if self.runner => self.answers.clone(),
                Step::Verifying => vec![Answer::Error("error 18456: the login is disabled".into())],
                _ => Vec::new(),
            },
            quiet: 0,
            level: 0,
        }
    }

    fn group(&self, side: usize) -> Group {
        let state = &self.sides[side];
        let nodes = state.nodes.iter().enumerate();
        let replicas = nodes.clone().map(|(ordinal, _)| (replica(side, ordinal), Mode::Synchronous)).collect();
        let up = nodes.filter(|(_, node)| node.up);
        Group {
            name: GroupName::new(SIDES[side]).unwrap(),
            namespace: namespace(side).into(),
            upgrades_from: vec!["shop".into()],
            uid: format!("uid of {}", SIDES[side]),
            ready: true,
            message: String::new(),
            databases: 0,
            secondary_connections: SecondaryConnections::All,
            upgrade: state.upgrade.clone(),
            replicas,
            facts: up.map(|(ordinal, _)| (replica(side, ordinal), self.facts(side, ordinal))).collect(),
            readers: side == PRODUCTION && self.readers,
        }
    }

    fn facts(&self, side: usize, ordinal: usize) -> Facts {
        let state = &self.sides[side];
        let (node, leads) = (&state.nodes[ordinal], state.primary == ordinal);
        let there = self.has_databases(side) && !node.discarded;
        let restoring = state.restoring.is_some_and(|all| all || !leads);
        let own = CopyFacts { committed: state.commits.last().map(lsn), ..self.copy(side) };
        let database_facts = DatabaseFacts {
            state: if restoring { "RESTORING" } else { "ONLINE" }.into(),
            writable: leads && state.writable && !restoring,
            full_recovery: true,
            log_chain: true,
            group: (!restoring).then(|| GroupName::new(SIDES[side]).unwrap()),
            joined: !restoring,
            own: (!restoring).then_some(own),
            inside: (!restoring).then(|| Inside::Read(state.marks.clone())),
            ..DatabaseFacts::default()
        };
        Facts {
            server: Server {
                version: "16.0.1".into(),
                engine_edition: 3,
                certificate: Some(format!("{side}{ordinal}")),
                ..Server::default()
            },
            group: Some(GroupFacts {
                id: SIDES[side].into(),
                role: if leads { Role::Primary } else { Role::Secondary },
                connected: !leads,
                members: (0..3).map(|other| (replica(side, other), self.member(side, other))).collect(),
            }),
            links: self.links(side, ordinal),
            databases: if there { BTreeMap::from([(database(), database_facts)]) } else { BTreeMap::new() },
            sessions: if leads { self.sessions_on(side) } else { BTreeMap::new() },
            trusted: node.trusts.iter().map(|key| (key.clone(), self.trust(key))).collect(),
            fence: node.trigger.as_ref().map(|(facts, _)| facts.clone()),
            ..Facts::default()
        }
    }

    fn sessions_on(&self, side: usize) -> BTreeMap<i64, Session> {
        match side {
            PRODUCTION => self.sessions.clone(),
            STAGE if self.stage_session => BTreeMap::from([(51, Session::default())]),
            _ => BTreeMap::new(),
        }
    }

    fn has_databases(&self, side: usize) -> bool {
        match side {
            PRODUCTION => true,
            STAGE => self.seeding == Some(0),
            _ => self.sides[side].nodes.iter().any(|node| node.far) || self.sides[side].restoring.is_some(),
        }
    }

    fn trust(&self, key: &str) -> Trust {
        let names = (0..4).flat_map(|side| (0..3).map(move |ordinal| (side, ordinal)));
        let mut found = names.filter(|(side, ordinal)| trust_of(namespace(*side), &replica(*side, *ordinal)) == key);
        let certificate = found.next().map(|(side, ordinal)| format!("{side}{ordinal}"));
        Trust { certificate, admitted: true }
    }

    fn copy(&self, side: usize) -> CopyFacts {
        let synchronous = self.sides[..PRODUCTION_DR].iter().all(|side| side.synchronous);
        let state = match (self.seeding, synchronous) {
            (Some(0), true) => "SYNCHRONIZED",
            (Some(0), false) => "SYNCHRONIZING",
            _ => "NOT SYNCHRONIZING",
        };
        CopyFacts { state: state.into(), hardened: self.sides[side].commits.last().map(lsn), ..CopyFacts::default() }
    }

    fn member(&self, side: usize, _: usize) -> Member {
        let state = &self.sides[side];
        let copy = CopyFacts { state: "SYNCHRONIZED".into(), suspended: state.suspended, ..CopyFacts::default() };
        let there = self.has_databases(side);
        Member {
            mode: Mode::Synchronous,
            connected: true,
            readable: "ALL".into(),
            databases: if there { BTreeMap::from([(database(), copy)]) } else { BTreeMap::new() },
        }
    }

    fn links(&self, side: usize, ordinal: usize) -> BTreeMap<GroupName, LinkFacts> {
        let node = &self.sides[side].nodes[ordinal];
        let mut links = if node.link { self.link(side) } else { BTreeMap::new() };
        if node.far {
            links.extend([self.far_link(side)]);
        }
        links
    }

    fn far_link(&self, side: usize) -> (GroupName, LinkFacts) {
        let (chain, leads) = (side == STAGE || side == STAGE_DR, side < PRODUCTION_DR);
        let pair = if chain { [STAGE, STAGE_DR] } else { [PRODUCTION, PRODUCTION_DR] };
        let member = |other: usize| LinkMember {
            listener_url: String::new(),
            mode: Mode::Asynchronous,
            automatic_seeding: true,
            local: other == side,
            connected: Some(true),
        };
        let suspended = side == STAGE_DR && self.chain_waits;
        let copy = CopyFacts { state: "SYNCHRONIZING".into(), suspended, ..CopyFacts::default() };
        let facts = LinkFacts {
            id: "far".into(),
            role: if leads || self.moved == Some(side) { Role::Primary } else { Role::Secondary },
            connected: true,
            members: pair.into_iter().map(|other| (GroupName::new(SIDES[other]).unwrap(), member(other))).collect(),
            databases: BTreeMap::from([(database(), LinkDatabase { local: Some(copy), remote: None })]),
        };
        let name = if chain { chain_name("u") } else { GroupName::new("quorate-u-dr").unwrap() };
        (name, facts)
    }

    fn link(&self, side: usize) -> BTreeMap<GroupName, LinkFacts> {
        let mode = if self.sides[side].synchronous { Mode::Synchronous } else { Mode::Asynchronous };
        let member = |other: usize| LinkMember {
            listener_url: String::new(),
            mode,
            automatic_seeding: true,
            local: other == side,
            connected: Some(self.seeding.is_some()),
        };
        let row = LinkDatabase { local: Some(self.copy(side)), remote: (side == PRODUCTION).then(|| self.copy(STAGE)) };
        let facts = LinkFacts {
            id: "link".into(),
            role: if side == PRODUCTION || self.promoted { Role::Primary } else { Role::Secondary },
            connected: true,
            members: (0..2).map(|other| (GroupName::new(SIDES[other]).unwrap(), member(other))).collect(),
            databases: BTreeMap::from([(database(), row)]),
        };
        BTreeMap::from([(quorate::decide::upgrade::link_name("u"), facts)])
    }
}

fn lsn(commit: &u64) -> Lsn {
    Lsn::new(&commit.to_string()).unwrap()
}
