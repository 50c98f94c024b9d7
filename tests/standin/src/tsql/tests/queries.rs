use super::*;

#[tokio::test]
async fn names_and_text_compare_without_case_and_trailing_spaces() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE People (Name nvarchar(20)); INSERT INTO PEOPLE VALUES (N'Ada'), (N'bob ')")
        .await
        .fine();
    assert_eq!(
        run(&mut session, "SELECT name FROM dbo.people WHERE NAME IN (N'ADA', N'BOB') ORDER BY name").await.column(),
        ["Ada", "bob "]
    );
    assert_eq!(run(&mut session, "SELECT CASE WHEN N'a' = 'A ' THEN 1 ELSE 0 END").await.row(), ["1"]);
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM people WHERE name LIKE N'[a-c]D%'").await.row(), ["1"]);
}

#[tokio::test]
async fn expressions_have_sql_server_types_and_values() {
    let mut session = sa().await;
    for (sql, value, kind) in [
        ("SELECT 7 / 2", "3", SqlType::Int),
        ("SELECT 'a' + 'b'", "ab", SqlType::VarChar(2)),
        ("SELECT N'a' + CAST(5 AS nvarchar(3))", "a5", SqlType::NVarChar(4)),
        ("SELECT '5' + 1", "6", SqlType::Int),
        ("SELECT LEN(N'ab  ')", "2", SqlType::Int),
        ("SELECT ISNULL(NULL, 3)", "3", SqlType::Int),
        ("SELECT CONVERT(varchar(30), 0xAB01, 1)", "0xAB01", SqlType::VarChar(30)),
        ("SELECT CAST('2026-01-31' AS datetime)", "2026-01-31 00:00:00.000000", SqlType::DateTime),
        ("SELECT DATEDIFF(second, '2026-01-01', '2026-01-01 00:01:00')", "60", SqlType::Int),
        ("SELECT CONVERT(varchar(10), DATEADD(month, 1, '2026-01-31'), 23)", "2026-02-28", SqlType::VarChar(10)),
        ("SELECT IIF(1 = 1, N'y', N'no')", "y", SqlType::NVarChar(2)),
        ("SELECT TRY_CAST(N'x' AS int)", "NULL", SqlType::Int),
        ("SELECT COUNT(*)", "1", SqlType::Int),
        ("SELECT CAST(1 AS bit)", "1", SqlType::Bit),
        ("SELECT 3000000000", "3000000000", SqlType::BigInt),
        ("SELECT AVG(v) FROM (VALUES (1), (2)) AS x(v)", "1", SqlType::Int),
        ("SELECT STRING_AGG(v, ',') FROM (SELECT 'a' AS v UNION ALL SELECT 'b') AS x", "a,b", SqlType::NVarChar(4000)),
        ("SELECT LEFT('abc', 2) + RIGHT('xyz', 1)", "abz", SqlType::VarChar(6)),
        ("SELECT SUBSTRING('abcdef', 2, 3)", "bcd", SqlType::VarChar(6)),
        ("SELECT CHARINDEX('C', 'abc')", "3", SqlType::Int),
        ("SELECT QUOTENAME('a]b')", "[a]]b]", SqlType::NVarChar(258)),
        ("SELECT COALESCE(NULL, 'x', 'yy')", "x", SqlType::VarChar(2)),
        ("SELECT 10 % 4", "2", SqlType::Int),
        ("SELECT REPLACE('aXa', 'x', 'b')", "aba", SqlType::NVarChar(4000)),
    ] {
        let answer = run(&mut session, sql).await;
        assert_eq!(answer.row(), [value], "{sql}");
        assert_eq!(answer.kinds(), [kind], "{sql}");
    }
}

#[tokio::test]
async fn top_joins_ctes_subqueries_and_grouping_work() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE a (id int, g varchar(5)); INSERT INTO a VALUES (1,'x'),(2,'x'),(3,'y')")
        .await
        .fine();
    let sql = "SELECT TOP (1) g, COUNT(*) AS n FROM a GROUP BY g HAVING COUNT(*) > 1 ORDER BY n DESC";
    assert_eq!(run(&mut session, sql).await.row(), ["x", "2"]);
    let sql = "WITH q AS (SELECT id, g FROM a WHERE id > 1) SELECT q.id FROM q LEFT JOIN a AS b ON b.id = q.id + 1 WHERE b.id IS NULL";
    assert_eq!(run(&mut session, sql).await.column(), ["3"]);
    let sql = "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT SUM(i) FROM n";
    assert_eq!(run(&mut session, sql).await.row(), ["15"]);
    let sql = "SELECT (SELECT MAX(id) FROM a WHERE a.g = b.g) FROM a AS b WHERE EXISTS (SELECT 1 FROM a WHERE id = 3) AND b.id = 1";
    assert_eq!(run(&mut session, sql).await.row(), ["2"]);
    let sql = "SELECT id FROM a ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY";
    assert_eq!(run(&mut session, sql).await.row(), ["2"]);
    assert_eq!(
        run(&mut session, "SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY id DESC) AS r FROM a WHERE id = 2")
            .await
            .row(),
        ["2", "1"]
    );
}

#[tokio::test]
async fn an_empty_result_leaves_an_assigned_variable_alone() {
    let mut session = sa().await;
    assert_eq!(run(&mut session, "DECLARE @x int = 4 SELECT @x = 1 WHERE 1 = 0 SELECT @x").await.row(), ["4"]);
}

#[tokio::test]
async fn a_statement_keyword_is_no_alias() {
    let mut session = sa().await;
    let answer = run(&mut session, "BEGIN TRAN SELECT 0 ROLLBACK TRANSACTION SELECT @@TRANCOUNT").await.fine();
    assert_eq!(answer.sets.len(), 2);
    assert_eq!(answer.sets[1].1, vec![vec![Value::Int(0)]]);
}

#[tokio::test]
async fn unknown_functions_and_columns_are_named() {
    let mut session = sa().await;
    for (sql, number) in [
        ("SELECT dbo.nothing(1)", 4121),
        ("SELECT nothing(1)", 195),
        ("SELECT x.a FROM sys.databases AS y", 4104),
        ("SELECT [not a column] FROM sys.databases", 207),
        ("SELECT a", 207),
        ("SELECT CAST(N'abc' AS int)", 245),
        ("SELECT CAST(N'abc' AS uniqueidentifier)", 8169),
    ] {
        assert_eq!(run(&mut session, sql).await.numbers(), [number], "{sql}");
    }
}
