//! Logins and sessions: carried over, made for a script, ended.

use super::{
    drop_link,
    fleet::{Fleet, PRODUCTION, RUNNER, STAGE, at, link, login, shop},
    is_promoted, mark, promote,
};
use quorate::{
    decide::upgrade::{
        DropAs, Facts, Mark, SqlStep,
        observation::{Inside, LoginFacts},
    },
    sql::error::guard,
};
use std::collections::BTreeMap;

const APP: &str = "Secret-3-word";

async fn carry(fleet: &Fleet, name: &str) -> SqlStep {
    let facts = fleet.look(PRODUCTION[0]).await.logins[&login(name)].clone();
    SqlStep::CarryLogin { at: at(STAGE[0]), login: login(name), facts }
}

#[tokio::test(start_paused = true)]
async fn a_carried_login_has_its_sid_its_password_and_whether_it_may_log_in() {
    let fleet = Fleet::new().await;
    let create = format!(
        "CREATE LOGIN app WITH PASSWORD = N'{APP}', DEFAULT_DATABASE = [msdb]; \
         CREATE LOGIN [o'ff] WITH PASSWORD = N'{APP}', CHECK_POLICY = OFF; ALTER LOGIN [o'ff] DISABLE"
    );
    fleet.person(PRODUCTION[0], &create).await.unwrap();
    for name in ["app", "o'ff"] {
        fleet.fine(carry(&fleet, name).await).await;
    }
    let (production, stage) = (fleet.look(PRODUCTION[0]).await.logins, fleet.look(STAGE[0]).await.logins);
    assert_eq!(production, stage);
    assert_eq!(stage.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["app", "o'ff"], "ours are not among them");
    let off = &stage[&login("o'ff")];
    assert_eq!((off.disabled, off.check_policy, off.sid.len()), (true, false, 32));
    assert_eq!(stage[&login("app")].default_database.as_deref(), Some("msdb"));
    fleet.client(STAGE[0], "app", APP, "SELECT 1").await.unwrap();
    // A password that changed is carried again.
    fleet.person(PRODUCTION[0], "ALTER LOGIN app WITH PASSWORD = N'Secret-4-word'").await.unwrap();
    fleet.fine(carry(&fleet, "app").await).await;
    fleet.client(STAGE[0], "app", "Secret-4-word", "SELECT 1 AS again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_name_or_sid_is_taken_is_not_carried() {
    let fleet = Fleet::new().await;
    fleet.person(PRODUCTION[0], &format!("CREATE LOGIN app WITH PASSWORD = N'{APP}'")).await.unwrap();
    let step = carry(&fleet, "app").await;
    fleet.person(STAGE[0], &format!("CREATE LOGIN app WITH PASSWORD = N'{APP}'")).await.unwrap();
    assert_eq!(fleet.refused(step.clone()).await, Some(guard::TAKEN));
    let SqlStep::CarryLogin { facts: LoginFacts { sid, .. }, .. } = &step else { unreachable!() };
    let other = format!("DROP LOGIN app; CREATE LOGIN other WITH PASSWORD = N'{APP}', SID = 0x{sid}");
    fleet.person(STAGE[0], &other).await.unwrap();
    assert_eq!(fleet.refused(step).await, Some(guard::TAKEN));
}

fn create_runner(pod: &str, value: &str) -> SqlStep {
    let databases = BTreeMap::from([(shop(), value.to_string())]);
    SqlStep::CreateRunner { at: at(pod), attempt: "uid_1".into(), databases }
}

#[tokio::test(start_paused = true)]
async fn a_script_has_a_login_on_its_stage_alone_and_none_afterwards() {
    let fleet = Fleet::level().await;
    assert_eq!(fleet.refused(create_runner(STAGE[0], "uid/1")).await, Some(guard::NOT_A_STAGE), "not promoted");
    fleet.fine(drop_link(PRODUCTION[0], DropAs::Leading)).await;
    fleet.until(STAGE[0], "alone", |facts| !facts.links[&link()].connected).await;
    fleet.fine(promote(STAGE[0])).await;
    fleet.until(STAGE[0], "promoted", is_promoted).await;
    fleet.fine(mark(STAGE[0], Mark::Stage, "uid/1")).await;
    for (pod, value, number) in [
        (PRODUCTION[0], "uid/1", guard::NOT_A_STAGE),
        (PRODUCTION[1], "uid/1", guard::CHANGED),
        (STAGE[0], "uid/2", guard::NOT_A_STAGE),
    ] {
        assert_eq!(fleet.refused(create_runner(pod, value)).await, Some(number), "{pod} {value}");
    }
    fleet.fine(create_runner(STAGE[0], "uid/1")).await;
    let script = "USE [sh]]op]; CREATE TABLE dbo.u (id int); INSERT INTO dbo.u VALUES (1);";
    fleet.client(STAGE[0], "quorate_script_uid_1", RUNNER, script).await.unwrap();
    // What it owns must not keep it there.
    fleet.client(STAGE[0], "quorate_script_uid_1", RUNNER, "CREATE SCHEMA sales").await.unwrap();
    fleet.client(PRODUCTION[0], "quorate_script_uid_1", RUNNER, script).await.unwrap_err();
    let there = |facts: &Facts| facts.sessions.values().any(|session| session.login == "quorate_script_uid_1");
    assert!(there(&fleet.look(STAGE[0]).await));
    fleet.fine(SqlStep::DropRunner { at: at(STAGE[0]), attempt: "uid_1".into(), databases: [shop()].into() }).await;
    fleet.until(STAGE[0], "alone", |facts| !there(facts)).await;
    fleet.client(STAGE[0], "quorate_script_uid_1", RUNNER, "SELECT 1").await.unwrap_err();
    let users = "SELECT COUNT(*) AS n FROM [sh]]op].sys.database_principals WHERE name LIKE N'quorate%'";
    let users = fleet.person(STAGE[0], users).await.unwrap();
    assert_eq!(users[0][0].get::<i32, _>("n"), Some(0));
    let rows = fleet.person(STAGE[0], "SELECT id FROM [sh]]op].dbo.u").await.unwrap();
    assert_eq!(rows[0].len(), 1, "what the script did stays");
}

#[tokio::test(start_paused = true)]
async fn only_the_sessions_that_were_seen_are_killed() {
    let fleet = Fleet::new().await;
    let create = format!(
        "CREATE LOGIN one WITH PASSWORD = N'{APP}'; CREATE LOGIN two WITH PASSWORD = N'{APP}'; ALTER SERVER ROLE sysadmin ADD MEMBER one; ALTER SERVER ROLE sysadmin ADD MEMBER two"
    );
    fleet.person(PRODUCTION[0], &create).await.unwrap();
    let open = "USE [sh]]op]; BEGIN TRANSACTION; INSERT INTO dbo.t VALUES (7)";
    fleet.client(PRODUCTION[0], "one", APP, open).await.unwrap();
    fleet.client(PRODUCTION[0], "two", APP, "SELECT 1").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let facts = fleet.look(PRODUCTION[0]).await;
    // Who has written and not committed keeps no look waiting.
    assert!(matches!(facts.databases[&shop()].inside, Some(Inside::Unreadable { number: 1222, .. })));
    let of = |facts: &Facts, name: &str| {
        let found = facts.sessions.iter().find(|(_, session)| session.login == name);
        found.map(|(id, session)| (*id, session.clone()))
    };
    let logins: Vec<_> = facts.sessions.values().map(|session| session.login.as_str()).collect();
    assert_eq!(logins, ["sa", "one", "two"], "a person, and two clients; ours are not among them");
    let (one, session) = of(&facts, "one").unwrap();
    assert_eq!((session.transactions, session.program.as_str()), (1, "client"));
    assert!(session.oldest_transaction.is_some_and(|age| age.as_secs() >= 5) && !session.rolling_back);
    assert_eq!(session.database.as_deref(), Some("sh]op"));
    let kill =
        |id: i64, since: &str| SqlStep::KillSessions { at: at(PRODUCTION[0]), sessions: [(id, since.into())].into() };
    fleet.fine(kill(one, "2020-01-31T10:00:00.123")).await;
    assert!(of(&fleet.look(PRODUCTION[0]).await, "one").is_some(), "the number is somebody else's now");
    fleet.fine(kill(one, &session.since)).await;
    let left = fleet.until(PRODUCTION[0], "killed", |facts| of(facts, "one").is_none()).await;
    assert!(of(&left, "two").is_some());
    assert_eq!(fleet.rows(PRODUCTION[0]).await, [1], "its transaction is undone");
    // Ours are never killed, whatever is asked for.
    let all = "SELECT session_id, CONVERT(nvarchar(30), login_time, 126) AS since FROM sys.dm_exec_sessions WHERE original_login_name = N'quorate_look'";
    let rows = fleet.person(PRODUCTION[0], all).await.unwrap();
    let (id, since) = (rows[0][0].get::<i16, _>("session_id").unwrap(), rows[0][0].get::<&str, _>("since").unwrap());
    fleet.fine(kill(id.into(), since)).await;
    let again = fleet.person(PRODUCTION[0], all).await.unwrap();
    assert_eq!(again[0][0].get::<i16, _>("session_id"), Some(id));
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_in_no_look_and_in_no_step() {
    let fleet = Fleet::new().await;
    fleet.person(PRODUCTION[0], &format!("CREATE LOGIN app WITH PASSWORD = N'{APP}'")).await.unwrap();
    let facts = serde_json::to_string(&fleet.look(PRODUCTION[0]).await).unwrap();
    let step = serde_json::to_string(&carry(&fleet, "app").await).unwrap();
    let hash = "SELECT CONVERT(varchar(200), password_hash, 2) AS hash FROM sys.sql_logins WHERE name = N'app'";
    let rows = fleet.person(PRODUCTION[0], hash).await.unwrap();
    let hash = rows[0][0].get::<&str, _>("hash").unwrap();
    assert!(hash.len() > 100);
    for text in [facts, step] {
        assert!(!text.to_uppercase().contains(hash) && !text.contains(APP), "{text}");
    }
}
