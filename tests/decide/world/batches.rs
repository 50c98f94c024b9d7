//! What a batch does to one instance.

use super::*;

impl World {
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
                instance.copy = Some(Copy { role: Role::Resolving, accepted: None, last: None, ..primary });
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
            // What it promised goes with its copy of the configuration; its databases stay.
            Step::Leave { epoch, .. } if instance.epoch > *epoch => return false,
            Step::Leave { .. } => (instance.copy, instance.promised) = (None, 0),
            Step::StoreSettled { record, .. } => {
                instance.epoch = record.epoch;
                instance.settled = Some((**record).clone());
            }
            Step::SetCommitQuorum { value, .. } => {
                return self.propose(&who, |copy| copy.commit_quorum = *value);
            }
            Step::AdmitAll(_) => instance.partners.values_mut().for_each(|admitted| *admitted = true),
            Step::CreateDatabase { database, .. } => {
                instance.databases.insert(database.clone());
            }
            Step::AddDatabase { database, .. } => {
                self.known.insert(database.clone());
                return self.propose(&who, |copy| copy.databases.extend([database.clone()]));
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
        let recorded = self.record.as_ref().is_some_and(|r| r.epoch > epoch || (r.primary == *who && r.epoch == epoch));
        assert!(recorded, "FAILOVER without a recorded election\n{}", self.history.join("\n"));
        let refuse = |world: &mut Self, number| {
            world.operator.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Refused(number) });
            false
        };
        let instance = &self.instances[who];
        let copy = instance.copy.as_ref().unwrap();
        if instance.epoch != epoch || copy.number != number || ticks > deadline {
            return refuse(self, 50_003);
        }
        let synchronized = copy.synchronized.contains(who) || copy.databases.is_empty();
        // Those that promise have done so whatever comes of it.
        let refuses = instance.refuses_failover;
        if !force && (!synchronized || !self.promise(who) || refuses) {
            return refuse(self, 41_142);
        }
        self.promote(who, force);
        self.operator.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Accepted });
        let elected = |r: &Record| (r.state, &r.primary, r.epoch) == (ElectionState::Elected, who, epoch);
        if !self.record.as_ref().is_some_and(elected) {
            self.stray_failover = Some(format!("FAILOVER of epoch {epoch} made {who} primary: its election is over"));
        }
        true
    }

    /// Where a majority has to promise first: those that can be reached do, and leave whomever they follow.
    fn promise(&mut self, who: &ReplicaName) -> bool {
        if self.variant != FailoverEngine::MajorityBeforePromotion {
            return true;
        }
        let copy = self.instances[who].copy.clone().unwrap();
        let joined = |n: &ReplicaName| self.instances[n].copy.is_some();
        let voters: Vec<_> =
            copy.members.iter().filter(|(n, mode)| mode.votes() && joined(n)).map(|(n, _)| n.clone()).collect();
        let asked: Vec<_> = voters.iter().filter(|n| *n == who || self.linked(who, n)).cloned().collect();
        let number = |n: &ReplicaName| self.instances[n].copy.as_ref().unwrap().number;
        let enough = asked.len() > voters.len() / 2 || voters.len() <= 2;
        if !enough || asked.iter().any(|n| number(n) > copy.number) {
            return false;
        }
        let promised = asked.iter().map(|n| self.instances[n].promised).max().unwrap_or(0);
        let next = promised.max(engine::promotions(copy.number)) + 1;
        for name in asked {
            let instance = self.instances.get_mut(&name).unwrap();
            instance.promised = next;
            let copy = instance.copy.as_mut().unwrap();
            if name != *who && (copy.role == Role::Primary || copy.follows.as_ref().is_some_and(|p| p != who)) {
                (copy.role, copy.follows, copy.accepted) = (Role::Resolving, None, None);
            }
        }
        true
    }

    fn promote(&mut self, who: &ReplicaName, force: bool) {
        let local = self.variant == FailoverEngine::Local;
        let alone = self.marks_itself_alone;
        let instance = self.instances.get_mut(who).unwrap();
        instance.partners.values_mut().for_each(|admitted| *admitted = true);
        let promised = instance.promised;
        let copy = instance.copy.as_mut().unwrap();
        copy.role = Role::Primary;
        copy.alone = force;
        copy.number = SequenceNumber::new(promised.max(engine::promotions(copy.number) + 1), 0);
        copy.follows = None;
        if alone || force {
            copy.synchronized = BTreeSet::from([who.clone()]);
        }
        copy.committed = (copy.synchronized.clone(), copy.commit_quorum);
        copy.accepted = (!local && !force).then(|| BTreeSet::from([who.clone()]));
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
        committed: (BTreeSet::from([primary.clone()]), 0),
        accepted: None,
        last: None,
        databases: BTreeSet::new(),
        alone: false,
    }
}

/// Leaves its role and lets these partners connect.
fn stand_down(instance: &mut Instance, epoch: u64, admit: &BTreeSet<ReplicaName>) {
    instance.epoch = epoch;
    instance.partners.iter_mut().for_each(|(partner, admitted)| *admitted = admit.contains(partner));
    let copy = instance.copy.as_mut().unwrap();
    copy.last = copy.follows.take().or(copy.last.take());
    (copy.role, copy.accepted) = (Role::Resolving, None);
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
