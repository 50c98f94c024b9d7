//! Sessions: who is there, what they have open, and KILL.

use super::*;

async fn spid(session: &mut Session) -> String {
    run(session, "SELECT @@SPID").await.row()[0].clone()
}

#[tokio::test]
async fn a_session_is_shown_with_its_login_its_client_and_what_it_has_open() {
    let server = server().await;
    let mut one = login(&server, "sa", "").await.unwrap();
    let mut two = login(&server, "sa", "").await.unwrap();
    let id = spid(&mut two).await;
    let shown = format!(
        "SELECT login_name, original_login_name, host_name, program_name, status, is_user_process, open_transaction_count, DB_NAME(database_id),
        CASE WHEN last_request_end_time >= last_request_start_time THEN 1 ELSE 0 END FROM sys.dm_exec_sessions WHERE session_id = {id}"
    );
    let expected = |status: &str, open: &str, database: &str| {
        ["sa", "sa", "here", "tests", status, "1", open, database, "1"].map(String::from).to_vec()
    };
    assert_eq!(run(&mut one, &shown).await.row(), expected("sleeping", "0", "master"));
    run(&mut two, "CREATE DATABASE shop; USE shop; CREATE TABLE t (id int); BEGIN TRAN; BEGIN TRAN; SELECT 1")
        .await
        .fine();
    assert_eq!(run(&mut one, &shown).await.row(), expected("sleeping", "2", "shop"));
    run(&mut two, "COMMIT; COMMIT").await.fine();
    assert_eq!(run(&mut one, &shown).await.row(), expected("sleeping", "0", "shop"));
    crate::tds::SqlSession::reset(&mut two).await;
    assert_eq!(run(&mut one, &shown).await.row(), expected("dormant", "0", "master"), "its pool has not used it again");
    assert_eq!(
        run(&mut one, "SELECT status FROM sys.dm_exec_sessions WHERE session_id = @@SPID").await.row(),
        ["running"]
    );
    drop(two);
    let there = format!("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE session_id = {id}");
    assert_eq!(run(&mut one, &there).await.row(), ["0"]);
}

#[tokio::test]
async fn an_open_transaction_is_shown_with_its_session_until_it_ends() {
    let server = server().await;
    let mut one = login(&server, "sa", "").await.unwrap();
    let mut two = login(&server, "sa", "").await.unwrap();
    let id = spid(&mut two).await;
    let open =
        "SELECT s.session_id, t.open_transaction_count, t.is_user_transaction, t.enlist_count, a.transaction_state
        FROM sys.dm_tran_session_transactions AS t JOIN sys.dm_exec_sessions AS s ON s.session_id = t.session_id
        JOIN sys.dm_tran_active_transactions AS a ON a.transaction_id = t.transaction_id WHERE s.is_user_process = 1";
    assert_eq!(run(&mut one, open).await.column(), Vec::<String>::new());
    run(&mut two, "BEGIN TRAN").await.fine();
    assert_eq!(run(&mut one, open).await.row(), [id.as_str(), "1", "1", "0", "2"]);
    run(&mut two, "BEGIN TRAN").await.fine();
    assert_eq!(run(&mut one, open).await.row(), [id.as_str(), "2", "1", "0", "2"]);
    run(&mut two, "ROLLBACK").await.fine();
    assert_eq!(run(&mut one, open).await.column(), Vec::<String>::new());
    run(&mut one, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    let mut app = login(&server, "app", "").await.unwrap();
    assert_eq!(run(&mut app, open).await.numbers(), [300, 297]);
}

#[tokio::test]
async fn who_may_not_view_the_state_sees_its_own_session_alone_and_the_server_has_sessions_of_its_own() {
    let server = server().await;
    let mut sa = login(&server, "sa", "").await.unwrap();
    run(&mut sa, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    let mut app = login(&server, "app", "").await.unwrap();
    let users = "SELECT login_name FROM sys.dm_exec_sessions WHERE is_user_process = 1 ORDER BY session_id";
    assert_eq!(run(&mut app, "SELECT login_name FROM sys.dm_exec_sessions").await.row(), ["app"]);
    assert_eq!(run(&mut sa, users).await.column(), ["sa", "app"]);
    let system = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE is_user_process = 0 AND program_name IS NULL AND session_id <= 50";
    assert_ne!(run(&mut sa, system).await.row(), ["0"]);
    assert_eq!(run(&mut sa, "KILL 3").await.numbers(), [6107]);
    assert_eq!(
        run(&mut app, "SELECT SUSER_SNAME(), ORIGINAL_LOGIN(), HOST_NAME(), APP_NAME(), PROGRAM_NAME()").await.row(),
        ["app", "app", "here", "tests", "tests"]
    );
}

#[tokio::test]
async fn kill_rolls_the_transaction_back_and_the_session_reads_596() {
    let server = server().await;
    let mut one = login(&server, "sa", "").await.unwrap();
    let mut two = login(&server, "sa", "").await.unwrap();
    // Who reads master waits for a transaction in it: the stand-in has no row locks.
    run(&mut one, "CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int)").await.fine();
    run(&mut two, "BEGIN TRAN; INSERT INTO shop.dbo.t VALUES (1)").await.fine();
    let id = spid(&mut two).await;
    run(&mut one, &format!("KILL {id}")).await.fine();
    let request = format!("SELECT command FROM sys.dm_exec_requests WHERE session_id = {id}");
    assert_eq!(run(&mut one, &request).await.row(), ["KILLED/ROLLBACK"], "its client has not been told yet");
    let error = run(&mut two, "COMMIT").await.errors.remove(0);
    assert_eq!((error.number, error.class), (596, 21));
    assert_eq!(run(&mut one, "SELECT COUNT(*) FROM shop.dbo.t").await.row(), ["0"]);
    drop(two);
    assert_eq!(run(&mut one, &request).await.column(), Vec::<String>::new());
    assert_eq!(run(&mut one, &format!("KILL {id}")).await.numbers(), [6106]);
}

#[tokio::test]
async fn kill_raises_the_documented_numbers() {
    let mut session = sa().await;
    let own = spid(&mut session).await;
    for (sql, number) in [
        (format!("KILL {own}"), 6104),
        ("KILL 4711".into(), 6106),
        ("KILL 0".into(), 6106),
        ("BEGIN TRAN; KILL 4711; ROLLBACK".into(), 6115),
        ("KILL 4711 WITH STATUSONLY".into(), 40_517),
        ("KILL 'D5499C66-E398-45CA-BF7E-DC9C194B48CF'".into(), 40_517),
    ] {
        assert_eq!(run(&mut session, &sql).await.numbers(), [number], "{sql}");
    }
}
