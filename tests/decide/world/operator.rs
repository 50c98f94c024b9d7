//! The operator: what a pass sees, and what becomes of its effects.

use super::*;
use quorate::decide::rejoin::due;

impl World {
    /// A new operator process: it remembers nothing.
    pub fn operator_restarts(&mut self) {
        self.operator = Operator::default();
        self.instances.values_mut().for_each(|instance| instance.rejoining_for = Duration::ZERO);
    }

    pub fn observe(&self) -> Observation {
        let replicas = self.instances.iter().map(|(n, instance)| {
            let probe = match (instance.up && !instance.unreachable, instance.provisioned) {
                (false, _) => Probe::Silent { why: "no answer within 1 s".into() },
                (true, false) => Probe::LoginRefused,
                (true, true) => Probe::Answered(Box::new(self.facts(n))),
            };
            let mode = self.group.replicas.get(n).copied().unwrap_or(Mode::Synchronous);
            let silent = matches!(probe, Probe::Silent { .. });
            let pod = Pod {
                exists: true,
                running: instance.up,
                deleting: self.deleting.contains(n),
                gate: self.gates.get(n).copied(),
                terminated: instance.terminated,
                ..Pod::default()
            };
            let before = self.operator.rejoined_for.get(n).copied().unwrap_or_default();
            let (retry, cure) = due(instance.rejoining_for, before);
            let replica = Replica {
                mode,
                wanted: self.group.replicas.contains_key(n),
                pod,
                probe,
                silent_for: instance.silent_for,
                silent_since: silent.then_some(0),
                admin_refused: None,
                rejoining_for: instance.rejoining_for,
                retry,
                cure,
            };
            (n.clone(), replica)
        });
        Observation {
            at: self.clock.as_millis() as i64,
            group: self.group.clone(),
            record: self.record.clone(),
            known_databases: self.known.clone(),
            replicas: replicas.collect(),
            log_backups: None,
            routed: self.routed.clone(),
            suspected_for: self.operator.suspected_since.map_or(Duration::ZERO, |since| self.clock - since),
            election_age: self.operator.election.map_or(Duration::ZERO, |(_, _, since)| self.clock - since),
            promoted_for: Duration::ZERO,
            since_unplanned: self.unplanned_at.map(|at| self.clock - at),
            failover: self.operator.memo,
            commit_quorum_refused: None,
            request: self.request.clone(),
            passwords: String::new(),
            certificates: self.certificates.clone(),
            upgrade: None,
            upgrade_gone: false,
        }
    }

    /// Whether a moment of the instances' clocks is over.
    pub fn is_past(&self, deadline: i64) -> bool {
        self.ticks() > deadline
    }

    /// How long what has lasted, as far as a rule asks: suspicion, patience, deadlines.
    pub fn ages(&self) -> impl std::fmt::Debug {
        const RULES: [u64; 5] = [1_500, 3_000, 5_000, 7_000, 15_000];
        let age =
            |since: Duration| RULES.iter().filter(|rule| (self.clock - since).as_millis() as u64 >= **rule).count();
        let deadline = self.record.as_ref().and_then(|record| record.deadline).map(|deadline| self.is_past(deadline));
        (
            self.operator.suspected_since.map(age),
            self.operator.election.map(|(epoch, state, since)| (epoch, state, age(since))),
            self.operator.memo,
            deadline,
        )
    }

    /// Looks and decides, as the current operator. Returns the version of the record it rests on.
    pub fn look(&mut self) -> (Plan, u64) {
        self.engine();
        let key = self.record.as_ref().map(|r| (r.epoch, r.state));
        if self.operator.election.map(|(epoch, state, _)| (epoch, state)) != key {
            self.operator.election = key.map(|(epoch, state)| (epoch, state, self.clock));
        }
        let lost = decide::diagnose::primary_is_lost(&self.observe());
        self.operator.suspected_since = if lost { self.operator.suspected_since.or(Some(self.clock)) } else { None };
        let plan = decide::decide(&self.observe());
        self.operator.rejoined_for =
            self.instances.iter().map(|(name, instance)| (name.clone(), instance.rejoining_for)).collect();
        self.history.push(format!("{:>7} ms {} {}", self.clock.as_millis(), plan.reason, plan.message));
        (plan, self.version)
    }

    /// Acts on a plan; `fate` says what becomes of each effect. A record that changed since fails the swap.
    pub fn carry_out(&mut self, plan: &Plan, version: u64, mut fate: impl FnMut(&Step) -> Fate) {
        let mut version = version;
        for wave in &plan.waves {
            let mut good = true;
            for step in wave {
                let fate = fate(step);
                self.history.push(format!("           {}{step:?}", if fate == Fate::Lands { "" } else { "LOST " }));
                let swap = matches!(step, Step::Record(_));
                match fate {
                    Fate::Ends => return self.operator_restarts(),
                    _ if swap && version != self.version => good = false,
                    Fate::Lands => good &= self.act(step),
                    Fate::Hangs if swap => {
                        self.act(step);
                        return self.operator_restarts();
                    }
                    Fate::Hangs => {
                        if let Step::Failover { epoch, .. } = step {
                            self.operator.memo = Some(FailoverMemo { epoch: *epoch, answer: FailoverAnswer::Unknown });
                        }
                        self.mail.push(step.clone());
                        good = false;
                    }
                }
                if swap && good {
                    version = self.version;
                }
            }
            if !good {
                break;
            }
        }
        self.engine();
    }

    /// A batch whose answer was lost lands after all.
    pub fn deliver(&mut self, index: usize) {
        let step = self.mail.swap_remove(index);
        self.history.push(format!("======== lands late: {step:?}"));
        let memo = self.operator.memo;
        // It was sent already: whoever cannot be reached now has it all the same.
        let who = step.instance().cloned();
        let hide = |world: &mut Self, hidden: bool| {
            let target = who.as_ref().and_then(|who| world.instances.get_mut(who));
            target.is_some_and(|target| std::mem::replace(&mut target.unreachable, hidden))
        };
        let hidden = hide(self, false);
        self.act(&step);
        hide(self, hidden);
        self.operator.memo = memo;
        self.engine();
    }

    pub fn wait(&mut self, time: Duration) {
        self.clock += time.max(Duration::from_millis(10));
        let primary = self.record.as_ref().map(|r| r.primary.clone());
        for who in self.instances.keys().cloned().collect::<Vec<_>>() {
            let there = Some(&who) == primary.as_ref() || self.connected(&who) == primary;
            let instance = self.instances.get_mut(&who).unwrap();
            instance.rejoining_for = if there || !instance.up { Duration::ZERO } else { instance.rejoining_for + time };
        }
    }

    /// One pass: look, decide, act; then time passes.
    pub fn pass(&mut self) -> Plan {
        self.pass_with(|_| Fate::Lands)
    }

    pub fn pass_with(&mut self, fate: impl FnMut(&Step) -> Fate) -> Plan {
        let (plan, version) = self.look();
        self.carry_out(&plan, version, fate);
        self.wait(plan.recheck);
        self.check();
        plan
    }

    /// Passes until `done`, within `limit` of the world's time.
    pub fn until(&mut self, what: &str, limit: Duration, done: impl Fn(&World, &Plan) -> bool) -> Duration {
        let begin = self.clock;
        loop {
            let plan = self.pass();
            if done(self, &plan) {
                return self.clock - begin;
            }
            assert!(self.clock - begin < limit, "{what}: not within {limit:?}\n{}", self.history.join("\n"));
        }
    }

    pub fn healthy(&mut self) -> Duration {
        self.until("healthy", Duration::from_secs(60), |_, plan| {
            plan.reason == decide::Reason::Healthy && plan.waves.is_empty()
        })
    }

    pub(super) fn act(&mut self, step: &Step) -> bool {
        match step {
            Step::Record(record) => {
                let newest = self.record.as_ref().map_or(0, |r| r.epoch);
                assert!(record.epoch >= newest, "an epoch went back\n{}", self.history.join("\n"));
                self.record = Some((**record).clone());
                self.version += 1;
                true
            }
            Step::KeepCertificate { replica, certificate } => {
                self.certificates.insert(replica.clone(), certificate.clone());
                true
            }
            Step::Route(to) => {
                self.routed.read_write = to.clone();
                true
            }
            Step::Label { replica, role, readable } => {
                self.routed.roles.insert(replica.clone(), role.clone());
                if *readable {
                    self.routed.readable.insert(replica.clone())
                } else {
                    self.routed.readable.remove(replica)
                };
                true
            }
            Step::Answer { request, finished, message, .. } => {
                self.answers.push((request.clone(), *finished, message.clone()));
                self.request = None;
                true
            }
            Step::Gate { replica, ready } => {
                self.gates.insert(replica.clone(), *ready);
                true
            }
            Step::Announce { .. } => true,
            _ => self.act_on_instance(step),
        }
    }
}
