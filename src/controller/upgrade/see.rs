//! Everything one pass over an upgrade sees.

use super::{Memory, slot};
use crate::{
    api::{self, RollingUpgrade},
    controller::{Shared, objects::text},
    decide::upgrade::{
        self, Observation, Record, Step,
        plan::{self, runner},
        seen::{self, Answer, Endpoint, Front, Geo, Job, Script},
    },
    k8s::{
        Error,
        upgrade::{JobView, ServiceView},
    },
    model::{
        DatabaseName, Slot,
        name::hash,
        upgrade::{self as model, Place, Verification, Wish},
    },
    resources::{
        PASSWORD,
        upgrade::{STANDBY, script_name},
    },
    sql::{self, Secret, script},
};
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// Age at which endpoints and script are read again while no step is about them.
const AROUND: Duration = Duration::from_secs(5);
/// Time that a query of `spec.verify` has.
const VERIFY: Duration = Duration::from_secs(30);

/// What stands around the groups.
#[derive(Clone)]
pub struct Around {
    /// Front and endpoints, by namespace and name.
    pub services: BTreeMap<(String, String), ServiceView>,
    /// The script as it is now.
    script: Script,
}

/// What a pass saw, with the way to the instances.
pub struct Seen {
    /// What the policy decides by.
    pub observation: Observation,
    /// The groups that exist.
    pub slots: BTreeMap<Slot, slot::Slot>,
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
pub async fn see(
    shared: &Shared,
    object: &RollingUpgrade,
    wish: Wish,
    record: Option<Record>,
    memory: &mut Memory,
) -> Result<Seen, Error> {
    let databases = record.as_ref().map(|record| record.inputs.databases.clone()).unwrap_or_default();
    let places = wish.places();
    let slots = slots(shared, &places, &databases, memory).await;
    let step = record.as_ref().map_or(Step::Preflight, |record| record.step);
    let around = around(shared, &wish, step, memory).await?;
    let job = match &record {
        Some(record) if step == Step::RunningScript => job(shared, &wish, record.attempt).await,
        _ => Job::Absent,
    };
    let mut all = places.iter().map(|(slot, place)| seen::Slot {
        namespace: place.namespace.clone(),
        group: place.group.to_string(),
        found: slots.get(slot).map(|slot| slot.group.clone()),
        endpoint: endpoint(&around, place),
    });
    let [production, stage] = [(); 2].map(|()| all.next().unwrap_or_default());
    let geo = all.next().zip(all.next()).map(|(production, stage)| Geo { production, stage });
    drop(all);
    let mut observation = Observation {
        at: shared.wall().as_millisecond(),
        production,
        stage,
        geo,
        front: front(&around, &wish),
        script: around.script.clone(),
        job,
        answers: Vec::new(),
        quiet: 0,
        level: 0,
        record,
        wish,
        approver: api::approver(object).map(Into::into),
    };
    if step == Step::Verifying {
        observation.answers = answers(shared, &observation, slots.get(&Slot::Stage), memory).await;
    }
    memory.quiet = if upgrade::is_quiet(&observation) { memory.quiet + 1 } else { 0 };
    memory.level = if upgrade::is_level(&observation) { memory.level + 1 } else { 0 };
    (observation.quiet, observation.level) = (memory.quiet, memory.level);
    Ok(Seen { observation, slots, around })
}

/// Looks at all groups at once.
async fn slots(
    shared: &Shared,
    places: &[(Slot, Place)],
    databases: &BTreeSet<DatabaseName>,
    memory: &mut Memory,
) -> BTreeMap<Slot, slot::Slot> {
    let looks = places.iter().map(|(slot, place)| {
        let mut memory = memory.slots.remove(slot).unwrap_or_default();
        async move { (*slot, slot::see(shared, place, databases, &mut memory).await, memory) }
    });
    let mut found = BTreeMap::new();
    for (slot, group, remembered) in join_all(looks.collect::<Vec<_>>()).await {
        memory.slots.insert(slot, remembered);
        found.extend(group.map(|group| (slot, group)));
    }
    found
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
    let mut names = BTreeMap::from([(wish.namespace.clone(), vec![wish.front.clone()])]);
    for (_, place) in wish.places() {
        names.entry(place.namespace).or_default().push(place.endpoint);
    }
    let mut services = BTreeMap::new();
    for (namespace, names) in names {
        let found = shared.kube.services_with_pods(&namespace, &names).await?;
        services.extend(found.into_iter().map(|(name, service)| ((namespace.clone(), name), service)));
    }
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

fn endpoint(around: &Around, place: &Place) -> Endpoint {
    let service = around.services.get(&(place.namespace.clone(), place.endpoint.clone()));
    let pods = |ready: bool| {
        let pods = service.into_iter().flat_map(|service| service.pods.values());
        u32::try_from(pods.filter(|is| **is || !ready).count()).unwrap_or(u32::MAX)
    };
    Endpoint {
        name: place.endpoint.clone(),
        selector: service.map(|service| service.selector.clone()),
        ready: pods(true),
        pods: pods(false),
    }
}

fn front(around: &Around, wish: &Wish) -> Option<Front> {
    let here = |name: &String| around.services.get(&(wish.namespace.clone(), name.clone()));
    let service = here(&wish.front)?;
    let mut leads_to = BTreeMap::new();
    for pod in service.pods.iter().filter(|(_, ready)| **ready).map(|(pod, _)| pod) {
        let endpoints = wish.slots.iter().map(|(_, endpoint)| endpoint);
        let mut whose = endpoints.filter(|name| here(name).is_some_and(|endpoint| endpoint.pods.contains_key(pod)));
        let whose = whose.next();
        *leads_to.entry(whose.cloned().unwrap_or_default()).or_insert(0) += 1;
    }
    let label = |name: &str| service.labels.get(name).map(String::as_str);
    let ours =
        label("app.kubernetes.io/managed-by") == Some("quorate") && label(crate::resources::upgrade::UPGRADE).is_some();
    let standby = service.annotations.get(STANDBY).cloned();
    Some(Front { selector: service.selector.clone(), standby, ours, leads_to })
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
