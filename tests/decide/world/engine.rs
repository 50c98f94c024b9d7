//! The engine: what instances do by themselves, and what a batch does to one.

use super::*;

impl World {
    pub(super) fn linked(&self, a: &ReplicaName, b: &ReplicaName) -> bool {
        let cut = self.cuts.contains(&(a.clone(), b.clone())) || self.cuts.contains(&(b.clone(), a.clone()));
        let up = |n: &ReplicaName| self.instances.get(n).is_some_and(|i| i.up);
        let admits = |n: &ReplicaName, p: &ReplicaName| self.instances[n].partners.get(p).copied().unwrap_or(false);
        !cut && up(a) && up(b) && admits(a, b) && admits(b, a)
    }

    pub(super) fn connected(&self, who: &ReplicaName) -> Option<ReplicaName> {
        let copy = self.instances[who].copy.as_ref()?;
        let primary = copy.follows.clone()?;
        let serves = self.instances[&primary].copy.as_ref().is_some_and(|c| c.role == Role::Primary);
        (copy.role == Role::Secondary && serves && self.linked(who, &primary)).then_some(primary)
    }

    /// A secondary in no connection takes whichever primary admits it and is admitted: SET (ROLE = SECONDARY) names none.
    pub(super) fn attach(&mut self) {
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for who in &names {
            let Some(copy) = &self.instances[who].copy else { continue };
            if copy.role != Role::Secondary || copy.follows.is_some() {
                continue;
            }
            let serves = |n: &ReplicaName| self.instances[n].copy.as_ref().is_some_and(|c| c.role == Role::Primary);
            let found = names.iter().find(|n| *n != who && serves(n) && self.linked(who, n)).cloned();
            if let Some(primary) = found {
                let log = self.instances[&primary].log.clone();
                let instance = self.instances.get_mut(who).unwrap();
                instance.copy.as_mut().unwrap().follows = Some(primary);
                instance.log = log;
            }
        }
        for who in &names {
            // A follower that lost its primary's role looks again; one that only lost the connection keeps its place.
            let Some(copy) = &self.instances[who].copy else { continue };
            let gone = copy
                .follows
                .as_ref()
                .is_some_and(|p| self.instances[p].copy.as_ref().is_none_or(|c| c.role != Role::Primary));
            if gone {
                self.instances.get_mut(who).unwrap().copy.as_mut().unwrap().follows = None;
            }
        }
    }

    /// A client writes on `who`: acknowledged when every replica marked synchronized has it, and enough of them.
    pub fn write(&mut self, who: &ReplicaName, row: u32) -> bool {
        let Some(own) = self.instances[who].copy.clone().filter(|c| c.role == Role::Primary && self.instances[who].up)
        else {
            return false;
        };
        let waits: Vec<_> = own.synchronized.iter().filter(|n| *n != who).cloned().collect();
        let there: Vec<_> = self
            .instances
            .keys()
            .filter(|n| self.connected(n).as_ref() == Some(who) || self.follows_on)
            .cloned()
            .collect();
        self.instances.get_mut(who).unwrap().log.push(row);
        for follower in &there {
            let log = self.instances[who].log.clone();
            self.instances.get_mut(follower).unwrap().log = log;
        }
        let hardened = waits.iter().filter(|n| self.instances[*n].log.contains(&row)).count();
        hardened == waits.len() && hardened as u32 >= own.commit_quorum
    }

    /// The engine's part of a moment: primaries commit who is synchronized, followers copy the configuration.
    pub fn engine(&mut self) {
        self.attach();
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for primary in &names {
            let Some(own) = self.instances[primary].copy.clone() else { continue };
            if own.role != Role::Primary || !self.instances[primary].up {
                continue;
            }
            let followers: BTreeSet<_> =
                names.iter().filter(|n| self.connected(n).as_ref() == Some(primary)).cloned().collect();
            let voters: Vec<_> =
                own.members.iter().filter(|(n, m)| m.votes() && (self.instances[*n].copy.is_some())).collect();
            let present = voters.iter().filter(|(n, _)| *n == primary || followers.contains(*n)).count();
            if !own.alone && own.members.len() > 2 && present < voters.len() / 2 + 1 {
                continue;
            }
            let synchronized: BTreeSet<_> = followers
                .iter()
                .filter(|n| own.members.get(*n) == Some(&Mode::Synchronous))
                .cloned()
                .chain([primary.clone()])
                .collect();
            let copy = self.instances.get_mut(primary).unwrap().copy.as_mut().unwrap();
            if copy.synchronized != synchronized {
                copy.synchronized = synchronized;
                copy.number = SequenceNumber(copy.number.0 + 1);
            }
            let copy = copy.clone();
            let log = self.instances[primary].log.clone();
            for follower in followers {
                let instance = self.instances.get_mut(&follower).unwrap();
                instance.log.clone_from(&log);
                let mine = instance.copy.as_mut().unwrap();
                *mine = Copy { role: Role::Secondary, follows: Some(primary.clone()), ..copy.clone() };
                if copy.members.get(&follower).is_some_and(|m| m.holds_data()) {
                    instance.databases.extend(copy.databases.clone());
                }
            }
        }
    }

    pub(super) fn ticks(&self) -> i64 {
        self.clock.as_millis() as i64
    }

    pub(super) fn facts(&self, who: &ReplicaName) -> Facts {
        let instance = &self.instances[who];
        let partners = instance
            .partners
            .iter()
            .map(|(p, admitted)| (p.clone(), Partner { certificate: Some(format!("cert-{p}")), admitted: *admitted }));
        let databases = instance.databases.iter().map(|d| {
            let in_group = instance.copy.as_ref().is_some_and(|c| c.databases.contains(d));
            (
                d.clone(),
                DatabaseFacts { state: "ONLINE".into(), full_recovery: true, in_group, log_chain: true, users: None },
            )
        });
        Facts {
            server: Server {
                name: who.to_string(),
                version: "16.0.4225.2".into(),
                edition: "Developer".into(),
                hadr_enabled: true,
                ticks: self.ticks(),
            },
            setup: Setup {
                certificate: instance.provisioned.then(|| format!("cert-{who}")),
                partners: partners.collect(),
                endpoint_started: instance.provisioned.then_some(true),
            },
            stored: Stored { epoch: instance.epoch, settled: instance.settled.clone(), passwords: None },
            group: instance.copy.as_ref().map(|copy| self.group_facts(who, copy)),
            databases: databases.collect(),
            logins: BTreeMap::new(),
        }
    }

    pub(super) fn group_facts(&self, who: &ReplicaName, copy: &Copy) -> GroupFacts {
        let follower = |n: &ReplicaName| self.connected(n).as_ref() == Some(who);
        let members = copy
            .members
            .iter()
            .map(|(n, m)| (n.clone(), Member { mode: *m, connected: copy.role == Role::Primary && follower(n) }));
        let remote =
            |n: &ReplicaName| copy.role == Role::Primary && n != who && copy.synchronized.contains(n) && follower(n);
        let databases = copy.databases.iter().map(|d| {
            let remote = copy.members.keys().filter(|n| remote(n)).map(|n| (n.clone(), SYNCHRONIZED.into())).collect();
            let local = if copy.role == Role::Primary || self.connected(who).is_some() {
                SYNCHRONIZED
            } else {
                "NOT SYNCHRONIZING"
            };
            (
                d.clone(),
                GroupDatabase {
                    failover_ready: copy.synchronized.contains(who),
                    local: Some(local.into()),
                    remote,
                    ..GroupDatabase::default()
                },
            )
        });
        GroupFacts {
            role: copy.role,
            failover_running: false,
            number: copy.number,
            commit_quorum: copy.commit_quorum,
            connected: self.connected(who).is_some(),
            primary: if copy.role == Role::Primary { Some(who.clone()) } else { copy.follows.clone() },
            commit_pending: false,
            members: members.collect(),
            databases: databases.collect(),
        }
    }

    pub(super) fn reachable(&mut self, who: &ReplicaName) -> Option<&mut Instance> {
        self.instances.get_mut(who).filter(|i| i.up && !i.unreachable)
    }

    pub(super) fn act_on_instance(&mut self, step: &Step) -> bool {
        let who = step.instance().unwrap().clone();
        let members = self.group.replicas.clone();
        let connected = self.connected(&who);
        let ticks = self.ticks();
        let seed = self.instances.values().find_map(|i| i.copy.clone().filter(|c| c.role == Role::Primary));
        let Some(instance) = self.reachable(&who) else { return false };
        match step {
            Step::Provision(_) => instance.provisioned = true,
            Step::ImportPartner { partner, .. } => {
                instance.partners.insert(partner.clone(), true);
            }
            Step::CreateGroup { .. } => instance.copy = Some(first_copy(&who, members)),
            Step::Join { .. } => {
                let Some(primary) = seed else { return false };
                instance.copy = Some(Copy { role: Role::Resolving, follows: None, ..primary });
            }
            Step::StandDown { epoch, .. } | Step::Follow { epoch, .. } if instance.epoch > *epoch => return false,
            Step::StandDown { unless_connected_to, .. }
                if unless_connected_to.is_some() && connected == *unless_connected_to =>
            {
                return false;
            }
            Step::StandDown { epoch, admit, .. } => stand_down(instance, *epoch, admit),
            Step::Follow { epoch, primary, .. } => follow(instance, *epoch, primary),
            Step::Failover { epoch, number, deadline, force, .. } => {
                return self.failover(&who, (*epoch, *number, *deadline), *force, ticks);
            }
            Step::StoreSettled { record, .. } => {
                instance.epoch = record.epoch;
                instance.settled = Some((**record).clone());
            }
            Step::SetCommitQuorum { value, .. } => {
                let copy = instance.copy.as_mut().unwrap();
                copy.commit_quorum = *value;
                copy.number = SequenceNumber(copy.number.0 + 1);
            }
            Step::AdmitAll(_) => instance.partners.values_mut().for_each(|admitted| *admitted = true),
            Step::CreateDatabase { database, .. } => {
                instance.databases.insert(database.clone());
            }
            Step::AddDatabase { database, .. } => {
                let copy = instance.copy.as_mut().unwrap();
                copy.databases.insert(database.clone());
                copy.number = SequenceNumber(copy.number.0 + 1);
                self.known.insert(database.clone());
            }
            Step::RestartEndpoint(_) => {}
            other => panic!("not modelled: {other:?}"),
        }
        true
    }

    pub(super) fn failover(
        &mut self,
        who: &ReplicaName,
        (epoch, number, deadline): (u64, SequenceNumber, i64),
        force: bool,
        ticks: i64,
    ) -> bool {
        let refuses = self.instances[who].refuses_failover;
        let instance = self.instances.get_mut(who).unwrap();
        let copy = instance.copy.as_mut().unwrap();
        let recorded = self.record.as_ref().is_some_and(|r| r.epoch > epoch || (r.primary == *who && r.epoch == epoch));
        assert!(recorded, "FAILOVER without a recorded election\n{}", self.history.join("\n"));
        if instance.epoch != epoch || copy.number != number || ticks > deadline {
            self.operator.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Refused(50_003) });
            return false;
        }
        if !force && (refuses || !copy.synchronized.contains(who) && !copy.databases.is_empty()) {
            self.operator.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Refused(41_142) });
            return false;
        }
        copy.role = Role::Primary;
        copy.alone = force;
        copy.number = SequenceNumber::new((copy.number.0 >> 32) as u32 + 1, 0);
        copy.follows = None;
        instance.partners.values_mut().for_each(|admitted| *admitted = true);
        self.operator.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Accepted });
        true
    }
}

/// What CREATE makes.
fn first_copy(primary: &ReplicaName, members: BTreeMap<ReplicaName, Mode>) -> Copy {
    Copy {
        role: Role::Primary,
        number: SequenceNumber::new(1, 1),
        commit_quorum: 0,
        members,
        follows: None,
        synchronized: BTreeSet::from([primary.clone()]),
        databases: BTreeSet::new(),
        alone: false,
    }
}

/// Leaves its role and lets these partners connect.
fn stand_down(instance: &mut Instance, epoch: u64, admit: &BTreeSet<ReplicaName>) {
    instance.epoch = epoch;
    instance.partners.iter_mut().for_each(|(partner, admitted)| *admitted = admit.contains(partner));
    let copy = instance.copy.as_mut().unwrap();
    copy.role = Role::Resolving;
    copy.follows = None;
}

/// Becomes a secondary that only this primary may connect to; one that is a secondary already stays.
fn follow(instance: &mut Instance, epoch: u64, primary: &ReplicaName) {
    instance.epoch = epoch;
    instance.partners.iter_mut().for_each(|(partner, admitted)| *admitted = partner == primary);
    let copy = instance.copy.as_mut().unwrap();
    if copy.role == Role::Resolving {
        copy.role = Role::Secondary;
        copy.follows = None;
    }
}
