//! The door of every instance as the world watches it: each batch of the operator is written down, counted as an effect,
//! and, when it asks for a role, held against the record of elections.

use super::{
    apiserver::ApiServer,
    effects::{Effects, Verdict},
    history::History,
};
use standin::{
    errors::Message,
    server::Server,
    tds::{Backend, Identity, LoginRequest, SqlSession},
    tsql::session::Session,
    value::{Output, Parameter},
};
use std::{
    future::{Future, pending},
    sync::{Arc, Mutex},
};

/// Logins whose batches change something.
const ACTING: [&str; 2] = ["sa", "quorate_act"];

struct Inner {
    api: ApiServer,
    history: History,
    effects: Mutex<Option<Effects>>,
}

/// What all instances of one world share.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

impl Door {
    /// Nobody is counted yet.
    pub fn new(api: ApiServer, history: History) -> Self {
        Self(Arc::new(Inner { api, history, effects: Mutex::default() }))
    }

    /// Batches count as effects of this process from now on.
    pub fn count_for(&self, effects: Effects) {
        *self.0.effects.lock().unwrap() = Some(effects);
    }

    fn next(&self, label: String) -> Verdict {
        let effects = self.0.effects.lock().unwrap().clone();
        effects.map_or(Verdict::Proceed, |effects| effects.next(label))
    }

    /// Whether an object of a person names this pod and accepts data loss.
    fn accepted(&self, pod: &str) -> bool {
        let requests = self.0.api.all("failovers", "shop");
        requests.iter().any(|request| request["spec"]["mode"] == "Forced" && request["spec"]["target"] == pod)
    }

    /// Nothing irreversible is done to a link that its upgrade has not recorded before (upgrade.md, invariant 7).
    fn judge_link(&self, pod: &str, what: &str, name: &str) {
        // Those to another region stay: one is production's, the other goes only with an attempt that was given up.
        let uid = name.trim_end_matches("-chain").trim_end_matches("-dr");
        let upgrades = self.0.api.all("rollingupgrades", "shop");
        let upgrade = upgrades.iter().find(|upgrade| upgrade["metadata"]["uid"] == uid);
        let record = upgrade.map(|upgrade| upgrade["status"]["record"].clone()).unwrap_or_default();
        let given_up = !record["failure"].is_null();
        // Of an upgrade that was deleted nobody knows what it had recorded.
        let may = match name.strip_prefix(uid) {
            Some("-dr") => false,
            Some("-chain") => given_up && what == "DROP",
            _ => record.is_null() || if given_up { what == "DROP" } else { record["terminating"] == true },
        };
        if !may {
            self.0.history.break_rule(format!("{what} of link {name} on {pod}, but recorded is {record}"));
        }
    }

    /// No FAILOVER without a recorded election (promotion.md 8, 3 and 4). Returns whether it must not succeed.
    fn judge(&self, pod: &str, sql: &str) -> bool {
        if let Some(link) = link_after(sql, "DROP AVAILABILITY GROUP [") {
            self.judge_link(pod, "DROP", link);
        }
        let force = sql.contains("FORCE_FAILOVER_ALLOW_DATA_LOSS");
        if let Some(link) = link_after(sql, "ALTER AVAILABILITY GROUP [").filter(|_| force) {
            self.judge_link(pod, "FORCE", link);
            return false;
        }
        if force && !self.accepted(pod) {
            self.0.history.break_rule(format!("a forced failover on {pod} that nobody asked for"));
        }
        if !force && !sql.contains(" FAILOVER;") {
            return false;
        }
        let group = self.0.api.find("availabilitygroups", "shop", group_of(pod)).unwrap_or_default();
        let record = &group["status"]["election"];
        let epoch = number_after(sql, "q.epoch = ").unwrap_or_default();
        let recorded = record["epoch"].as_u64().unwrap_or_default();
        let elected = record["state"] == "Elected" || record["state"] == "Settled";
        if recorded < epoch || recorded == epoch && !(elected && record["primary"] == pod) {
            self.0.history.break_rule(format!("FAILOVER on {pod} at epoch {epoch}, but recorded is {record}"));
        }
        recorded > epoch
    }
}

/// One instance behind the door.
pub struct Watched {
    server: Server,
    pod: String,
    door: Door,
}

impl Watched {
    /// Watches a server.
    pub fn new(server: Server, pod: &str, door: Door) -> Self {
        Self { server, pod: pod.into(), door }
    }
}

impl Backend for Watched {
    type Session = WatchedSession;

    fn identity(&self) -> Identity {
        self.server.identity()
    }

    async fn login(&self, request: LoginRequest) -> Result<WatchedSession, Message> {
        let acts = ACTING.contains(&request.user.as_str()) && request.application.starts_with("quorate");
        let inner = self.server.login(request).await?;
        Ok(WatchedSession { inner, acts, pod: self.pod.clone(), door: self.door.clone() })
    }
}

/// One session behind the door.
pub struct WatchedSession {
    inner: Session,
    acts: bool,
    pod: String,
    door: Door,
}

impl WatchedSession {
    async fn act(&mut self, sql: &str, parameters: Vec<Parameter>, out: &mut (dyn FnMut(Output) + Send)) {
        let (what, history) = (summary(sql), self.door.0.history.clone());
        let verdict = self.door.next(format!("{}: {what}", self.pod));
        if verdict == Verdict::Withhold {
            history.note("fault", format!("the operator stopped before: {} {what}", self.pod));
            return pending().await;
        }
        history.note(format!("sql {}", self.pod), format!("-> {what}"));
        let void = self.door.judge(&self.pod, sql);
        let mut error = None;
        let mut hear = |output: Output| {
            if let Output::Message(message) = &output
                && message.is_error()
            {
                error = Some(message.to_string());
            }
            if verdict != Verdict::Swallow {
                out(output);
            }
        };
        self.inner.batch(sql, parameters, &mut hear).await;
        if void && error.is_none() {
            history.break_rule(format!("the FAILOVER of an abandoned election took effect on {}", self.pod));
        }
        history.note(format!("sql {}", self.pod), format!("<- {}", error.unwrap_or_else(|| "done".into())));
        if verdict == Verdict::Swallow {
            history.note("fault", format!("the operator gets no answer from {}", self.pod));
            pending().await
        }
    }
}

impl SqlSession for WatchedSession {
    async fn batch<'a>(
        &'a mut self,
        sql: &'a str,
        parameters: Vec<Parameter>,
        out: &'a mut (dyn FnMut(Output) + Send),
    ) {
        if self.acts {
            self.act(sql, parameters, out).await;
        } else {
            self.inner.batch(sql, parameters, out).await;
        }
    }

    async fn procedure<'a>(
        &'a mut self,
        name: &'a str,
        parameters: Vec<Parameter>,
        out: &'a mut (dyn FnMut(Output) + Send),
    ) {
        self.inner.procedure(name, parameters, out).await;
    }

    async fn begin(&mut self) -> Result<(), Message> {
        self.inner.begin().await
    }

    async fn commit(&mut self) -> Result<(), Message> {
        self.inner.commit().await
    }

    async fn rollback(&mut self) -> Result<(), Message> {
        self.inner.rollback().await
    }

    async fn reset(&mut self) {
        self.inner.reset().await;
    }

    fn database(&self) -> String {
        self.inner.database()
    }

    fn spid(&self) -> u16 {
        self.inner.spid()
    }

    fn killed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.killed()
    }
}

/// The group of an instance, by the name of its pod.
pub fn group_of(pod: &str) -> &str {
    let name = pod.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    name.strip_suffix("-a").or_else(|| name.strip_suffix("-c")).unwrap_or(name)
}

/// The link of an upgrade that is named behind a mark: the upgrade's UID, and for a link to another region one word more.
fn link_after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark)?.1.strip_prefix("quorate-")?.split(']').next()
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let rest = text.split_once(mark)?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The verbs of a batch, for people.
fn summary(sql: &str) -> String {
    let verbs = [
        "ALTER AVAILABILITY GROUP",
        "CREATE AVAILABILITY GROUP",
        "DROP AVAILABILITY GROUP",
        "CREATE DATABASE",
        "ALTER DATABASE",
        "BACKUP DATABASE",
        "CREATE LOGIN",
        "CREATE ENDPOINT",
        "ALTER ENDPOINT",
        "CREATE CERTIFICATE",
        "DENY CONNECT",
        "CREATE TRIGGER",
        "ENABLE TRIGGER",
        "DISABLE TRIGGER",
        "DROP TRIGGER",
        "EXEC sys.sp_addextendedproperty",
        "KILL ",
        "UPDATE master.dbo.quorate SET",
    ];
    let lines = sql.lines().filter_map(|line| {
        let at = verbs.iter().filter_map(|verb| line.find(verb)).min()?;
        Some(line[at..].split(" AND ").next().unwrap_or_default().chars().take(72).collect::<String>())
    });
    let found: Vec<_> = lines.collect();
    if found.is_empty() { sql.lines().next().unwrap_or_default().chars().take(72).collect() } else { found.join(" | ") }
}
