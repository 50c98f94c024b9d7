use super::*;

const TABLE: &str = "CREATE TABLE dbo.items (id int IDENTITY(1,1) NOT NULL PRIMARY KEY, name nvarchar(10) NOT NULL, price decimal(10,2) NULL,
    made datetime2 NOT NULL DEFAULT SYSUTCDATETIME(), tag uniqueidentifier NOT NULL DEFAULT NEWID(), on_sale bit NOT NULL DEFAULT 0,
    CONSTRAINT positive CHECK (price > 0))";

#[tokio::test]
async fn identity_defaults_and_output_work_together() {
    let mut session = sa().await;
    run(&mut session, TABLE).await.fine();
    let answer = run(
        &mut session,
        "INSERT INTO items (name, price) OUTPUT INSERTED.id, INSERTED.price VALUES (N'a', 1.5), (N'b', '2.25')",
    )
    .await
    .fine();
    assert_eq!(
        answer.sets[0].1,
        vec![vec![Value::Int(1), Value::Decimal(150)], vec![Value::Int(2), Value::Decimal(225)]]
    );
    assert_eq!(run(&mut session, "SELECT SCOPE_IDENTITY(), @@IDENTITY").await.row(), ["2", "2"]);
    let answer = run(&mut session, "SELECT made, tag, on_sale FROM items WHERE id = 1").await.fine();
    assert!(matches!(answer.sets[0].1[0][..], [Value::DateTime(_), Value::Guid(_), Value::Bit(false)]), "{answer:?}");
    assert_eq!(run(&mut session, "INSERT INTO items (id, name) VALUES (9, N'x')").await.numbers(), [544]);
    let sql = "SET IDENTITY_INSERT items ON; INSERT INTO items (id, name) VALUES (9, N'x'); SET IDENTITY_INSERT items OFF; INSERT INTO items (name) VALUES (N'y'); SELECT MAX(id) FROM items";
    assert_eq!(run(&mut session, sql).await.row(), ["10"]);
}

#[tokio::test]
async fn constraints_raise_the_documented_numbers() {
    let mut session = sa().await;
    run(&mut session, TABLE).await.fine();
    run(&mut session, "CREATE UNIQUE INDEX by_name ON items (name)").await.fine();
    run(&mut session, "CREATE TABLE orders (item int NOT NULL REFERENCES items (id), code varchar(5) UNIQUE, n int)")
        .await
        .fine();
    run(&mut session, "INSERT INTO items (name, price) VALUES (N'a', 1)").await.fine();
    for (sql, number) in [
        ("INSERT INTO items (name) VALUES (N'A ')", 2601),
        ("INSERT INTO items (name) VALUES (NULL)", 515),
        ("INSERT INTO items (name, price) VALUES (N'b', -1)", 547),
        ("INSERT INTO orders VALUES (77, 'x', 1)", 547),
        ("INSERT INTO items (name) VALUES (N'12345678901')", 2628),
        ("INSERT INTO orders VALUES (1, 'x', N'abc')", 245),
        ("INSERT INTO orders VALUES (1, 'x', 3000000000)", 8115),
        ("INSERT INTO nowhere VALUES (1)", 208),
        ("INSERT INTO items (nothing) VALUES (1)", 207),
        ("UPDATE items SET nothing = 1", 207),
        ("SELECT nothing FROM items", 207),
        ("SELECT * FROM nowhere", 208),
        ("DROP TABLE nowhere", 3701),
        ("CREATE TABLE items (a int)", 2714),
        ("INSERT INTO items (name) VALUES (N'a', 2)", 109),
        ("INSERT INTO sys.databases (name) VALUES (N'a')", 259),
    ] {
        assert_eq!(run(&mut session, sql).await.numbers(), [number], "{sql}");
    }
    run(&mut session, "INSERT INTO orders VALUES (1, 'x', 1)").await.fine();
    assert_eq!(run(&mut session, "INSERT INTO orders VALUES (1, 'X', 1)").await.numbers(), [2627]);
}

#[tokio::test]
async fn a_failed_statement_undoes_only_itself() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)").await.fine();
    let answer = run(
        &mut session,
        "BEGIN TRAN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2), (1); COMMIT; SELECT id FROM t",
    )
    .await;
    assert_eq!(answer.numbers(), [2627]);
    assert_eq!(answer.sets[0].1.len(), 1);
}

#[tokio::test]
async fn a_rollback_undoes_everything_and_a_crash_keeps_what_was_committed() {
    let disk = Disk::memory();
    let server = start(&disk, "16.0.4225.2").await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, "CREATE DATABASE shop").await.fine();
    run(&mut session, "USE shop; CREATE TABLE t (id int NOT NULL PRIMARY KEY, at datetime2 DEFAULT GETDATE()); INSERT INTO t (id) VALUES (1)").await.fine();
    run(&mut session, "BEGIN TRAN; INSERT INTO t (id) VALUES (2); ROLLBACK; BEGIN TRAN; INSERT INTO t (id) VALUES (3)")
        .await
        .fine();
    let before = run(&mut session, "SELECT at FROM t WHERE id = 1").await.row();
    server.instance.crash();
    let server = start(&disk, "16.0.4225.2").await;
    let mut session = login(&server, "sa", "shop").await.unwrap();
    assert_eq!(run(&mut session, "SELECT id FROM t").await.column(), ["1"]);
    assert_eq!(run(&mut session, "SELECT at FROM t WHERE id = 1").await.row(), before);
}

#[tokio::test]
async fn update_from_and_delete_count_their_rows() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (2, 20)").await.fine();
    let answer =
        run(&mut session, "UPDATE x SET v = b.v + x.v FROM a AS x JOIN b ON b.id = x.id WHERE x.id > 0").await.fine();
    assert_eq!(answer.counts, [1]);
    assert_eq!(run(&mut session, "SELECT v FROM a ORDER BY id").await.column(), ["1", "22"]);
    let answer = run(&mut session, "DELETE FROM a OUTPUT deleted.v WHERE id = 2; SELECT @@ROWCOUNT").await.fine();
    assert_eq!(answer.sets[0].1, vec![vec![Value::Int(22)]]);
    assert_eq!(answer.sets[1].1, vec![vec![Value::Int(1)]]);
}

#[tokio::test]
async fn temporary_tables_belong_to_their_session() {
    let server = server().await;
    let mut one = login(&server, "sa", "").await.unwrap();
    let mut two = login(&server, "sa", "").await.unwrap();
    run(&mut one, "CREATE TABLE #t (a int); INSERT INTO #t VALUES (1)").await.fine();
    assert_eq!(run(&mut one, "SELECT a FROM #t").await.row(), ["1"]);
    assert_eq!(run(&mut two, "SELECT a FROM #t").await.numbers(), [208]);
}

#[tokio::test]
async fn newid_differs_by_row_and_survives_a_crash() {
    let disk = Disk::memory();
    let server = start(&disk, "16.0.4225.2").await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, "CREATE TABLE t (id int, a uniqueidentifier DEFAULT NEWID() UNIQUE, b uniqueidentifier)")
        .await
        .fine();
    run(&mut session, "INSERT INTO t (id, b) VALUES (1, NEWID()), (2, NEWID()), (3, NULL)").await.fine();
    run(&mut session, "INSERT INTO t (id, a, b) SELECT id + 3, NEWID(), b FROM t; UPDATE t SET b = NEWID()")
        .await
        .fine();
    let all =
        "SELECT COUNT(DISTINCT a), COUNT(DISTINCT b), MIN(CAST(a AS nchar(36))), MAX(CAST(b AS nchar(36))) FROM t";
    let before = run(&mut session, all).await.row();
    assert_eq!(before[..2], ["6", "6"]);
    server.instance.crash();
    let server = start(&disk, "16.0.4225.2").await;
    let mut session = login(&server, "sa", "").await.unwrap();
    assert_eq!(run(&mut session, all).await.row(), before);
}
