//! Logins, users, permissions, certificates.

use super::*;
use crate::group::Identity;

async fn with_login(extra: &str) -> (Server, Session, Session) {
    let server = server().await;
    let mut admin = login(&server, "sa", "").await.unwrap();
    run(&mut admin, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}', CHECK_POLICY = OFF; {extra}"))
        .await
        .fine();
    let app = login(&server, "app", "").await.unwrap();
    (server, admin, app)
}

#[tokio::test]
async fn a_wrong_password_or_name_is_18456_state_1() {
    let server = server().await;
    let mut request = LoginRequest { user: "sa".into(), password: "no".into(), ..LoginRequest::default() };
    let error = Backend::login(&server, request.clone()).await.err().unwrap();
    assert_eq!((error.number, error.class, error.state), (18_456, 14, 1));
    request.user = "nobody".into();
    assert_eq!(Backend::login(&server, request).await.err().unwrap().number, 18_456);
    assert_eq!(login(&server, "sa", "nowhere").await.err().unwrap().number, 4060);
}

#[tokio::test]
async fn a_disabled_login_cannot_log_in_and_passwords_are_not_kept() {
    let disk = Disk::memory();
    let server = start(&disk, "16.0.4225.2").await;
    let mut admin = login(&server, "sa", "").await.unwrap();
    run(&mut admin, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'; ALTER LOGIN app DISABLE")).await.fine();
    assert_eq!(login(&server, "app", "").await.err().unwrap().number, 18_456);
    let kept = String::from_utf8(disk.read("catalog.json").unwrap().unwrap()).unwrap();
    assert!(!kept.contains(PASSWORD));
    assert_eq!(run(&mut admin, "CREATE LOGIN weak WITH PASSWORD = 'short'").await.numbers(), [15_116]);
    assert_eq!(run(&mut admin, "CREATE LOGIN app WITH PASSWORD = 'Long-1-enough'").await.numbers(), [15_025]);
    assert_eq!(run(&mut admin, "ALTER LOGIN nobody DISABLE").await.numbers(), [15_151]);
}

#[tokio::test]
async fn dmvs_need_view_server_state() {
    let (_server, mut admin, mut app) = with_login("").await;
    let sql = "SELECT ms_ticks FROM sys.dm_os_sys_info";
    assert_eq!(run(&mut app, sql).await.numbers(), [300, 297]);
    run(&mut admin, "GRANT VIEW SERVER STATE TO app").await.fine();
    run(&mut app, sql).await.fine();
    run(&mut admin, "DENY VIEW SERVER STATE TO app").await.fine();
    assert_eq!(run(&mut app, sql).await.numbers(), [300, 297], "DENY wins");
}

#[tokio::test]
async fn server_statements_need_their_permissions() {
    let (_server, mut admin, mut app) = with_login("").await;
    for (sql, number) in [
        ("CREATE LOGIN other WITH PASSWORD = N'Secret-2-word'", 15_247),
        ("DROP LOGIN sa", 15_151),
        ("GRANT VIEW SERVER STATE TO app", 4613),
        ("CREATE DATABASE x", 262),
        ("CREATE TABLE dbo.t (a int)", 262),
        ("CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'", 15_247),
        ("ALTER ENDPOINT e STATE = STOPPED", 15_151),
        ("ALTER AVAILABILITY GROUP ag1 OFFLINE", 15_151),
        ("KILL 51", 6102),
        ("ALTER SERVER ROLE sysadmin ADD MEMBER app", 15_151),
    ] {
        assert_eq!(run(&mut app, sql).await.numbers(), [number], "{sql}");
    }
    run(&mut admin, "ALTER SERVER ROLE sysadmin ADD MEMBER app").await.fine();
    run(&mut app, "CREATE DATABASE x").await.fine();
}

#[tokio::test]
async fn users_roles_and_orphans_live_in_the_database() {
    let (server, mut admin, mut app) = with_login("CREATE DATABASE shop").await;
    assert_eq!(run(&mut app, "USE shop").await.numbers(), [916]);
    assert_eq!(login(&server, "app", "shop").await.err().unwrap().number, 4060);
    run(
        &mut admin,
        "USE shop; CREATE TABLE t (id int); CREATE USER app FOR LOGIN app; ALTER ROLE db_datareader ADD MEMBER app",
    )
    .await
    .fine();
    run(&mut app, "USE shop; SELECT * FROM t").await.fine();
    assert_eq!(run(&mut app, "INSERT INTO t VALUES (1)").await.numbers(), [229]);
    run(&mut admin, "GRANT INSERT ON dbo.t TO app").await.fine();
    run(&mut app, "INSERT INTO t VALUES (1)").await.fine();
    assert_eq!(run(&mut app, "CREATE TABLE u (id int)").await.numbers(), [262]);
    let sql = "SELECT r.name FROM sys.database_principals AS u JOIN sys.database_role_members AS m ON m.member_principal_id = u.principal_id JOIN sys.database_principals AS r ON r.principal_id = m.role_principal_id WHERE u.name = N'app' AND u.type = 'S'";
    assert_eq!(run(&mut admin, sql).await.row(), ["db_datareader"]);
    // Another SID under the same name: the user is an orphan.
    drop(app);
    run(&mut admin, &format!("USE master; DROP LOGIN app; CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'"))
        .await
        .fine();
    assert_eq!(login(&server, "app", "shop").await.err().unwrap().number, 4060);
    run(&mut admin, "USE shop; ALTER USER app WITH LOGIN = app").await.fine();
    login(&server, "app", "shop").await.unwrap();
}

#[tokio::test]
async fn a_login_keeps_the_sid_it_was_given() {
    let mut session = sa().await;
    let sid = "0x0102030405060708090A0B0C0D0E0F10";
    run(&mut session, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}', SID = {sid}")).await.fine();
    assert_eq!(run(&mut session, "SELECT CONVERT(varchar(40), p.sid, 1) FROM sys.server_principals AS p WHERE p.type = 'S' AND p.name IN (N'app')").await.row(), [sid]);
    assert_eq!(
        run(&mut session, "SELECT SUSER_SNAME(0x01), CONVERT(varchar(10), SUSER_SID(N'sa'), 1)").await.row(),
        ["sa", "0x01"]
    );
}

async fn export(session: &mut Session) -> String {
    let sql = "DECLARE @cert_id INT = CERT_ID(N'own'); SELECT CONVERT(varchar(max), CERTENCODED(@cert_id), 2)";
    run(session, sql).await.row()[0].clone()
}

#[tokio::test]
async fn a_partner_is_admitted_by_certificate_owner_and_connect_permission() {
    let (one, two) = (server().await, server().await);
    let (mut a, mut b) = (login(&one, "sa", "").await.unwrap(), login(&two, "sa", "").await.unwrap());
    let own = "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'; CREATE CERTIFICATE own WITH SUBJECT = 'own';
        CREATE ENDPOINT ep STATE = STARTED AS TCP (LISTENER_PORT = 5022) FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE own, ENCRYPTION = REQUIRED ALGORITHM AES)";
    run(&mut a, own).await.fine();
    run(&mut b, own).await.fine();
    let hex = export(&mut b).await;
    let der = crate::tsql::convert::hex(&hex).unwrap();
    assert!(!one.catalog.authorize(&der), "not imported");
    let import = format!(
        "CREATE LOGIN peer WITH PASSWORD = N'{PASSWORD}'; CREATE USER peer FOR LOGIN peer; CREATE CERTIFICATE peer AUTHORIZATION peer FROM BINARY = 0x{hex}"
    );
    run(&mut a, &import).await.fine();
    assert!(!one.catalog.authorize(&der), "no CONNECT");
    run(&mut a, "GRANT CONNECT ON ENDPOINT::ep TO peer").await.fine();
    assert!(one.catalog.authorize(&der));
    run(&mut a, "DENY CONNECT ON ENDPOINT::ep TO peer").await.fine();
    assert!(!one.catalog.authorize(&der));
    run(&mut a, "GRANT CONNECT ON ENDPOINT::ep TO peer").await.fine();
    assert!(one.catalog.authorize(&der));
    let endpoint = one.catalog.endpoint().unwrap();
    assert!(endpoint.started && endpoint.port == 5022);
    run(&mut a, "ALTER ENDPOINT ep STATE = STOPPED").await.fine();
    assert!(!one.catalog.endpoint().unwrap().started);
    for (sql, number) in [
        ("DROP CERTIFICATE own", 15_352),
        ("DROP MASTER KEY", 15_580),
        ("CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'", 15_578),
        ("CREATE CERTIFICATE own WITH SUBJECT = 'x'", 15_232),
        ("CREATE CERTIFICATE bad FROM BINARY = 0x3082", 15_297),
        ("DROP CERTIFICATE nothing", 15_151),
        ("GRANT CONNECT ON ENDPOINT::nothing TO peer", 15_151),
        ("GRANT CONNECT ON ENDPOINT::ep TO nobody", 15_151),
    ] {
        assert_eq!(run(&mut a, sql).await.numbers(), [number], "{sql}");
    }
}

#[tokio::test]
async fn who_controls_a_certificate_may_drop_it_and_nobody_else() {
    let server = server().await;
    let mut sa = login(&server, "sa", "").await.unwrap();
    let setup = format!(
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'; CREATE CERTIFICATE own WITH SUBJECT = 'own';
        CREATE LOGIN act WITH PASSWORD = N'{PASSWORD}'; CREATE USER act FOR LOGIN act"
    );
    run(&mut sa, &setup).await.fine();
    let mut act = login(&server, "act", "").await.unwrap();
    let held =
        "SELECT p.class, p.class_desc, CASE WHEN p.major_id = CERT_ID(N'own') THEN 1 ELSE 0 END, p.permission_name
        FROM sys.database_permissions AS p WHERE p.class = 25";
    assert_eq!(run(&mut act, "DROP CERTIFICATE own").await.numbers(), [15_151]);
    run(&mut sa, "GRANT CREATE CERTIFICATE TO act").await.fine();
    assert_eq!(run(&mut act, "DROP CERTIFICATE own").await.numbers(), [15_151], "who may create may not drop");
    run(&mut sa, "GRANT CONTROL ON CERTIFICATE::own TO act").await.fine();
    assert_eq!(run(&mut sa, held).await.row(), ["25", "CERTIFICATE", "1", "CONTROL"]);
    run(&mut sa, "DENY CONTROL ON CERTIFICATE::own TO act").await.fine();
    assert_eq!(run(&mut act, "DROP CERTIFICATE own").await.numbers(), [15_151]);
    run(&mut sa, "GRANT CONTROL ON CERTIFICATE::own TO act").await.fine();
    run(&mut act, "DROP CERTIFICATE own").await.fine();
    run(&mut sa, "CREATE CERTIFICATE own WITH SUBJECT = 'another'").await.fine();
    assert_eq!(
        run(&mut act, "DROP CERTIFICATE own").await.numbers(),
        [15_151],
        "the permission went with the first one"
    );
    assert_eq!(run(&mut sa, "GRANT CONTROL ON CERTIFICATE::nothing TO act").await.numbers(), [15_151]);
}

#[tokio::test]
async fn a_private_key_leaves_only_encrypted_and_comes_back_with_its_password() {
    let (one, two) = (server().await, server().await);
    let (mut a, mut b) = (login(&one, "sa", "").await.unwrap(), login(&two, "sa", "").await.unwrap());
    run(
        &mut a,
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'; CREATE CERTIFICATE own WITH SUBJECT = 'own'",
    )
    .await
    .fine();
    let key = "SELECT CONVERT(varchar(max), CERTPRIVATEKEY(CERT_ID(N'own'), N'pw-1'), 2)";
    let key = run(&mut a, key).await.row()[0].clone();
    let der = export(&mut a).await;
    run(&mut b, "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'").await.fine();
    let import = |password: &str| {
        format!(
            "CREATE CERTIFICATE own FROM BINARY = 0x{der} WITH PRIVATE KEY (BINARY = 0x{key}, DECRYPTION BY PASSWORD = '{password}')"
        )
    };
    assert_eq!(run(&mut b, &import("wrong")).await.numbers(), [15_297]);
    run(&mut b, &import("pw-1")).await.fine();
    assert_eq!(
        run(&mut b, "SELECT pvt_key_encryption_type_desc FROM sys.certificates").await.row(),
        ["ENCRYPTED_BY_MASTER_KEY"]
    );
}

#[tokio::test]
async fn the_least_rights_of_a_pacemaker_login_are_enough() {
    let (_server, mut admin, mut app) = with_login(
        "GRANT ALTER ANY AVAILABILITY GROUP TO app; GRANT VIEW SERVER STATE TO app; GRANT VIEW ANY DEFINITION TO app",
    )
    .await;
    run(&mut admin, "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'; CREATE CERTIFICATE own WITH SUBJECT = 'own';
        CREATE ENDPOINT ep STATE = STARTED AS TCP (LISTENER_PORT = 5022) FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE own, ENCRYPTION = REQUIRED ALGORITHM AES);
        GRANT CONTROL ON ENDPOINT::ep TO app; CREATE LOGIN peer WITH PASSWORD = N'x', CHECK_POLICY = OFF;
        CREATE TABLE dbo.state (n int); CREATE USER app FOR LOGIN app; GRANT SELECT, INSERT, UPDATE ON dbo.state TO app").await.fine();
    run(&mut app, "DENY CONNECT ON ENDPOINT::ep TO peer; ALTER ENDPOINT ep STATE = STOPPED; ALTER ENDPOINT ep STATE = STARTED; INSERT INTO master.dbo.state VALUES (1); UPDATE dbo.state SET n = 2; SELECT n FROM dbo.state").await.fine();
    run(&mut app, "SELECT name FROM sys.certificates; SELECT name FROM sys.availability_groups").await.fine();
    assert_eq!(run(&mut app, "DELETE FROM dbo.state").await.numbers(), [229]);
}

#[tokio::test]
async fn an_endpoint_is_dropped_by_who_controls_it_and_takes_its_permissions_along() {
    let (server, mut admin, mut app) = with_login("").await;
    let own = "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'; CREATE CERTIFICATE own WITH SUBJECT = 'own'";
    let endpoint = "CREATE ENDPOINT ep STATE = STARTED AS TCP (LISTENER_PORT = 5022) FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE own, ENCRYPTION = REQUIRED ALGORITHM AES)";
    run(&mut admin, &format!("{own}; {endpoint}; GRANT CONNECT ON ENDPOINT::ep TO app")).await.fine();
    assert_eq!(run(&mut admin, "DROP ENDPOINT other").await.numbers(), [15_151]);
    assert_eq!(run(&mut admin, &endpoint.replace("ep STATE", "other STATE")).await.numbers(), [7862]);
    assert_eq!(run(&mut admin, "DROP CERTIFICATE own").await.numbers(), [15_352]);
    let refused = run(&mut app, "DROP ENDPOINT ep").await.errors.remove(0);
    assert_eq!(
        (refused.number, refused.text.as_str()),
        (15_151, "Cannot drop the endpoint 'ep', because it does not exist or you do not have permission.")
    );
    run(&mut admin, "GRANT CONTROL ON ENDPOINT::ep TO app").await.fine();
    run(&mut app, "DROP ENDPOINT ep").await.fine();
    assert!(server.catalog.endpoint().is_none());
    assert_eq!(run(&mut admin, "DROP ENDPOINT ep").await.numbers(), [15_151]);
    run(&mut admin, endpoint).await.fine();
    let left =
        "SELECT COUNT(*) FROM sys.server_permissions WHERE class = 105 AND grantee_principal_id = SUSER_ID(N'app')";
    assert_eq!(run(&mut admin, left).await.row(), ["0"], "another endpoint of that name grants nothing");
    assert_eq!(run(&mut app, "DROP ENDPOINT ep").await.numbers(), [15_151]);
    run(&mut admin, "GRANT ALTER ANY ENDPOINT TO app").await.fine();
    run(&mut app, "DROP ENDPOINT ep").await.fine();
    run(&mut admin, "DROP CERTIFICATE own").await.fine();
}

#[tokio::test]
async fn a_user_who_owns_a_schema_is_dropped_when_somebody_else_owns_it() {
    let server = server().await;
    let mut sa = login(&server, "sa", "").await.unwrap();
    let setup = format!(
        "CREATE DATABASE shop; CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'; USE shop; CREATE USER app FOR LOGIN app; ALTER ROLE db_owner ADD MEMBER app"
    );
    run(&mut sa, &setup).await.fine();
    run(&mut sa, "CREATE SCHEMA ours").await.fine();
    let mut app = login(&server, "app", "shop").await.unwrap();
    run(&mut app, "CREATE SCHEMA theirs").await.fine();
    let owners = "SELECT s.name, USER_NAME(s.principal_id) FROM sys.schemas AS s WHERE s.name IN (N'ours', N'theirs') ORDER BY 1";
    until(&mut sa, owners, &["ours", "dbo", "theirs", "app"]).await;
    drop(app);
    assert_eq!(run(&mut sa, "DROP USER app").await.numbers(), [15_138]);
    for sql in ["ALTER AUTHORIZATION ON SCHEMA::nothing TO dbo", "ALTER AUTHORIZATION ON SCHEMA::ours TO nobody"] {
        assert_eq!(run(&mut sa, sql).await.numbers(), [15_151], "{sql}");
    }
    run(&mut sa, "ALTER AUTHORIZATION ON SCHEMA::[theirs] TO [dbo]; DROP USER app").await.fine();
    until(&mut sa, owners, &["ours", "dbo", "theirs", "dbo"]).await;
}
