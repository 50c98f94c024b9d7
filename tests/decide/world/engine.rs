//! The engine: what instances do by themselves. A configuration is proposed by a primary, accepted by its followers one by
//! one and committed by a majority; a write is shipped to followers and acknowledged when all that must have it do.
//!
//! Words and rules are those of the model that the protocol was checked with; its variants are switches of [`World`].

use super::*;

/// The half of a sequence number that counts promotions.
pub(super) fn promotions(number: SequenceNumber) -> u32 {
    (number.0 >> 32) as u32
}

impl World {
    pub(super) fn linked(&self, a: &ReplicaName, b: &ReplicaName) -> bool {
        let cut = self.cuts.contains(&(a.clone(), b.clone())) || self.cuts.contains(&(b.clone(), a.clone()));
        let up = |n: &ReplicaName| self.instances.get(n).is_some_and(|i| i.up);
        let admits = |n: &ReplicaName, p: &ReplicaName| self.instances[n].partners.get(p).copied().unwrap_or(false);
        !cut && up(a) && up(b) && admits(a, b) && admits(b, a)
    }

    /// Runs and says PRIMARY.
    pub fn serves(&self, who: &ReplicaName) -> bool {
        let instance = &self.instances[who];
        instance.up && instance.copy.as_ref().is_some_and(|copy| copy.role == Role::Primary)
    }

    /// Whether a replica would take the configuration of this primary.
    fn accepts(&self, who: &ReplicaName, primary: &ReplicaName) -> bool {
        let instance = &self.instances[who];
        let (Some(own), Some(theirs)) = (&instance.copy, &self.instances[primary].copy) else { return false };
        let local = self.variant == FailoverEngine::Local;
        (local && self.follows_lower_numbers)
            || theirs.number >= own.number && promotions(theirs.number) >= instance.promised
    }

    pub fn connected(&self, who: &ReplicaName) -> Option<ReplicaName> {
        let copy = self.instances[who].copy.as_ref()?;
        let primary = copy.follows.clone()?;
        (copy.role == Role::Secondary
            && self.serves(&primary)
            && self.linked(who, &primary)
            && self.accepts(who, &primary))
        .then_some(primary)
    }

    fn followers(&self, primary: &ReplicaName) -> BTreeSet<ReplicaName> {
        self.instances.keys().filter(|n| self.connected(n).as_ref() == Some(primary)).cloned().collect()
    }

    fn copy(&mut self, who: &ReplicaName) -> &mut Copy {
        self.instances.get_mut(who).unwrap().copy.as_mut().unwrap()
    }

    /// A secondary in no connection takes whichever primary admits it and is admitted: SET (ROLE = SECONDARY) names none.
    fn attach(&mut self) {
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for who in &names {
            let Some(copy) = &self.instances[who].copy else { continue };
            let may = |n: &ReplicaName| n != who && self.serves(n) && self.linked(who, n) && self.accepts(who, n);
            let found = match (copy.role, &copy.follows) {
                (Role::Secondary, None) => names.iter().find(|n| may(n)).cloned(),
                (Role::Resolving, _) if self.returns_by_itself => copy.last.clone().filter(may),
                _ => None,
            };
            if let Some(primary) = found {
                let log = self.instances[&primary].log.clone();
                self.instances.get_mut(who).unwrap().log = log;
                let copy = self.copy(who);
                (copy.role, copy.follows, copy.last) = (Role::Secondary, Some(primary.clone()), Some(primary));
            }
        }
        for who in &names {
            // A follower that lost its primary's role looks again; one that only lost the connection keeps its place.
            let Some(copy) = &self.instances[who].copy else { continue };
            let primary = |p: &ReplicaName| self.instances[p].copy.as_ref().is_some_and(|c| c.role == Role::Primary);
            if copy.follows.as_ref().is_some_and(|p| !primary(p)) {
                self.copy(who).follows = None;
            }
        }
    }

    /// The engine's part of a moment.
    pub fn engine(&mut self) {
        self.attach();
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for primary in &names {
            if !self.serves(primary) {
                self.clients.remove(primary);
                self.open.retain(|_, write| write.at != *primary);
                continue;
            }
            if self.routed.read_write.as_ref() == Some(primary) {
                self.clients.insert(primary.clone());
            }
            self.ship(primary);
            self.offer(primary);
            self.count_synchronized(primary);
            self.offer(primary);
        }
        self.acknowledge();
    }

    /// Followers harden the primary's log.
    fn ship(&mut self, primary: &ReplicaName) {
        let log = self.instances[primary].log.clone();
        let followers = self.followers(primary);
        let all = self.follows_on;
        for (name, instance) in &mut self.instances {
            let behind = self.lagging.contains(name) || name == primary || instance.copy.is_none();
            if !behind && (all || followers.contains(name)) {
                instance.log.clone_from(&log);
                for write in self.open.values_mut().filter(|write| write.at == *primary) {
                    write.hardened.insert(name.clone());
                }
            }
        }
    }

    /// Followers take the primary's configuration.
    fn offer(&mut self, primary: &ReplicaName) {
        let copy = self.copy(primary).clone();
        for follower in self.followers(primary) {
            let instance = self.instances.get_mut(&follower).unwrap();
            let last = Some(primary.clone());
            instance.copy =
                Some(Copy { role: Role::Secondary, follows: last.clone(), last, accepted: None, ..copy.clone() });
            if self.variant == FailoverEngine::MajorityBeforePromotion {
                instance.promised = instance.promised.max(promotions(copy.number));
            }
            if copy.members.get(&follower).is_some_and(|m| m.holds_data()) {
                instance.databases.extend(copy.databases.clone());
            }
            if let Some(accepted) = &mut self.copy(primary).accepted {
                accepted.insert(follower);
            }
        }
        self.commit(primary);
    }

    /// A majority accepted: the configuration is in force. Of two voters the primary alone is enough.
    fn commit(&mut self, primary: &ReplicaName) {
        let joined = |name: &ReplicaName| self.instances[name].copy.is_some();
        let copy = self.instances[primary].copy.as_ref().unwrap();
        let voters: Vec<_> = copy.members.iter().filter(|(_, mode)| mode.votes()).map(|(name, _)| name).collect();
        let there = voters.iter().filter(|name| joined(name)).count();
        let alone = copy.alone || voters.len() <= 2;
        let enough = |accepted: &BTreeSet<ReplicaName>| {
            alone || voters.iter().filter(|name| accepted.contains(**name)).count() > there / 2
        };
        if copy.accepted.as_ref().is_some_and(enough) {
            let copy = self.copy(primary);
            copy.accepted = None;
            copy.committed = (copy.synchronized.clone(), copy.commit_quorum);
        }
    }

    /// A primary marks who is synchronized with it, one change at a time.
    fn count_synchronized(&mut self, primary: &ReplicaName) {
        let copy = self.instances[primary].copy.as_ref().unwrap();
        let here =
            |name: &ReplicaName| copy.members.get(name) == Some(&Mode::Synchronous) && !self.lagging.contains(name);
        let mut synchronized: BTreeSet<_> = self.followers(primary).into_iter().filter(here).collect();
        synchronized.insert(primary.clone());
        if copy.synchronized != synchronized {
            self.propose(primary, |copy| copy.synchronized = synchronized);
        }
    }

    /// A new configuration: its number grows, and its proposer accepts it first. Not while one is under way, nor by a primary that promised to
    /// follow another.
    pub(super) fn propose(&mut self, primary: &ReplicaName, change: impl FnOnce(&mut Copy)) -> bool {
        let promised = self.instances[primary].promised;
        let copy = self.copy(primary);
        if copy.accepted.is_some() || promised > promotions(copy.number) {
            return false;
        }
        change(copy);
        copy.number = SequenceNumber(copy.number.0 + 1);
        copy.accepted = Some(BTreeSet::from([primary.clone()]));
        self.commit(primary);
        true
    }

    /// A client writes: acknowledged at once, later or never.
    pub fn write(&mut self, who: &ReplicaName, row: u32) -> bool {
        if !self.serves(who) || !self.clients.contains(who) {
            return false;
        }
        self.instances.get_mut(who).unwrap().log.push(row);
        self.open.insert(row, Write { at: who.clone(), hardened: BTreeSet::new() });
        self.ship(who);
        self.acknowledge();
        self.acknowledged.contains(&row)
    }

    /// Writes that everybody has who must: whoever the committed or the proposed configuration marks synchronized, and
    /// as many of the committed ones as the commit quorum says.
    fn acknowledge(&mut self) {
        let done: Vec<_> = self.open.iter().filter(|(_, write)| self.is_enough(write)).map(|(row, _)| *row).collect();
        for row in done {
            self.open.remove(&row);
            self.acknowledged.insert(row);
        }
    }

    fn is_enough(&self, write: &Write) -> bool {
        let instance = &self.instances[&write.at];
        let Some(copy) = instance.copy.as_ref().filter(|_| self.serves(&write.at)) else { return false };
        let unelected =
            self.variant != FailoverEngine::Local && copy.accepted.is_some() && copy.number.0 & 0xFFFF_FFFF == 0;
        if unelected || instance.promised > promotions(copy.number) {
            return false;
        }
        let (committed, quorum) = &copy.committed;
        let others = |set: &BTreeSet<ReplicaName>| set.iter().filter(|name| **name != write.at).cloned().collect();
        let (committed, proposed): (BTreeSet<_>, BTreeSet<_>) = (others(committed), others(&copy.synchronized));
        committed.union(&proposed).all(|name| write.hardened.contains(name))
            && committed.intersection(&write.hardened).count() as u32 >= *quorum
    }

    /// promotion.md 8, 1 to 3: at most one replica can acknowledge, it has every acknowledged row, and no FAILOVER takes
    /// effect but that of the recorded election.
    pub fn broken(&self) -> Option<String> {
        const PROBE: u32 = u32::MAX;
        if self.stray_failover.is_some() {
            return self.stray_failover.clone();
        }
        let can = |who: &&ReplicaName| {
            let mut later = self.clone();
            let written = later.write(who, PROBE);
            later.engine();
            written || later.acknowledged.contains(&PROBE)
        };
        let able: Vec<_> = self.instances.keys().filter(|who| self.serves(who)).filter(can).collect();
        if able.len() > 1 {
            return Some(format!("{able:?} can acknowledge"));
        }
        let lacks = |who: &&&ReplicaName| !self.acknowledged.iter().all(|row| self.instances[**who].log.contains(row));
        able.iter().find(lacks).map(|who| format!("{who} can acknowledge and lacks one of {:?}", self.acknowledged))
    }
}
