//! Views: what they show, who may look, and what cannot be one.

use super::*;

const TABLES: &str = "CREATE DATABASE shop; USE shop; CREATE TABLE t (id int NOT NULL PRIMARY KEY, name nvarchar(20));
    CREATE TABLE u (id int); INSERT INTO t VALUES (1, N'a'), (2, N'b'); CREATE SCHEMA sales";

async fn with_tables() -> (Server, Session) {
    let server = server().await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, TABLES).await.fine();
    (server, session)
}

#[tokio::test]
async fn a_view_shows_what_its_tables_hold_now_and_is_in_the_catalog() {
    let (_server, mut session) = with_tables().await;
    run(&mut session, "CREATE VIEW v AS SELECT id, name AS called FROM dbo.t WHERE id > 1;").await.fine();
    run(&mut session, "CREATE VIEW sales.v AS SELECT v.called FROM v").await.fine();
    run(&mut session, "INSERT INTO t VALUES (3, N'c')").await.fine();
    let answer = run(&mut session, "SELECT * FROM v ORDER BY id").await;
    assert_eq!(answer.kinds(), [SqlType::Int, SqlType::NVarChar(20)]);
    assert_eq!(answer.column(), ["2", "3"]);
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM shop.sales.v").await.row(), ["2"]);
    let catalog = "SELECT o.type, o.type_desc, s.name, COUNT(*) FROM sys.objects AS o JOIN sys.views AS v ON v.object_id = o.object_id
        JOIN sys.schemas AS s ON s.schema_id = o.schema_id JOIN sys.columns AS c ON c.object_id = o.object_id
        WHERE o.object_id = OBJECT_ID(N'dbo.v') GROUP BY o.type, o.type_desc, s.name";
    assert_eq!(run(&mut session, catalog).await.row(), ["V ", "VIEW", "dbo", "2"]);
    let table = "SELECT TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'sales' AND TABLE_NAME = 'v'";
    assert_eq!(run(&mut session, table).await.row(), ["VIEW"]);
    run(&mut session, "ALTER VIEW v AS SELECT id, name AS called FROM t WHERE id = 1").await.fine();
    assert_eq!(run(&mut session, "SELECT called FROM v").await.row(), ["a"]);
    run(&mut session, "CREATE OR ALTER VIEW w AS SELECT TOP 1 id FROM t ORDER BY id DESC").await.fine();
    assert_eq!(run(&mut session, "SELECT id FROM w").await.row(), ["3"]);
    run(&mut session, "DROP VIEW w, sales.v, v").await.fine();
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM sys.views").await.row(), ["0"]);
    assert_eq!(run(&mut session, "SELECT * FROM v").await.numbers(), [208]);
}

#[tokio::test]
async fn what_cannot_be_a_view_raises_its_number() {
    let (_server, mut session) = with_tables().await;
    run(&mut session, "CREATE VIEW v AS SELECT id FROM t").await.fine();
    run(&mut session, "CREATE TABLE #mine (id int)").await.fine();
    for (sql, number) in [
        ("SELECT 1; CREATE VIEW w AS SELECT id FROM t", 111),
        ("IF 1 = 1 CREATE VIEW w AS SELECT id FROM t", 111),
        ("CREATE VIEW w AS SELECT id FROM t; SELECT 1", 156),
        ("CREATE VIEW shop.dbo.w AS SELECT id FROM t", 166),
        ("CREATE VIEW nowhere.w AS SELECT id FROM t", 2760),
        ("CREATE VIEW v AS SELECT id FROM t", 2714),
        ("CREATE VIEW t AS SELECT id FROM u", 2714),
        ("CREATE OR ALTER VIEW t AS SELECT id FROM u", 2714),
        ("CREATE TABLE v (id int)", 2714),
        ("ALTER VIEW w AS SELECT id FROM t", 208),
        ("ALTER PROCEDURE p AS SELECT 1", 208),
        ("CREATE VIEW w AS SELECT id FROM nowhere", 208),
        ("CREATE VIEW w AS SELECT nothing FROM t", 207),
        ("CREATE VIEW w AS SELECT id, name FROM t ORDER BY id", 1033),
        ("CREATE VIEW w AS SELECT id, UPPER(name) FROM t", 4511),
        ("CREATE VIEW w AS SELECT t.id, u.ID FROM t JOIN u ON u.id = t.id", 4506),
        ("CREATE VIEW w AS SELECT id FROM #mine", 4508),
        ("CREATE VIEW w (id) AS SELECT id FROM t", 40_517),
        ("CREATE VIEW w AS SELECT id FROM t WITH CHECK OPTION", 102),
        ("CREATE VIEW w AS SELECT name FROM sys.databases", 40_517),
        ("CREATE VIEW w AS SELECT id FROM master.dbo.other", 208),
        ("CREATE VIEW w AS SELECT id, GETDATE() AS made FROM t", 40_517),
        ("DROP VIEW w", 3701),
        ("DROP VIEW t", 3705),
        ("DROP TABLE v", 3705),
    ] {
        assert_eq!(run(&mut session, sql).await.numbers(), [number], "{sql}");
    }
    let again = "SELECT COUNT(*) FROM sys.views";
    assert_eq!(run(&mut session, again).await.row(), ["1"], "nothing of it was made");
}

#[tokio::test]
async fn a_view_whose_table_is_gone_is_an_error_of_its_own_only() {
    let (_server, mut session) = with_tables().await;
    run(&mut session, "CREATE VIEW v AS SELECT id FROM t").await.fine();
    run(&mut session, "DROP TABLE t").await.fine();
    assert_eq!(run(&mut session, "SELECT id FROM v").await.numbers(), [208]);
    run(&mut session, "CREATE TABLE w (id int); INSERT INTO w VALUES (1); ALTER TABLE u ADD more int").await.fine();
    assert_eq!(run(&mut session, "SELECT name FROM sys.views").await.row(), ["v"]);
    run(&mut session, "CREATE TABLE t (id int); INSERT INTO t VALUES (7)").await.fine();
    assert_eq!(run(&mut session, "SELECT id FROM v").await.row(), ["7"]);
    run(&mut session, "DROP TABLE t; DROP VIEW v").await.fine();
}

#[tokio::test]
async fn a_view_is_made_with_its_permission_and_read_with_one_on_it_alone() {
    let (server, mut session) = with_tables().await;
    run(&mut session, &format!("CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'; CREATE USER app FOR LOGIN app"))
        .await
        .fine();
    let mut app = login(&server, "app", "shop").await.unwrap();
    let view = "CREATE VIEW v AS SELECT id FROM t";
    assert_eq!(run(&mut app, view).await.numbers(), [262]);
    run(&mut session, view).await.fine();
    assert_eq!(run(&mut app, "SELECT id FROM v").await.numbers(), [229]);
    run(&mut session, "GRANT SELECT ON v TO app").await.fine();
    assert_eq!(run(&mut app, "SELECT COUNT(*) FROM v").await.row(), ["2"]);
    assert_eq!(run(&mut app, "SELECT id FROM t").await.numbers(), [229]);
    run(&mut session, "GRANT CREATE VIEW TO app").await.fine();
    run(&mut app, "CREATE VIEW own AS SELECT id FROM v").await.fine();
}
