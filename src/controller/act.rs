//! The steps of a plan: waves in order, the steps of a wave at once, each effect with a permit taken when it is sent.
//!
//! Batches for instances run beside the passes: see `beside.rs`.

use super::{beside::Running, instances::Instances, memory::Memory, writes::Writes};
use crate::{
    decide::{
        Observation, Plan, Step,
        observation::{FailoverAnswer, FailoverMemo, QuorumRefused},
    },
    k8s,
    model::ReplicaName,
    sql::{
        Batch, Context, Error, Secret,
        error::COMMIT_QUORUM,
        statement::{self, Unbuildable},
    },
    telemetry::metrics::Outcome,
};
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long a pass waits for a batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for FAILOVER: the role is looked at meanwhile.
const FAILOVER_PATIENCE: Duration = Duration::from_millis(200);

/// How long a step that went well is not taken again: its effect shows later than its statement returns. Zero: at once.
const fn pause_after(step: &Step) -> Duration {
    match step {
        // The same statement again would only start the role change over.
        Step::StandDown { .. } | Step::Follow { .. } | Step::RestartEndpoint(_) | Step::Resume { .. } => {
            Duration::from_secs(2)
        }
        // A member that is joined again is one that waits for a database: seeding may take long.
        Step::Join { .. } => Duration::from_secs(60),
        _ => Duration::ZERO,
    }
}

/// What acts: everything a step may need.
pub struct Actor<'a> {
    /// The instances.
    pub instances: &'a Instances,
    /// Kubernetes.
    pub writes: &'a mut Writes,
    /// What the plan was decided from.
    pub seen: &'a Observation,
    /// Makes passwords.
    pub random: Arc<dyn Fn() -> Secret + Send + Sync>,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Done {
    /// Something took effect.
    pub changed: bool,
    /// A step failed; the waves after it were not begun.
    pub failed: bool,
    /// Where writers were sent.
    pub routed: Option<ReplicaName>,
    /// Steps and outcomes, in the order they were taken, for the log.
    pub steps: Vec<String>,
}

/// What came back from a step.
enum Answer {
    Instance(Result<(), Error>),
    Kubernetes(Result<(), k8s::Error>),
    /// It runs longer than a pass waits.
    Later,
    /// It went through a moment ago; its effect does not show yet.
    Before,
}

/// How a step ended.
struct Ended {
    outcome: Outcome,
    words: String,
}

impl Ended {
    fn done() -> Self {
        Self { outcome: Outcome::Done, words: String::new() }
    }
}

/// Takes the steps of a plan.
pub async fn act(plan: &Plan, actor: &mut Actor<'_>, memory: &mut Memory) -> Done {
    let mut done = Done::default();
    memory.accepted.retain(|(step, at)| at.elapsed() < pause_after(step));
    for wave in &plan.waves {
        for step in wave {
            actor.start(step, memory);
        }
        let mut good = true;
        let answers = actor.answers(wave, memory).await;
        for (step, answer) in wave.iter().zip(answers) {
            let ended = match answer {
                Answer::Instance(answer) => {
                    remember_commit_quorum(step, &answer, actor.seen, memory);
                    ended(step, answer, memory)
                }
                Answer::Kubernetes(answer) => written(answer),
                Answer::Before => continue,
                Answer::Later => {
                    good = false;
                    done.steps.push(format!("{} runs", words(step)));
                    continue;
                }
            };
            done.failed |= ended.outcome != Outcome::Done;
            actor.instances.health.metrics.step(step, ended.outcome);
            if matches!(step, Step::KeepCertificate { .. }) {
                memory.kept = None;
            }
            if let (Step::Route(to), Outcome::Done) = (step, ended.outcome) {
                done.routed.clone_from(to);
            }
            done.changed |= ended.outcome == Outcome::Done;
            good &= ended.outcome == Outcome::Done;
            done.steps.push(format!("{} {}{}", words(step), ended.outcome.as_str(), ended.words));
        }
        if !good {
            break;
        }
    }
    done
}

fn words(step: &Step) -> String {
    match step.instance() {
        Some(replica) => format!("{} {replica}", step.word()),
        None => step.word().to_string(),
    }
}

impl Actor<'_> {
    /// Sends the batches of a step, unless they are running already.
    fn start(&self, step: &Step, memory: &mut Memory) {
        let Some(replica) = step.instance() else { return };
        // Whoever is no member any more has lost what was done there.
        let lost = matches!(step, Step::Join { .. }) && self.seen.member(replica).is_none();
        if memory.running.iter().any(|running| running.step == *step) || was_accepted(step, memory) && !lost {
            return;
        }
        let batches = self.batches(step, replica).map_err(|error| Error::Retry(error.to_string()));
        let batches = batches.map(|batches| (self.instances.clone(), batches));
        if let Step::Failover { epoch, .. } = step {
            memory.failover = Some(FailoverMemo { epoch: *epoch, answer: FailoverAnswer::Unknown });
        }
        memory.touched(replica);
        memory.running.push(Running::send(step.clone(), replica, batches, &self.writes.permits));
    }

    fn batches(&self, step: &Step, replica: &ReplicaName) -> Result<Vec<Batch>, Unbuildable> {
        let Some(access) = &self.instances.access else { return Ok(Vec::new()) };
        let facts = self.seen.facts(replica);
        let imported = facts.into_iter().flat_map(|facts| facts.setup.partners.keys());
        let recorded = self.seen.record.iter().flat_map(|record| &record.voters);
        let partners: BTreeSet<_> = imported.chain(recorded).chain(self.seen.group.replicas.keys()).cloned().collect();
        let random = || (self.random)();
        let context = Context {
            group: &self.seen.group,
            partners,
            certificates: &self.seen.certificates,
            look: &access.look,
            act: &access.act,
            admin: self.instances.old_admin(replica).map(|_| &access.admin),
            logins: &access.logins,
            random: &random,
        };
        statement::batches(step, &context)
    }

    /// Waits for the steps of a wave, all at once.
    async fn answers(&mut self, wave: &[Step], memory: &mut Memory) -> Vec<Answer> {
        let mut recorded = BTreeMap::new();
        for (at, step) in wave.iter().enumerate() {
            let answer = match step {
                Step::Record(record) => self.writes.record(record).await,
                Step::SetUpgrade(upgrade) => self.writes.upgrade(upgrade.as_deref()).await,
                _ => continue,
            };
            recorded.insert(at, answer);
        }
        let mut mine = std::mem::take(&mut memory.running);
        let (writes, seen) = (&*self.writes, self.seen);
        let waits = wave.iter().enumerate().map(|(at, step)| {
            let recorded = recorded.remove(&at);
            let running = mine.iter().position(|running| running.step == *step).map(|at| mine.remove(at));
            async move {
                match (recorded, running) {
                    (Some(answer), _) => (Answer::Kubernetes(answer), None),
                    (None, Some(running)) => wait(running).await,
                    (None, None) if step.instance().is_some() => (Answer::Before, None),
                    (None, None) => (Answer::Kubernetes(writes.step(step, seen).await), None),
                }
            }
        });
        let waits: Vec<_> = waits.collect();
        let mut answers = Vec::new();
        for (step, (answer, later)) in wave.iter().zip(join_all(waits).await) {
            if let (Answer::Instance(_), Some(replica)) = (&answer, step.instance()) {
                memory.touched(replica);
            }
            mine.extend(later);
            answers.push(answer);
        }
        memory.running = mine;
        answers
    }
}

/// Whether the same statement went through a moment ago.
fn was_accepted(step: &Step, memory: &Memory) -> bool {
    memory.accepted.iter().any(|(accepted, _)| accepted == step)
}

async fn wait(running: Running<Step>) -> (Answer, Option<Running<Step>>) {
    let patience = if matches!(running.step, Step::Failover { .. }) { FAILOVER_PATIENCE } else { PATIENCE };
    match running.within(patience).await {
        Ok((_, answer)) => (Answer::Instance(answer), None),
        Err(running) => (Answer::Later, Some(running)),
    }
}

fn written(answer: Result<(), k8s::Error>) -> Ended {
    let outcome = match &answer {
        Ok(()) => return Ended::done(),
        Err(k8s::Error::Retry(_) | k8s::Error::NotLeader) => Outcome::NotSent,
        Err(k8s::Error::Refused(_) | k8s::Error::NameTaken(_)) => Outcome::Refused,
        Err(k8s::Error::Lost(_)) => Outcome::Lost,
    };
    Ended { outcome, words: answer.err().map_or_else(String::new, |error| format!(": {error}")) }
}

/// Takes the answers of batches that outlived their pass.
pub async fn collect(memory: &mut Memory) {
    for running in std::mem::take(&mut memory.running) {
        match running.within(Duration::ZERO).await {
            Err(running) => memory.running.push(running),
            Ok((step, answer)) => {
                if let Some(replica) = step.instance() {
                    memory.touched(replica);
                }
                let ended = ended(&step, answer, memory);
                tracing::info!(step = words(&step), outcome = ended.outcome.as_str(), "late answer{}", ended.words);
            }
        }
    }
}

fn ended(step: &Step, answer: Result<(), Error>, memory: &mut Memory) -> Ended {
    if answer.is_ok() && !pause_after(step).is_zero() {
        memory.accepted.push((step.clone(), Instant::now()));
    }
    if let Step::Provision(replica) | Step::SetPasswords { replica, .. } = step {
        let refused = answer.as_ref().is_err_and(Error::is_login_refused);
        if refused {
            let now = Instant::now();
            memory.admin_refused.entry(replica.clone()).or_insert((now, now)).1 = now;
        } else if answer.is_ok() {
            memory.admin_refused.remove(replica);
        }
    }
    if let Step::Failover { epoch, .. } = step {
        remember_failover(*epoch, &answer, memory);
    }
    match answer {
        Ok(()) => Ended::done(),
        Err(Error::Retry(why)) => Ended { outcome: Outcome::NotSent, words: format!(": {why}") },
        Err(error) if error.is_doubtful() => Ended { outcome: Outcome::Lost, words: format!(": {error}") },
        Err(error) => Ended { outcome: Outcome::Refused, words: format!(": {error}") },
    }
}

/// A commit quorum that the engine refuses for good is not asked for again while nothing else changes.
fn remember_commit_quorum(step: &Step, answer: &Result<(), Error>, seen: &Observation, memory: &mut Memory) {
    let Step::SetCommitQuorum { replica, value, .. } = step else { return };
    let why = match answer {
        Err(error) if error.number().is_some_and(|number| COMMIT_QUORUM.contains(&number)) => error.to_string(),
        _ => return memory.commit_quorum_refused = None,
    };
    let members = seen.member(replica).map(|own| own.members.keys().cloned().collect()).unwrap_or_default();
    memory.commit_quorum_refused = Some(QuorumRefused { value: *value, primary: replica.clone(), members, why });
}

/// What is known of a FAILOVER: an answer that is in doubt, or lost, leaves it unknown.
fn remember_failover(epoch: u64, answer: &Result<(), Error>, memory: &mut Memory) {
    if memory.failover.is_some_and(|memo| memo.epoch != epoch) {
        return;
    }
    memory.failover = match answer {
        Ok(()) => Some(FailoverMemo { epoch, answer: FailoverAnswer::Accepted }),
        Err(error) if error.is_transient() => None,
        Err(error) if error.is_doubtful() => Some(FailoverMemo { epoch, answer: FailoverAnswer::Unknown }),
        Err(error) => Some(FailoverMemo {
            epoch,
            answer: error.number().map_or(FailoverAnswer::Unknown, FailoverAnswer::Refused),
        }),
    };
}
