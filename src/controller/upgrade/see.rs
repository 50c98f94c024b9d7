//! Everything one pass over an upgrade sees.

use super::{Memory, slot};
use crate::{
    controller::{Shared, objects::text},
    decide::upgrade::{
        self, Observation, Record, Step,
        plan::{self, runner},
        seen::{Answer, Endpoint, Front, Job, Script, Slot},
    },
    k8s::{
        Error,
        upgrade::{JobView, ServiceView},
    },
    model::{
        DatabaseName,
        name::hash,
        upgrade::{self as model, Verification, Wish},
    },
    resources::{PASSWORD, upgrade::script_name},
    sql::{self, Secret, script},
};
use futures::future::join_all;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Age at which endpoints and script are read again while no step is about them.
const AROUND: Duration = Duration::from_secs(5);
/// Time that a query of `spec.verify` has.
const VERIFY: Duration = Duration::from_secs(30);

/// What stands around the groups.
#[derive(Clone)]
pub struct Around {
    /// Front and endpoints, by name.
    pub services: BTreeMap<String, ServiceView>,
    /// The script as it is now.
    script: Script,
}

/// What a pass saw, with the way to the instances.
pub struct Seen {
    /// What the policy decides by.
    pub observation: Observation,
    /// The old version's group.
    pub production: Option<slot::Slot>,
    /// The new one's.
    pub stage: Option<slot::Slot>,
    /// What stands around them.
    pub around: Around,
}

impl std::ops::Deref for Seen {
    type Target = Observation;
    fn deref(&self) -> &Observation {
        &self.observation
    }
}

/// Looks at everything. Error: the API server does not answer.
pub async fn see(shared: &Shared, wish: Wish, record: Option<Record>, memory: &mut Memory) -> Result<Seen, Error> {
    let databases = record.as_ref().map(|record| record.inputs.databases.clone()).unwrap_or_default();
    let [(old, old_endpoint), (new, new_endpoint)] = wish.slots.clone();
    let (production, stage) = tokio::join!(
        slot::see(shared, &wish.namespace, &old, &databases, &mut memory.production),
        slot::see(shared, &wish.namespace, &new, &databases, &mut memory.stage),
    );
    let step = record.as_ref().map_or(Step::Preflight, |record| record.step);
    let around = around(shared, &wish, step, memory).await?;
    let job = match &record {
        Some(record) if step == Step::RunningScript => job(shared, &wish, record.attempt).await,
        _ => Job::Absent,
    };
    let found = |slot: &Option<slot::Slot>| slot.as_ref().map(|slot| slot.group.clone());
    let slot = |group: &crate::model::GroupName, slot: &Option<slot::Slot>, name: &str| Slot {
        group: group.to_string(),
        found: found(slot),
        endpoint: endpoint(&around, name),
    };
    let mut observation = Observation {
        at: shared.wall().as_millisecond(),
        production: slot(&old, &production, &old_endpoint),
        stage: slot(&new, &stage, &new_endpoint),
        front: front(&around, &wish, [&old_endpoint, &new_endpoint]),
        script: around.script.clone(),
        job,
        answers: Vec::new(),
        quiet: 0,
        level: 0,
        record,
        wish,
    };
    if step == Step::Verifying {
        observation.answers = answers(shared, &observation, stage.as_ref(), memory).await;
    }
    memory.quiet = if upgrade::is_quiet(&observation) { memory.quiet + 1 } else { 0 };
    memory.level = if upgrade::is_level(&observation) { memory.level + 1 } else { 0 };
    (observation.quiet, observation.level) = (memory.quiet, memory.level);
    Ok(Seen { observation, production, stage, around })
}

/// Read in every pass of a step that is about it, now and then in others.
async fn around(shared: &Shared, wish: &Wish, step: Step, memory: &mut Memory) -> Result<Around, Error> {
    let about = matches!(
        step,
        Step::Preflight | Step::EndpointsOffline | Step::Verifying | Step::Switching | Step::RollingBack
    );
    if let Some((_, around)) = memory.around.as_ref().filter(|(at, _)| !about && at.elapsed() < AROUND) {
        return Ok(around.clone());
    }
    let [(_, old), (_, new)] = &wish.slots;
    let services = shared.kube.services_with_pods(&wish.namespace, &[&wish.front, old, new]).await?;
    let around = Around { services, script: script(shared, wish).await };
    memory.around = Some((Instant::now(), around.clone()));
    Ok(around)
}

async fn script(shared: &Shared, wish: &Wish) -> Script {
    match &wish.script {
        model::Script::Files { config_map, .. } => match shared.kube.files(&wish.namespace, config_map).await {
            Err(_) => Script::Unknown,
            Ok(None) => Script::Wrong(format!("ConfigMap {config_map} does not exist; apply it")),
            Ok(Some(files)) => match script::Script::new(files) {
                Ok(script) => Script::Ready(script.sha256),
                Err(faults) => Script::Wrong(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            },
        },
        model::Script::Job(template) => {
            let template = serde_json::Value::Object(template.clone());
            match flaw(&template) {
                None => Script::Ready(hash(&template.to_string())),
                Some(flaw) => Script::Wrong(flaw.into()),
            }
        }
    }
}

/// What the template of a Job lacks. It is run with the account that its owner names, never with one that was forgotten.
fn flaw(template: &serde_json::Value) -> Option<&'static str> {
    let containers = template.pointer("/template/spec/containers").and_then(serde_json::Value::as_array);
    let account = template.pointer("/template/spec/serviceAccountName").and_then(serde_json::Value::as_str);
    if containers.is_none_or(Vec::is_empty) {
        Some("job.template has no template.spec.containers; name the container that runs")
    } else if account.is_none_or(str::is_empty) {
        Some("job.template has no template.spec.serviceAccountName; name the service account that it runs as")
    } else {
        None
    }
}

fn endpoint(around: &Around, name: &str) -> Endpoint {
    let service = around.services.get(name);
    let pods = |ready: bool| {
        let pods = service.into_iter().flat_map(|service| service.pods.values());
        u32::try_from(pods.filter(|is| **is || !ready).count()).unwrap_or(u32::MAX)
    };
    Endpoint {
        name: name.to_string(),
        selector: service.map(|service| service.selector.clone()),
        ready: pods(true),
        pods: pods(false),
    }
}

fn front(around: &Around, wish: &Wish, endpoints: [&String; 2]) -> Option<Front> {
    let service = around.services.get(&wish.front)?;
    let mut leads_to = BTreeMap::new();
    for pod in service.pods.iter().filter(|(_, ready)| **ready).map(|(pod, _)| pod) {
        let whose = endpoints
            .into_iter()
            .find(|name| around.services.get(*name).is_some_and(|endpoint| endpoint.pods.contains_key(pod)));
        *leads_to.entry(whose.cloned().unwrap_or_default()).or_insert(0) += 1;
    }
    let label = |name: &str| service.labels.get(name).map(String::as_str);
    let ours =
        label("app.kubernetes.io/managed-by") == Some("quorate") && label(crate::resources::upgrade::UPGRADE).is_some();
    Some(Front { selector: service.selector.clone(), ours, leads_to })
}

async fn job(shared: &Shared, wish: &Wish, attempt: u32) -> Job {
    match shared.kube.job(&wish.namespace, &script_name(wish, attempt), &wish.uid).await {
        Ok(JobView::Absent) => Job::Absent,
        Ok(JobView::Running) => Job::Running,
        Ok(JobView::Complete) => Job::Complete,
        Ok(JobView::Failed(words)) => Job::Failed(words),
        Err(_) => Job::Unknown,
    }
}

/// The answers of this attempt: each query is asked until it is answered.
async fn answers(shared: &Shared, seen: &Observation, stage: Option<&slot::Slot>, memory: &mut Memory) -> Vec<Answer> {
    let attempt = seen.record.as_ref().map_or(0, |record| record.attempt);
    let known = memory.answers.0 == attempt && memory.answers.1.len() == seen.wish.verify.len();
    if known && !memory.answers.1.contains(&Answer::Silent) {
        return memory.answers.1.clone();
    }
    let answers = ask(shared, seen, attempt, stage).await;
    memory.answers = (attempt, answers.clone());
    answers
}

/// Asks as the login of the script: no query of a user runs with more rights than the stage's databases give.
async fn ask(shared: &Shared, seen: &Observation, attempt: u32, stage: Option<&slot::Slot>) -> Vec<Answer> {
    let wish = &seen.wish;
    let silent = || vec![Answer::Silent; wish.verify.len()];
    let Some((stage, (primary, _))) = stage.and_then(|stage| Some((stage, stage.group.primary()?))) else {
        return silent();
    };
    let secret = shared.kube.secret(&wish.namespace, &script_name(wish, attempt)).await;
    let password = secret.ok().flatten().and_then(|secret| text(&secret, PASSWORD));
    let Some(password) = password.map(Secret::new) else { return silent() };
    let login = runner(&plan::attempt(&wish.name, attempt));
    let asked = wish.verify.iter().map(|Verification { database, query, .. }| {
        let (login, password) = (&login, &password);
        async move { query_of(stage, primary, (login, password), database, query).await }
    });
    join_all(asked).await
}

async fn query_of(
    stage: &slot::Slot,
    primary: &crate::model::ReplicaName,
    login: (&str, &Secret),
    database: &DatabaseName,
    query: &str,
) -> Answer {
    match stage.instances.run_as(primary, login, database, query, VERIFY).await {
        Ok(answer) => sql::upgrade::first_cell(&answer).map_or_else(Answer::Error, Answer::Value),
        Err(error) if error.number().is_some() && !error.is_transient() => Answer::Error(error.to_string()),
        Err(_) => Answer::Silent,
    }
}
