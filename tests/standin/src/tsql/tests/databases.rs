//! Databases as a whole: DROP DATABASE and SET RECOVERY.

use super::{groups::grouped, *};

const MODEL: &str = "SELECT d.recovery_model, d.recovery_model_desc, CASE WHEN r.last_log_backup_lsn IS NULL THEN 0 ELSE 1 END
    FROM sys.databases AS d JOIN sys.database_recovery_status AS r ON r.database_id = d.database_id WHERE d.name = N'shop'";

#[tokio::test]
async fn a_dropped_database_is_gone_with_its_files_and_its_name_is_free() {
    let disk = Disk::memory();
    let server = start(&disk, "16.0.4225.2").await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, "CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int)").await.fine();
    run(&mut session, "DROP DATABASE SHOP").await.fine();
    let there = "SELECT COUNT(*) FROM sys.databases WHERE name = N'shop'";
    assert_eq!(run(&mut session, there).await.row(), ["0"], "the name is the same in any case");
    assert_eq!(run(&mut session, "SELECT DB_ID(N'shop')").await.row(), ["NULL"]);
    assert_eq!(run(&mut session, "USE shop").await.numbers(), [911]);
    assert_eq!(login(&server, "sa", "shop").await.err().unwrap().number, 4060);
    run(&mut session, "CREATE DATABASE shop").await.fine();
    assert_eq!(run(&mut session, "SELECT * FROM shop.dbo.t").await.numbers(), [208], "nothing of the old one is left");
    run(&mut session, "CREATE DATABASE a; CREATE DATABASE b; DROP DATABASE a, b, shop").await.fine();
    drop((session, server));
    let again = start(&disk, "16.0.4225.2").await;
    let mut session = login(&again, "sa", "").await.unwrap();
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM sys.databases").await.row(), ["4"], "nor after a restart");
}

#[tokio::test]
async fn drop_database_raises_the_documented_numbers() {
    let server = server().await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(
        &mut session,
        &format!(
            "CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int); CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'"
        ),
    )
    .await
    .fine();
    let mut app = login(&server, "app", "").await.unwrap();
    for (sql, number) in [
        ("DROP DATABASE nowhere", 3701),
        ("DROP DATABASE master", 3708),
        ("DROP DATABASE TempDB", 3708),
        ("BEGIN TRAN; DROP DATABASE shop; ROLLBACK", 574),
        ("USE shop; DROP DATABASE shop", 3702),
    ] {
        assert_eq!(run(&mut session, sql).await.numbers(), [number], "{sql}");
    }
    run(&mut session, "USE master; DROP DATABASE IF EXISTS nowhere").await.fine();
    let error = run(&mut app, "DROP DATABASE shop").await.errors.remove(0);
    assert_eq!((error.number, error.class), (3701, 11), "who may not drop it learns nothing");
    let other = login(&server, "sa", "shop").await.unwrap();
    assert_eq!(run(&mut session, "DROP DATABASE shop").await.numbers(), [3702], "another session is in it");
    drop(other);
    let mut writer = login(&server, "sa", "").await.unwrap();
    run(&mut writer, "BEGIN TRAN; INSERT INTO shop.dbo.t VALUES (1)").await.fine();
    assert_eq!(run(&mut session, "DROP DATABASE shop").await.numbers(), [3702], "a transaction is open in it");
    run(&mut writer, "COMMIT").await.fine();
    run(&mut session, "DROP DATABASE shop").await.fine();
}

#[tokio::test]
async fn leaving_the_full_recovery_model_ends_the_log_chain() {
    let mut session = sa().await;
    run(&mut session, "CREATE DATABASE shop; BACKUP DATABASE SHOP TO DISK = N'NUL'").await.fine();
    assert_eq!(run(&mut session, MODEL).await.row(), ["1", "FULL", "1"]);
    run(&mut session, "ALTER DATABASE shop SET RECOVERY FULL").await.fine();
    assert_eq!(run(&mut session, MODEL).await.row(), ["1", "FULL", "1"], "nothing changed");
    run(&mut session, "ALTER DATABASE SHOP SET RECOVERY SIMPLE WITH NO_WAIT").await.fine();
    assert_eq!(run(&mut session, MODEL).await.row(), ["3", "SIMPLE", "0"]);
    assert_eq!(run(&mut session, "BACKUP LOG shop TO DISK = N'NUL'").await.numbers(), [4208]);
    run(&mut session, "BACKUP DATABASE shop TO DISK = N'NUL'; ALTER DATABASE shop SET RECOVERY FULL").await.fine();
    assert_eq!(run(&mut session, MODEL).await.row(), ["1", "FULL", "0"], "a backup taken before does not count");
    assert_eq!(run(&mut session, "BACKUP LOG shop TO DISK = N'NUL'").await.numbers(), [4214]);
    run(&mut session, "BACKUP DATABASE shop TO DISK = N'NUL'; BACKUP LOG shop TO DISK = N'NUL'").await.fine();
}

#[tokio::test]
async fn set_recovery_raises_the_documented_numbers() {
    let server = server().await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, &format!("CREATE DATABASE shop; CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await.fine();
    for (sql, numbers) in [
        ("ALTER DATABASE nowhere SET RECOVERY FULL", vec![5011, 5069]),
        ("ALTER DATABASE tempdb SET RECOVERY FULL", vec![5058, 5069]),
        ("ALTER DATABASE shop SET RECOVERY BULK_LOGGED", vec![40_517]),
        ("BEGIN TRAN; ALTER DATABASE shop SET RECOVERY SIMPLE; ROLLBACK", vec![226]),
        ("BEGIN TRAN; CREATE DATABASE other; ROLLBACK", vec![226]),
        ("BEGIN TRAN; BACKUP DATABASE shop TO DISK = N'NUL'; ROLLBACK", vec![3021]),
    ] {
        assert_eq!(run(&mut session, sql).await.numbers(), numbers, "{sql}");
    }
    let mut app = login(&server, "app", "").await.unwrap();
    let simple = "ALTER DATABASE shop SET RECOVERY SIMPLE";
    assert_eq!(run(&mut app, simple).await.numbers(), [5011, 5069]);
    assert_eq!(run(&mut app, "BACKUP DATABASE shop TO DISK = N'NUL'").await.numbers(), [262]);
    run(&mut session, "USE shop; CREATE USER app FOR LOGIN app; ALTER ROLE db_owner ADD MEMBER app").await.fine();
    run(&mut app, simple).await.fine();
}

#[tokio::test]
async fn a_database_of_a_group_can_neither_be_dropped_nor_leave_the_full_model() {
    let (_server, mut session) = grouped().await;
    run(
        &mut session,
        "CREATE DATABASE shop; BACKUP DATABASE shop TO DISK = N'NUL'; ALTER AVAILABILITY GROUP ag1 ADD DATABASE shop",
    )
    .await
    .fine();
    assert_eq!(run(&mut session, "ALTER DATABASE Shop SET RECOVERY SIMPLE").await.numbers(), [1468, 5069]);
    assert_eq!(run(&mut session, "DROP DATABASE Shop").await.numbers(), [3752]);
    run(&mut session, "ALTER AVAILABILITY GROUP ag1 REMOVE DATABASE SHOP").await.fine();
    assert_eq!(run(&mut session, "ALTER AVAILABILITY GROUP ag1 REMOVE DATABASE shop").await.numbers(), [41_133]);
    run(&mut session, "ALTER DATABASE shop SET RECOVERY SIMPLE").await.fine();
    assert_eq!(run(&mut session, "ALTER AVAILABILITY GROUP ag1 ADD DATABASE shop").await.numbers(), [1475]);
    run(&mut session, "DROP DATABASE shop").await.fine();
}
