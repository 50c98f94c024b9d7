//! Functions and views of the server itself.

use super::*;

#[tokio::test]
async fn serverproperty_is_a_variant_that_casts() {
    let mut session = sa().await;
    let sql = "SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(128)), @@SERVERNAME, CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)),
        CAST(SERVERPROPERTY('ProductMajorVersion') AS int), CAST(SERVERPROPERTY('Edition') AS nvarchar(128)), CAST(SERVERPROPERTY('EngineEdition') AS int),
        CAST(SERVERPROPERTY('IsHadrEnabled') AS int), CAST(SERVERPROPERTY('HadrManagerStatus') AS int), SERVERPROPERTY('nothing')";
    let answer = run(&mut session, sql).await;
    assert_eq!(
        answer.row(),
        ["sql-0", "sql-0", "16.0.4225.2", "16", "Developer Edition (64-bit)", "3", "1", "1", "NULL"]
    );
    assert_eq!(run(&mut session, "SELECT SERVERPROPERTY('ServerName')").await.kinds(), [SqlType::Variant]);
    assert_eq!(run(&mut session, "SELECT host_platform FROM sys.dm_os_host_info").await.row(), ["Linux"]);
}

#[tokio::test(start_paused = true)]
async fn ms_ticks_follow_the_clock_and_never_go_back() {
    let mut session = sa().await;
    let sql = "SELECT i.ms_ticks FROM sys.dm_os_sys_info AS i";
    let before: i64 = run(&mut session, sql).await.row()[0].parse().unwrap();
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    let after: i64 = run(&mut session, sql).await.row()[0].parse().unwrap();
    assert_eq!(after - before, 3_000);
}

#[tokio::test]
async fn sessions_and_requests_show_who_runs() {
    let mut session = sa().await;
    let sql = "SELECT s.program_name, s.host_name, s.login_name, q.command FROM sys.dm_exec_requests AS q JOIN sys.dm_exec_sessions AS s ON s.session_id = q.session_id WHERE s.session_id = @@SPID";
    assert_eq!(run(&mut session, sql).await.row(), ["tests", "here", "sa", "BATCH"]);
}

#[tokio::test]
async fn object_id_finds_tables_by_one_to_three_names() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE dbo.t (id int)").await.fine();
    let sql = "SELECT CASE WHEN OBJECT_ID(N't') = OBJECT_ID(N'master.dbo.t') AND OBJECT_ID('[dbo].[T]', 'U') IS NOT NULL THEN 1 ELSE 0 END, OBJECT_ID('nothing'), DB_ID('nowhere'), DB_NAME(1), DB_ID()";
    assert_eq!(run(&mut session, sql).await.row(), ["1", "NULL", "NULL", "master", "1"]);
    run(&mut session, "IF OBJECT_ID(N'master.dbo.t') IS NULL CREATE TABLE master.dbo.t (id int)").await.fine();
}

#[tokio::test]
async fn an_application_lock_is_exclusive_between_sessions() {
    let server = server().await;
    let (mut one, mut two) = (login(&server, "sa", "").await.unwrap(), login(&server, "sa", "").await.unwrap());
    let take = "DECLARE @r int; EXEC @r = sp_getapplock @Resource = N'x', @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0; SELECT @r";
    assert_eq!(run(&mut one, take).await.row(), ["0"]);
    assert_eq!(run(&mut two, take).await.row(), ["-1"]);
    drop(one);
    assert_eq!(run(&mut two, take).await.row(), ["0"], "a session that ends gives it back");
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_an_open_transaction_up_to_lock_timeout() {
    let server = server().await;
    let (mut one, mut two) = (login(&server, "sa", "").await.unwrap(), login(&server, "sa", "").await.unwrap());
    run(&mut one, "CREATE DATABASE shop").await.fine();
    run(&mut one, "USE shop; CREATE TABLE t (id int); BEGIN TRAN; INSERT INTO t VALUES (1)").await.fine();
    let answer = run(&mut two, "SET LOCK_TIMEOUT 500; SELECT * FROM shop.dbo.t").await;
    assert_eq!(answer.numbers(), [1222]);
    assert_eq!(answer.errors[0].state, 51);
    let (_, answer) = tokio::join!(
        async {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            run(&mut one, "COMMIT").await.fine()
        },
        run(&mut two, "SET LOCK_TIMEOUT -1; SELECT * FROM shop.dbo.t")
    );
    assert_eq!(answer.column(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_statement_dropped_in_the_middle_leaves_the_session_usable() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE t (id int)").await.fine();
    let sql = "BEGIN TRAN; INSERT INTO t VALUES (1); WAITFOR DELAY '00:01:00'";
    let cut = tokio::time::timeout(std::time::Duration::from_secs(1), run(&mut session, sql)).await;
    assert!(cut.is_err());
    assert_eq!(run(&mut session, "SELECT @@TRANCOUNT; ROLLBACK").await.sets[0].1, vec![vec![Value::Int(1)]]);
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM t").await.row(), ["0"]);
}

#[tokio::test]
async fn catalog_views_describe_tables() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(20))").await.fine();
    let sql = "SELECT c.name, c.max_length, c.is_nullable FROM sys.columns AS c JOIN sys.tables AS t ON t.object_id = c.object_id JOIN sys.schemas AS s ON s.schema_id = t.schema_id WHERE t.name = N't' AND s.name = N'dbo' AND c.column_id = 2";
    assert_eq!(run(&mut session, sql).await.row(), ["name", "40", "1"]);
    assert_eq!(
        run(&mut session, "SELECT COUNT(*) FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 't'").await.row(),
        ["2"]
    );
    run(&mut session, "EXEC sp_addextendedproperty @name = N'owner', @value = N'me', @level0type = N'SCHEMA', @level0name = N'dbo', @level1type = N'TABLE', @level1name = N't'").await.fine();
    assert_eq!(
        run(&mut session, "SELECT value FROM sys.extended_properties WHERE major_id = OBJECT_ID('t')").await.row(),
        ["me"]
    );
}

/// Every view can be read whole, in every version.
#[tokio::test]
async fn every_view_has_the_columns_it_declares() {
    for version in ["14.0.3456.2", "15.0.4000.1", "16.0.4225.2", "17.0.1000.7"] {
        let server = start(&Disk::memory(), version).await;
        let mut session = login(&server, "sa", "").await.unwrap();
        for view in crate::views::keys() {
            let of = if crate::views::is_function(view) { "(1)" } else { "" };
            let answer = run(&mut session, &format!("SELECT * FROM {view}{of}")).await.fine();
            let declared =
                crate::views::find(view.split_once('.').unwrap().0, view.split_once('.').unwrap().1).unwrap();
            let columns: Vec<_> = answer.sets[0].0.iter().map(|column| (column.name.clone(), column.kind)).collect();
            assert_eq!(columns, declared.columns(server.major()), "{view}");
        }
    }
}

#[tokio::test]
async fn the_time_of_the_last_log_backup_is_told_to_whoever_may_view_the_state() {
    let server = super::server().await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, "CREATE DATABASE shop; ALTER DATABASE shop SET RECOVERY FULL").await.fine();
    let last =
        "SELECT d.name, l.log_backup_time FROM sys.databases AS d CROSS APPLY sys.dm_db_log_stats(d.database_id) AS l
        WHERE d.database_id > 4 AND d.state = 0";
    assert_eq!(run(&mut session, "BACKUP LOG shop TO DISK = N'NUL'").await.numbers(), [4214]);
    run(&mut session, "BACKUP DATABASE shop TO DISK = N'NUL'").await.fine();
    let answer = run(&mut session, last).await;
    assert_eq!(answer.kinds()[1], SqlType::DateTime);
    assert!(answer.row()[1].starts_with("1900-01-01"), "a full backup is no log backup: {:?}", answer.row());
    run(&mut session, "BACKUP LOG shop TO DISK = N'NUL'").await.fine();
    let ago =
        "SELECT DATEDIFF(minute, log_backup_time, GETDATE()), recovery_model FROM sys.dm_db_log_stats(DB_ID(N'shop'))";
    let row = run(&mut session, ago).await.row();
    assert!(["0", "1"].contains(&row[0].as_str()) && row[1] == "FULL", "{row:?}");
    let outer = "SELECT l.database_id FROM (SELECT 99 AS id) AS n OUTER APPLY sys.dm_db_log_stats(n.id) AS l";
    assert_eq!(run(&mut session, outer).await.row(), ["NULL"]);
    assert_eq!(run(&mut session, "SELECT * FROM sys.dm_db_log_stats").await.numbers(), [216]);
    assert_eq!(run(&mut session, "BACKUP LOG master TO DISK = N'NUL'").await.numbers(), [4208]);
    run(&mut session, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    let mut app = login(&server, "app", "").await.unwrap();
    assert_eq!(run(&mut app, last).await.numbers(), [300, 297]);
    run(&mut session, "GRANT VIEW SERVER STATE TO app").await.fine();
    assert_eq!(run(&mut app, last).await.row()[0], "shop");
}
