//! Rotated passwords: of applications, of the operator's own logins, of `sa`.

use crate::stage::{Setup, Stage, clients::direct, seconds};
use serde_json::{Value, json};

const OLD: &str = "Old-word-1";
const NEW: &str = "New-word-2";
const NEWER: &str = "Newer-word-3";
/// The Secrets are read twice a minute.
const CARRIED: u64 = 45;

fn secret(stage: &Stage, name: &str, values: &Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "namespace": "shop" },
        "stringData": values,
    });
    stage.plane.api.kubectl_apply(&secret).unwrap();
}

/// The wish for a group with an application login.
fn wish(seed: u64) -> Setup {
    let logins = json!([{
        "name": "shop", "passwordSecret": { "name": "shop-db", "key": "password" },
        "databases": [{ "name": "orders", "roles": ["db_datareader", "db_datawriter"] }],
    }]);
    Setup::new(seed).spec(|spec| spec["logins"] = logins)
}

/// Such a group and the login's Secret.
async fn with_login(seed: u64) -> Stage {
    let stage = Stage::empty(wish(seed));
    secret(&stage, "shop-db", &json!({ "password": OLD }));
    stage.start("operator");
    stage.apply();
    stage.becomes_ready().await;
    for pod in stage.pods() {
        assert_eq!(stage.refusal(&direct(&pod), "shop", OLD).await, None);
    }
    stage
}

impl Stage {
    /// The number of the error with which a login is refused; nothing when it is let in.
    async fn refusal(&self, name: &str, login: &str, password: &str) -> Option<i32> {
        let answer = self.connection_as("person", name, login, password).run("SELECT 1 AS one;").await;
        answer.err().and_then(|error| error.number())
    }

    async fn until_let_in(&self, pod: &str, login: &str, password: &str) {
        let from = self.plane.clock.elapsed();
        while self.refusal(&direct(pod), login, password).await.is_some() {
            self.check(self.plane.clock.elapsed() - from < seconds(CARRIED), &format!("{login} is refused by {pod}"));
            self.pass(seconds(1)).await;
        }
    }

    /// Nothing that the API server shows to people who may not read Secrets holds a password.
    fn tells_no_password(&self) {
        for plural in ["availabilitygroups", "events", "pods", "statefulsets", "services", "configmaps"] {
            let all = format!("{:?}", self.plane.api.all(plural, "shop"));
            self.check([OLD, NEW, NEWER].iter().all(|word| !all.contains(word)), plural);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_is_not_ready_before_its_logins_are_there_and_says_which_secret_they_need() {
    let stage = Stage::new(wish(84));
    let waits = |stage: &Stage| stage.condition("Ready").is_some_and(|(_, reason)| reason == "LoginMissing");
    stage.until("waits", seconds(60), waits).await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(told.contains("shop is not on orders-0") && told.contains("key password of Secret shop-db"), &told);
    stage.check(stage.condition("Available").is_some_and(|(status, _)| status == "True"), "it serves meanwhile");
    secret(&stage, "shop-db", &json!({ "password": OLD }));
    stage.becomes_ready_within(seconds(CARRIED)).await;
    for pod in stage.pods() {
        assert_eq!(stage.refusal(&direct(&pod), "shop", OLD).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_password_of_an_application_is_on_every_replica_and_on_the_next_primary() {
    let stage = with_login(81).await;
    let node = stage.node_of("orders-2").unwrap();
    stage.node_off(&node);
    stage.pass(seconds(20)).await;
    secret(&stage, "shop-db", &json!({ "password": NEW }));
    for pod in ["orders-0", "orders-1"] {
        stage.until_let_in(pod, "shop", NEW).await;
        assert_eq!(stage.refusal(&direct(pod), "shop", OLD).await, Some(18_456));
    }
    // Whoever was down gets it when it is back.
    stage.node_on(&node);
    stage.becomes_ready().await;
    stage.until_let_in("orders-2", "shop", NEW).await;
    assert!(stage.kill("orders-0"));
    let moved = |stage: &Stage| stage.primary() != "orders-0" && stage.primary() == stage.routed();
    stage.until("another primary", seconds(20), moved).await;
    stage.becomes_ready().await;
    assert_eq!(stage.refusal("orders-rw.shop.svc", "shop", NEW).await, None);
    assert_eq!(stage.refusal("orders-rw.shop.svc", "shop", OLD).await, Some(18_456));
    stage.tells_no_password();
    stage.rests().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_starts_tells_nobody_a_password_that_is_known() {
    let stage = with_login(82).await;
    stage.pass(seconds(10)).await;
    let told =
        |stage: &Stage| stage.link("operator").effects.labels().iter().any(|effect| effect.contains("SET passwords"));
    stage.check(told(&stage), "the first one told them");
    stage.stop("operator").await;
    stage.start("operator");
    stage.pass(seconds(60)).await;
    stage.check(!told(&stage), "the second one did again");
    stage.rests().await;
}

#[tokio::test(start_paused = true)]
async fn the_operators_own_passwords_change_without_anybody_noticing() {
    let stage = with_login(83).await;
    secret(&stage, "orders-operator", &json!({ "look": NEW, "act": NEWER }));
    let from = stage.plane.clock.elapsed();
    while stage.plane.clock.elapsed() - from < seconds(CARRIED) {
        stage.check(stage.is_ready(), "ready all the time");
        stage.pass(seconds(1)).await;
    }
    for pod in stage.pods() {
        assert_eq!(stage.refusal(&direct(&pod), "quorate_look", NEW).await, None);
        let let_in_where_it_has_no_user = Some(4060);
        assert_eq!(stage.refusal(&direct(&pod), "quorate_act", NEWER).await, let_in_where_it_has_no_user);
    }
    // One that starts after they were changed sets the instances up again.
    stage.stop("operator").await;
    secret(&stage, "orders-operator", &json!({ "look": NEWER, "act": NEW }));
    stage.start("operator");
    stage.pass(seconds(10)).await;
    stage.becomes_ready().await;
    assert_eq!(stage.refusal(&direct("orders-1"), "quorate_look", NEW).await, Some(18_456));
    stage.tells_no_password();
    stage.rests().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_password_of_sa_is_told_by_the_old_one_and_without_it_a_person_is_asked() {
    let stage = with_login(84).await;
    secret(&stage, "orders-admin", &json!({ "password": NEW }));
    for pod in stage.pods() {
        stage.until_let_in(&pod, "sa", NEW).await;
    }
    stage.pass(seconds(10)).await;
    stage.check(stage.is_ready(), "ready");
    // Nobody who knows the old one sees the next change.
    stage.stop("operator").await;
    secret(&stage, "orders-admin", &json!({ "password": NEWER }));
    stage.start("operator");
    let stalled = |stage: &Stage| stage.condition("Stalled").is_some_and(|(_, reason)| reason == "CredentialsRefused");
    stage.until("stalled", seconds(60), stalled).await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(told.contains("Secret orders-admin, key password") && told.contains("ALTER LOGIN [sa]"), &told);
    stage.tells_no_password();
    let writes = stage.plane.api.writes().iter().filter(|write| !write.lease).count();
    stage.pass(seconds(150)).await;
    assert_eq!(stage.plane.api.writes().iter().filter(|write| !write.lease).count(), writes, "it says so once");
    secret(&stage, "orders-admin", &json!({ "password": NEW }));
    stage.becomes_ready().await;
    assert!(stage.condition("Stalled").is_none());
    stage.rests().await;
}
