//! Logon triggers.

use super::{groups::grouped, replicas::Replicas, *};
use crate::server::AdminDoor;

/// Refuses everybody who is not listed, as a login that may view the state.
const FENCE: &str = "CREATE OR ALTER TRIGGER [fence] ON ALL SERVER WITH EXECUTE AS N'guard' FOR LOGON AS
BEGIN
    SET NOCOUNT ON;
    IF ORIGINAL_LOGIN() NOT IN (N'sa', N'guard') AND ISNULL(sys.fn_hadr_is_primary_replica(N'shop'), 1) = 1
        ROLLBACK;
END;";
const STATE: &str = "SELECT name, is_disabled, parent_class_desc, type_desc FROM sys.server_triggers";

async fn guarded() -> (Server, Session) {
    let server = server().await;
    let mut sa = login(&server, "sa", "").await.unwrap();
    let logins = format!(
        "CREATE LOGIN guard WITH PASSWORD = N'{PASSWORD}'; GRANT VIEW SERVER STATE TO guard; CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'"
    );
    run(&mut sa, &logins).await.fine();
    (server, sa)
}

async fn refusal(server: &Server, user: &str) -> Option<i32> {
    login(server, user, "").await.err().map(|error| error.number)
}

async fn create(session: &mut Session, condition: &str) {
    let text = format!("CREATE OR ALTER TRIGGER t ON ALL SERVER FOR LOGON AS IF {condition} ROLLBACK");
    run(session, &text).await.fine();
}

#[tokio::test]
async fn a_logon_trigger_that_rolls_back_refuses_the_login_with_17892() {
    let (server, mut sa) = guarded().await;
    create(&mut sa, "ORIGINAL_LOGIN() = N'app'").await;
    let error = login(&server, "app", "").await.err().unwrap();
    assert_eq!((error.number, error.class, error.state), (17_892, 14, 1));
    assert_eq!(error.text, "Logon failed for login 'app' due to trigger execution.");
    let there = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE login_name = N'app'";
    assert_eq!(run(&mut sa, there).await.row(), ["0"], "no session is left of it");
    login(&server, "guard", "").await.unwrap();
    create(&mut sa, "1 = 1").await;
    run(&mut sa, "ENABLE TRIGGER t ON ALL SERVER").await.fine();
    assert_eq!(refusal(&server, "sa").await, Some(17_892), "a member of sysadmin is no exception");
    let mut request = LoginRequest { user: "app".into(), password: "wrong".into(), ..LoginRequest::default() };
    assert_eq!(Backend::login(&server, request.clone()).await.err().unwrap().number, 18_456, "authentication is first");
    request.user = "nobody".into();
    assert_eq!(Backend::login(&server, request).await.err().unwrap().number, 18_456);
}

#[tokio::test]
async fn the_dedicated_connection_passes_every_logon_trigger_and_is_for_one_administrator() {
    let (server, mut sa) = guarded().await;
    create(&mut sa, "1 = 1").await;
    drop(sa);
    let door = AdminDoor(server.clone());
    let request = |user: &str| LoginRequest { user: user.into(), password: PASSWORD.into(), ..LoginRequest::default() };
    let mut dac = Backend::login(&door, request("sa")).await.unwrap();
    assert_eq!(Backend::login(&door, request("sa")).await.err().unwrap().number, 17_810);
    assert_eq!(Backend::login(&door, request("app")).await.err().unwrap().number, 18_456);
    run(&mut dac, "DISABLE TRIGGER ALL ON ALL SERVER").await.fine();
    login(&server, "app", "").await.unwrap();
    drop(dac);
    Backend::login(&door, request("sa")).await.unwrap();
}

#[tokio::test]
async fn a_new_trigger_is_enabled_and_disabled_ones_do_nothing() {
    let (server, mut sa) = guarded().await;
    create(&mut sa, "ORIGINAL_LOGIN() = N'app'").await;
    assert_eq!(run(&mut sa, STATE).await.row(), ["t", "0", "SERVER", "SQL_TRIGGER"]);
    run(&mut sa, "DISABLE TRIGGER t ON ALL SERVER").await.fine();
    assert_eq!(run(&mut sa, STATE).await.row()[1], "1");
    login(&server, "app", "").await.unwrap();
    run(&mut sa, "ENABLE TRIGGER ALL ON ALL SERVER").await.fine();
    assert_eq!(refusal(&server, "app").await, Some(17_892));
    run(&mut sa, "DROP TRIGGER T ON ALL SERVER").await.fine();
    assert!(run(&mut sa, STATE).await.column().is_empty());
    login(&server, "app", "").await.unwrap();
}

#[tokio::test]
async fn altering_a_disabled_trigger_enables_it_unless_switched_to_keep_it() {
    for (enables, disabled) in [(true, "0"), (false, "1")] {
        let (server, mut sa) = guarded().await;
        server.instance.faults().set(|switches| switches.alter_trigger_enables = enables);
        create(&mut sa, "1 = 0").await;
        run(&mut sa, "DISABLE TRIGGER t ON ALL SERVER").await.fine();
        run(&mut sa, "ALTER TRIGGER t ON ALL SERVER FOR LOGON AS IF 1 = 1 ROLLBACK").await.fine();
        assert_eq!(run(&mut sa, STATE).await.row()[1], disabled);
        let expected = enables.then_some(17_892);
        assert_eq!(refusal(&server, "app").await, expected);
    }
}

#[tokio::test]
async fn a_trigger_survives_a_restart_and_its_text_is_told() {
    let disk = Disk::memory();
    let first = start(&disk, "16.0.4225.2").await;
    let mut sa = login(&first, "sa", "").await.unwrap();
    run(&mut sa, &format!("CREATE LOGIN guard WITH PASSWORD = N'{PASSWORD}'; GRANT VIEW SERVER STATE TO guard"))
        .await
        .fine();
    run(&mut sa, FENCE).await.fine();
    drop((sa, first));
    let again = start(&disk, "16.0.4225.2").await;
    let mut sa = login(&again, "sa", "").await.unwrap();
    let told = "SELECT m.definition, p.name, e.type_desc FROM sys.server_triggers AS t JOIN sys.server_sql_modules AS m ON m.object_id = t.object_id
        JOIN sys.server_principals AS p ON p.principal_id = m.execute_as_principal_id JOIN sys.server_trigger_events AS e ON e.object_id = t.object_id WHERE t.is_disabled = 0";
    assert_eq!(run(&mut sa, told).await.row(), [FENCE, "guard", "LOGON"]);
}

#[tokio::test]
async fn an_error_in_a_trigger_refuses_every_login_and_a_message_does_not() {
    let (server, mut sa) = guarded().await;
    for body in [
        "SELECT 1 / 0",
        "BEGIN TRY DECLARE @x int = 1 / 0 END TRY BEGIN CATCH PRINT N'caught' END CATCH",
        "THROW 50001, N'no', 1",
        "DECLARE @n int; SELECT @n = COUNT(*) FROM dbo.nowhere",
        "COMMIT",
        "RAISERROR(N'disk', 21, 1)",
    ] {
        run(&mut sa, &format!("CREATE OR ALTER TRIGGER t ON ALL SERVER FOR LOGON AS {body}")).await.fine();
        assert_eq!(refusal(&server, "app").await, Some(17_892), "{body}");
    }
    for body in ["PRINT N'hello'", "RAISERROR(N'hello', 16, 1)", "BEGIN TRAN; COMMIT", "DECLARE @n int = 1; SET @n = 2"]
    {
        run(&mut sa, &format!("CREATE OR ALTER TRIGGER t ON ALL SERVER FOR LOGON AS {body}")).await.fine();
        assert_eq!(refusal(&server, "app").await, None, "{body}");
    }
}

#[tokio::test]
async fn what_a_trigger_wrote_is_kept_or_rolled_back_with_the_login() {
    let (server, mut sa) = guarded().await;
    run(&mut sa, "CREATE TABLE seen (who sysname)").await.fine();
    let text = "CREATE TRIGGER t ON ALL SERVER WITH EXECUTE AS N'sa' FOR LOGON AS
        DECLARE @who sysname = ORIGINAL_LOGIN(); INSERT INTO master.dbo.seen VALUES (@who); IF ORIGINAL_LOGIN() = N'app' ROLLBACK; IF SUSER_SNAME() <> N'sa' THROW 50001, N'who', 1";
    run(&mut sa, text).await.fine();
    assert_eq!(refusal(&server, "app").await, Some(17_892));
    let mut guard = login(&server, "guard", "").await.unwrap();
    assert_eq!(run(&mut guard, "SELECT SUSER_SNAME(), @@TRANCOUNT").await.row(), ["guard", "0"]);
    assert_eq!(run(&mut sa, "SELECT who FROM seen").await.column(), ["guard"]);
}

#[tokio::test]
async fn who_runs_as_itself_needs_the_permissions_that_the_trigger_asks_for() {
    let (server, mut sa) = guarded().await;
    let asks = "IF ORIGINAL_LOGIN() <> N'sa' AND sys.fn_hadr_is_primary_replica(N'shop') = 1 ROLLBACK";
    run(&mut sa, &format!("CREATE TRIGGER t ON ALL SERVER FOR LOGON AS {asks}")).await.fine();
    assert_eq!(refusal(&server, "app").await, Some(17_892), "it may not ask, and the error ends the login");
    assert_eq!(refusal(&server, "guard").await, None);
    run(&mut sa, &format!("ALTER TRIGGER t ON ALL SERVER WITH EXECUTE AS 'guard' FOR LOGON AS {asks}")).await.fine();
    assert_eq!(refusal(&server, "app").await, None);
    run(&mut sa, "DROP LOGIN guard").await.fine();
    assert_eq!(refusal(&server, "app").await, Some(17_892), "the login that it runs as is gone");
}

#[tokio::test]
async fn is_primary_replica_tells_the_role_and_needs_a_permission() {
    let (server, mut session) = grouped().await;
    let shop =
        "CREATE DATABASE shop; BACKUP DATABASE shop TO DISK = N'NUL'; ALTER AVAILABILITY GROUP ag1 ADD DATABASE shop";
    let ask = "SELECT sys.fn_hadr_is_primary_replica(N'shop'), sys.fn_hadr_is_primary_replica(N'nowhere')";
    run(&mut session, shop).await.fine();
    assert_eq!(run(&mut session, ask).await.row(), ["1", "0"]);
    server.instance.faults().set(|switches| switches.outside_groups_primary_is_null = true);
    assert_eq!(run(&mut session, ask).await.row(), ["1", "NULL"]);
    run(&mut session, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    let mut app = login(&server, "app", "").await.unwrap();
    assert_eq!(run(&mut app, ask).await.numbers(), [300, 297]);
    run(&mut session, "ALTER AVAILABILITY GROUP ag1 OFFLINE").await.fine();
    for _ in 0..500 {
        if run(&mut session, ask).await.row() == ["0", "NULL"] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a resolving replica is still the primary");
}

#[tokio::test]
async fn a_pooled_connection_passes_unless_switched_to_fire_the_triggers() {
    for (fires, numbers) in [(false, vec![]), (true, vec![17_892])] {
        let (server, mut sa) = guarded().await;
        server.instance.faults().set(|switches| switches.logon_triggers_fire_for_pools = fires);
        let mut app = login(&server, "app", "").await.unwrap();
        create(&mut sa, "ORIGINAL_LOGIN() = N'app'").await;
        crate::tds::SqlSession::reset(&mut app).await;
        assert_eq!(run(&mut app, "SELECT 1").await.numbers(), numbers);
    }
}

#[tokio::test]
async fn trigger_statements_raise_the_documented_numbers() {
    let (server, mut sa) = guarded().await;
    create(&mut sa, "1 = 0").await;
    for (sql, number) in [
        ("SELECT 1; CREATE TRIGGER u ON ALL SERVER FOR LOGON AS ROLLBACK", 111),
        ("CREATE TRIGGER t ON ALL SERVER FOR LOGON AS ROLLBACK", 2714),
        ("ALTER TRIGGER u ON ALL SERVER FOR LOGON AS ROLLBACK", 208),
        ("DROP TRIGGER u ON ALL SERVER", 3701),
        ("ENABLE TRIGGER u ON ALL SERVER", 1088),
        ("DISABLE TRIGGER t, u ON ALL SERVER", 1088),
        ("CREATE TRIGGER u ON ALL SERVER WITH EXECUTE AS 'nobody' FOR LOGON AS ROLLBACK", 15_151),
        ("CREATE TRIGGER u ON ALL SERVER WITH ENCRYPTION FOR LOGON AS ROLLBACK", 40_517),
        ("CREATE TRIGGER u ON ALL SERVER FOR CREATE_DATABASE AS ROLLBACK", 40_517),
        ("CREATE TRIGGER u ON dbo.t AFTER INSERT AS ROLLBACK", 40_517),
        ("CREATE TRIGGER u ON ALL SERVER FOR LOGON AS", 102),
        ("BEGIN TRAN; DISABLE TRIGGER t ON ALL SERVER", 40_517),
        ("ROLLBACK; ROLLBACK", 3903),
        ("SELECT EVENTDATA()", 40_517),
    ] {
        assert_eq!(run(&mut sa, sql).await.numbers()[..1], [number], "{sql}");
    }
    run(&mut sa, "DROP TRIGGER IF EXISTS u ON ALL SERVER").await.fine();
    assert_eq!(run(&mut sa, STATE).await.row()[1], "0", "t was not disabled alone");
    let mut app = login(&server, "app", "").await.unwrap();
    assert_eq!(run(&mut app, "DROP TRIGGER t ON ALL SERVER").await.numbers(), [15_247]);
    assert!(run(&mut app, STATE).await.column().is_empty(), "nor does it see it");
    run(&mut sa, "EXEC (N'CREATE TRIGGER v ON ALL SERVER FOR LOGON AS IF 1 = 0 ROLLBACK')").await.fine();
    assert_eq!(run(&mut sa, "SELECT COUNT(*) FROM sys.server_triggers").await.row(), ["2"]);
}

fn fence_until(deadline: &str) -> String {
    FENCE.replace("= 1\n", &format!("= 1 AND SYSUTCDATETIME() < '{deadline}'\n"))
}

#[tokio::test(start_paused = true)]
async fn a_fence_on_every_replica_follows_the_primary_role_and_ends_at_its_own_time() {
    let mut replicas = Replicas::with_shop().await;
    for on in 0..3 {
        let logins = format!(
            "CREATE LOGIN guard WITH PASSWORD = N'{PASSWORD}'; GRANT VIEW SERVER STATE TO guard; CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'"
        );
        replicas.fine(on, &logins).await;
        replicas.fine(on, &fence_until("2099-01-31T10:00:00")).await;
    }
    let fenced = async |replicas: &Replicas| {
        let mut found = vec![];
        for (on, server) in replicas.servers.iter().enumerate() {
            if refusal(server, "app").await.is_some() {
                found.push(on);
            }
        }
        found
    };
    assert_eq!(fenced(&replicas).await, [0], "the primary alone");
    replicas.fine(0, "ALTER AVAILABILITY GROUP [ag] OFFLINE").await;
    let role = "SELECT role_desc FROM sys.dm_hadr_availability_replica_states WHERE is_local = 1";
    replicas.until(0, role, &["RESOLVING"]).await;
    assert_eq!(fenced(&replicas).await, [0; 0], "nobody is primary");
    let external = "EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes'";
    replicas.fine(1, &format!("{external}; ALTER AVAILABILITY GROUP [ag] FAILOVER")).await;
    replicas.until(1, role, &["PRIMARY"]).await;
    assert_eq!(fenced(&replicas).await, [1], "it has followed");
    replicas.fine(1, &fence_until("2020-01-31T10:00:00")).await;
    assert_eq!(fenced(&replicas).await, [0; 0], "its time is over");
}
