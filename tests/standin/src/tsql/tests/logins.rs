//! Logins carried over from one instance to another.

use super::*;

const ASKED: &str = "SELECT CONVERT(varchar(max), l.password_hash, 1), CONVERT(varchar(max), l.sid, 1),
    CONVERT(varchar(max), LOGINPROPERTY(l.name, N'PasswordHash'), 1) FROM sys.sql_logins AS l WHERE l.name = N'app'";

#[tokio::test]
async fn a_login_carried_over_with_sid_and_hash_has_the_same_password_and_users() {
    let (one, two) = (server().await, server().await);
    let (mut a, mut b) = (login(&one, "sa", "").await.unwrap(), login(&two, "sa", "").await.unwrap());
    run(&mut a, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    let [hash, sid, same] = run(&mut a, ASKED).await.row().try_into().unwrap();
    assert!(hash.starts_with("0x0200") && hash.len() == 142 && same == hash, "{hash} {same}");
    run(&mut b, &format!("CREATE LOGIN app WITH PASSWORD = {hash} HASHED, SID = {sid}, CHECK_POLICY = OFF"))
        .await
        .fine();
    login(&two, "app", "").await.unwrap();
    let wrong = LoginRequest { user: "app".into(), password: "Secret-2-word".into(), ..LoginRequest::default() };
    assert_eq!(Backend::login(&two, wrong.clone()).await.err().unwrap().number, 18_456);
    assert_eq!(run(&mut b, ASKED).await.row()[..2], [hash.clone(), sid.clone()], "it can be carried on from there");
    run(&mut b, "CREATE LOGIN other WITH PASSWORD = N'Secret-2-word'").await.fine();
    run(&mut b, &format!("ALTER LOGIN other WITH PASSWORD = {hash} HASHED")).await.fine();
    login(&two, "other", "").await.unwrap();
    assert_eq!(
        run(&mut b, &format!("CREATE LOGIN third WITH PASSWORD = {hash} HASHED, SID = {sid}")).await.numbers(),
        [15_433]
    );
}

#[tokio::test]
async fn a_hash_is_shown_to_who_controls_the_server_alone() {
    let server = server().await;
    let mut sa = login(&server, "sa", "").await.unwrap();
    run(&mut sa, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}', DEFAULT_DATABASE = msdb")).await.fine();
    let mut app = login(&server, "app", "").await.unwrap();
    let own = "SELECT LOGINPROPERTY(N'app', 'PasswordHash'), LOGINPROPERTY(N'app', 'DefaultDatabase'), LOGINPROPERTY(N'app', 'IsLocked'), LOGINPROPERTY(N'nobody', 'IsLocked')";
    assert_eq!(run(&mut app, own).await.row(), ["NULL", "msdb", "0", "NULL"]);
    assert_eq!(run(&mut app, "SELECT password_hash FROM sys.sql_logins WHERE name = N'app'").await.row(), ["NULL"]);
}

#[tokio::test]
async fn a_hash_that_no_password_gives_is_15021() {
    let mut session = sa().await;
    run(&mut session, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    for sql in ["CREATE LOGIN x WITH PASSWORD = 0x0200AB HASHED", "ALTER LOGIN app WITH PASSWORD = 0x0100 HASHED"] {
        assert_eq!(run(&mut session, sql).await.numbers(), [15_021], "{sql}");
    }
    assert_eq!(run(&mut session, "CREATE LOGIN x WITH PASSWORD = 0x0200AB").await.numbers(), [102]);
}
