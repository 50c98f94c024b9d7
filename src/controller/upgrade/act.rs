//! The acts of a plan: waves in order, the statements of a wave at once, each effect with a permit taken when it is sent.
//!
//! Statements run beside the passes: see `beside.rs`.

use super::{Memory, see::Seen, slot::Slot};
use crate::{
    api::{self, RollingUpgrade},
    controller::{Shared, beside::Running, objects::text, observe::upgrade_of},
    decide::upgrade::{
        Act, Plan, Record, SqlStep,
        plan::{self, runner},
    },
    k8s,
    model::{
        self, ActiveUpgrade, LoginName,
        upgrade::{Place, Script, ScriptOrder},
    },
    resources::{self, PASSWORD, upgrade::ScriptRun},
    sql::{
        self, Error, Login, Secret,
        statement::{PROGRAM, upgrade as statement},
        upgrade::{hashes_batch, read_hashes},
    },
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// How long a pass waits for a statement.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time to read password hashes.
const HASHES: Duration = Duration::from_secs(5);

/// Password hashes by login.
type Hashes = BTreeMap<LoginName, Secret>;

/// What came of a plan.
#[derive(Default)]
pub struct Done {
    /// An act failed or goes on; the waves after it were not begun.
    pub failed: bool,
    /// Acts and outcomes, for the log.
    pub acts: Vec<String>,
}

/// What acts: everything an act may need.
pub struct Actor<'a> {
    /// What all loops share.
    pub shared: &'a Shared,
    /// The object as it was read last; a written record replaces it.
    pub object: RollingUpgrade,
    /// What the plan was decided from.
    pub seen: &'a Seen,
    /// Events told in this pass.
    pub notes: u32,
}

/// Forgets statements that have ended; what they did is seen, not remembered.
pub async fn collect(memory: &mut Memory) {
    for running in std::mem::take(&mut memory.running) {
        match running.within(Duration::ZERO).await {
            Err(running) => memory.running.push(running),
            Ok((_, Ok(()))) => {}
            Ok((step, Err(error))) => tracing::info!(step = step.word(), %error, "late answer"),
        }
    }
}

impl Actor<'_> {
    /// Takes the acts of a plan.
    pub async fn act(&mut self, plan: &Plan, memory: &mut Memory) -> Done {
        let mut done = Done::default();
        for wave in &plan.waves {
            let mut good = true;
            let carries = wave.iter().any(|act| matches!(act, Act::Sql(SqlStep::CarryLogin { .. })));
            let hashes = if carries { self.hashes().await } else { Ok(Hashes::new()) };
            for act in wave {
                if let Act::Sql(step) = act {
                    self.start(step, &hashes, memory).await;
                    continue;
                }
                let answer = self.kubernetes(act).await;
                good &= answer.is_ok();
                note(&mut done, act, answer.err().map(|error| error.to_string()));
            }
            good &= self.wait(wave, memory, &mut done).await;
            if !good {
                done.failed = true;
                break;
            }
        }
        done
    }

    /// Sends the batches of a statement, unless they are running already.
    async fn start(&self, step: &SqlStep, hashes: &Result<Hashes, Error>, memory: &mut Memory) {
        if memory.running.iter().any(|running| running.step == *step) {
            return;
        }
        let at = step.at();
        let mut slots = self.seen.slots.values();
        let slot = slots.find(|slot| slot.group.name == at.group && slot.group.namespace == at.namespace);
        let batches = match slot {
            Some(slot) => self.batches(step, hashes).await.map(|batches| (slot.instances.clone(), batches)),
            None => Err(Error::Retry("its group is gone".into())),
        };
        memory.running.push(Running::send(step.clone(), &at.replica, batches, &self.shared.permits));
    }

    async fn batches(&self, step: &SqlStep, hashes: &Result<Hashes, Error>) -> Result<Vec<sql::Batch>, Error> {
        let none = Hashes::new();
        let hashes = match step {
            SqlStep::CarryLogin { .. } => hashes.as_ref().map_err(Clone::clone)?,
            _ => &none,
        };
        let runner = match step {
            SqlStep::CreateRunner { .. } => Some(self.runner().await.map_err(|error| Error::Retry(error.to_string()))?),
            _ => None,
        };
        let random = self.shared.password();
        let context = statement::Context { hashes, runner: runner.as_ref(), random: &*random };
        statement::batches(step, &context).map_err(|error| Error::Retry(error.to_string()))
    }

    /// Password hashes of production's logins.
    async fn hashes(&self) -> Result<Hashes, Error> {
        let production = self.seen.slots.get(&model::Slot::Production);
        let Some((slot, (primary, _))) = production.and_then(|slot| Some((slot, slot.group.primary()?))) else {
            return Err(Error::Retry("production's primary does not answer".into()));
        };
        let answer = slot.instances.run(primary, Login::Admin, None, PROGRAM, &hashes_batch(), HASHES).await?;
        read_hashes(&answer)
    }

    /// Password of the script's login: made once, and kept where the script's pod reads it.
    async fn runner(&self) -> Result<Secret, k8s::Error> {
        let (wish, attempt) = (&self.seen.wish, self.attempt());
        let (kube, name) = (&self.shared.kube, resources::upgrade::script_name(wish, attempt));
        let secret = resources::upgrade::script_secret(wish, attempt, &(self.shared.random)());
        kube.keep(&secret).await?;
        let kept = kube.secret(&wish.namespace, &name).await?;
        let password = kept.and_then(|secret| text(&secret, PASSWORD));
        password.map(Secret::new).ok_or_else(|| k8s::Error::Retry(format!("Secret {name} holds no password")))
    }

    fn attempt(&self) -> u32 {
        self.seen.record.as_ref().map_or(1, |record| record.attempt)
    }

    /// Waits for the statements of a wave. False: one failed, or goes on.
    async fn wait(&self, wave: &[Act], memory: &mut Memory, done: &mut Done) -> bool {
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut memory.running)
            .into_iter()
            .partition(|running| wave.iter().any(|act| matches!(act, Act::Sql(step) if *step == running.step)));
        memory.running = others;
        let waits = mine.into_iter().map(|running| running.within(PATIENCE));
        let mut good = true;
        for answer in futures::future::join_all(waits).await {
            match answer {
                Ok((step, answer)) => {
                    good &= answer.is_ok();
                    note(done, &Act::Sql(step), answer.err().map(|error| error.to_string()));
                }
                Err(running) => {
                    good = false;
                    note(done, &Act::Sql(running.step.clone()), Some("runs".into()));
                    memory.running.push(running);
                }
            }
        }
        good
    }

    async fn kubernetes(&mut self, act: &Act) -> Result<(), k8s::Error> {
        match act {
            Act::Record(record) => self.record(record).await,
            Act::Claim(slot, upgrade) => self.claim(*slot, upgrade.as_deref()).await,
            Act::Lead { endpoint, selector, standby } => {
                let wish = &self.seen.wish;
                let endpoint = self.seen.around.services.get(&(wish.namespace.clone(), endpoint.clone()));
                let ports = endpoint.map(|service| service.ports.clone()).unwrap_or_default();
                let selector = serde_json::to_value(selector).unwrap_or_default();
                let service = resources::upgrade::front_service(wish, &selector, &ports, standby.as_deref());
                self.shared.kube.apply(&service).await.map(drop)
            }
            Act::RunScript(order) => self.run_script(order).await,
            Act::ForgetScript => {
                let job = resources::upgrade::script_job_name(&self.seen.wish, self.attempt());
                self.shared.kube.remove(&job).await.map(drop)
            }
            Act::Announce(reason, message) => {
                self.announce(*reason, message);
                Ok(())
            }
            Act::Sql(_) => Ok(()),
        }
    }

    async fn record(&mut self, record: &Record) -> Result<(), k8s::Error> {
        let value = serde_json::to_value(record).map_err(|error| k8s::Error::Retry(error.to_string()))?;
        self.object = self.shared.kube.upgrade_record(&self.object, &value).await?;
        Ok(())
    }

    /// A group says which upgrade it takes part in: nobody takes it from another one.
    async fn claim(&self, slot: model::Slot, upgrade: Option<&ActiveUpgrade>) -> Result<(), k8s::Error> {
        let wish = &self.seen.wish;
        let place = wish.places().into_iter().find(|(which, _)| *which == slot).map(|(_, place)| place);
        let Some(Place { group: name, namespace, .. }) = place else { return Ok(()) };
        let Some(group) = self.shared.kube.group(&namespace, name.as_str()).await? else {
            return Err(k8s::Error::Retry(format!("AvailabilityGroup {name} does not exist")));
        };
        let now = upgrade_of(&group);
        match &now {
            Some(other) if other.uid != wish.uid => {
                return Err(k8s::Error::Refused(format!("AvailabilityGroup {name} takes part in {}", other.name)));
            }
            now if now.as_ref() == upgrade => return Ok(()),
            _ => {}
        }
        self.shared.kube.upgrade(&group, &api::upgrade_to_merge(upgrade)).await.map(drop)
    }

    async fn run_script(&self, order: &ScriptOrder) -> Result<(), k8s::Error> {
        let Some(Slot { wish: stage, .. }) = self.seen.slots.get(&model::Slot::Stage) else { return Ok(()) };
        let (wish, attempt) = (&self.seen.wish, self.attempt());
        let login = runner(&plan::attempt(&wish.name, attempt));
        let run = ScriptRun { wish, attempt, stage, login: &login, order };
        let job = match &wish.script {
            Script::Files { config_map, .. } => resources::upgrade::script_job(&run, config_map),
            Script::Job(template) => resources::upgrade::own_job(&run, template),
        };
        self.shared.kube.keep(&job).await.map(|_: Value| ())
    }

    /// Tells people, beside everything else: a lost event changes nothing.
    fn announce(&mut self, reason: crate::decide::upgrade::Reason, message: &str) {
        self.notes += 1;
        let id = format!("{:x}.{}", self.shared.wall().as_microsecond(), self.notes);
        let (kube, object, message) = (self.shared.kube.clone(), self.object.clone(), message.to_string());
        tokio::spawn(async move {
            if let Err(error) = kube.announce(&object, reason.is_warning(), reason.as_str(), &message, &id).await {
                tracing::debug!(%error, %reason, "event lost");
            }
        });
    }
}

fn note(done: &mut Done, act: &Act, failure: Option<String>) {
    let at = match act {
        Act::Sql(step) => format!(" {}", step.at().replica),
        _ => String::new(),
    };
    let outcome = failure.map_or_else(|| "done".to_string(), |why| format!("failed: {why}"));
    done.acts.push(format!("{}{at} {outcome}", act.word()));
}
