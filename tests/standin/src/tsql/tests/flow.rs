use super::*;

#[tokio::test]
async fn if_else_while_and_variables_run_as_written() {
    let mut session = sa().await;
    let sql = "DECLARE @i int = 0, @text nvarchar(50) = N''
        WHILE @i < 10
        BEGIN
            SET @i += 1
            IF @i = 3 CONTINUE
            IF @i > 5 BREAK
            SET @text = @text + CAST(@i AS nvarchar(10)) + N','
        END
        IF @i = 6 SELECT @text AS t ELSE SELECT N'wrong' AS t";
    assert_eq!(run(&mut session, sql).await.row(), ["1,2,4,5,"]);
}

#[tokio::test]
async fn a_statement_error_goes_on_with_the_next_statement() {
    let mut session = sa().await;
    let answer = run(&mut session, "SELECT 1/0; SELECT 2 AS two").await;
    assert_eq!(answer.numbers(), [8134]);
    assert_eq!(answer.sets.len(), 1);
}

#[tokio::test]
async fn xact_abort_ends_the_batch_and_the_transaction() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)").await.fine();
    let answer = run(
        &mut session,
        "SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); SELECT 3",
    )
    .await;
    assert_eq!(answer.numbers(), [2627]);
    assert!(answer.sets.is_empty());
    assert_eq!(run(&mut session, "SELECT @@TRANCOUNT, COUNT(*) FROM t").await.row(), ["0", "0"]);
}

#[tokio::test]
async fn without_xact_abort_the_transaction_goes_on_after_a_constraint_error() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)").await.fine();
    let answer = run(
        &mut session,
        "BEGIN TRAN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT",
    )
    .await;
    assert_eq!(answer.numbers(), [2627]);
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM t").await.row(), ["2"]);
}

#[tokio::test]
async fn a_bare_throw_hands_the_error_on_with_its_number() {
    let mut session = sa().await;
    let sql = "BEGIN TRY\n  THROW 50001, N'first', 3;\nEND TRY\nBEGIN CATCH\n  PRINT ERROR_MESSAGE();\n  THROW;\nEND CATCH;\nSELECT 1";
    let answer = run(&mut session, sql).await;
    assert_eq!(answer.numbers(), [50_001]);
    assert_eq!((answer.errors[0].state, answer.errors[0].line), (3, 2));
    assert_eq!(answer.infos[0].text, "first");
    assert!(answer.sets.is_empty(), "THROW ends the batch");
}

#[tokio::test]
async fn catch_knows_number_severity_state_line_and_message() {
    let mut session = sa().await;
    let sql = "BEGIN TRY\nSELECT 1/0\nEND TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_STATE(), ERROR_LINE(), ERROR_MESSAGE(), XACT_STATE() END CATCH";
    let answer = run(&mut session, sql).await;
    assert_eq!(answer.row(), ["8134", "16", "1", "2", "Divide by zero error encountered.", "0"]);
}

#[tokio::test]
async fn a_batch_that_does_not_parse_runs_no_statement() {
    let mut session = sa().await;
    let answer = run(&mut session, "CREATE TABLE t (id int); SELEC 1").await;
    assert_eq!(answer.numbers(), [102]);
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM sys.tables").await.row(), ["0"]);
    assert_eq!(run(&mut session, "SELECT @nobody").await.numbers(), [137]);
    assert_eq!(run(&mut session, "SELECT 'open").await.numbers(), [105]);
}

#[tokio::test]
async fn what_is_not_supported_says_so_by_name() {
    let mut session = sa().await;
    for (sql, word) in [
        ("MERGE INTO t USING s ON 1=1 WHEN MATCHED THEN DELETE;", "MERGE"),
        ("SELECT 1 AS a FOR JSON PATH", "FOR"),
        ("CREATE TRIGGER x ON t AFTER INSERT AS SELECT 1", "CREATE TRIGGER"),
        ("DECLARE @t TABLE (a int)", "table variable"),
    ] {
        let answer = run(&mut session, sql).await;
        assert_eq!(answer.errors.len(), 1, "{sql}: {answer:?}");
        assert!(answer.errors[0].text.contains(word), "{sql}: {:?}", answer.errors);
    }
}

#[tokio::test]
async fn a_doomed_transaction_can_only_be_rolled_back() {
    let mut session = sa().await;
    run(&mut session, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)").await.fine();
    let sql = "SET XACT_ABORT ON; BEGIN TRAN; BEGIN TRY INSERT INTO t VALUES (1); INSERT INTO t VALUES (1) END TRY
        BEGIN CATCH SELECT XACT_STATE() AS x; ROLLBACK END CATCH";
    assert_eq!(run(&mut session, sql).await.row(), ["-1"]);
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM t").await.row(), ["0"]);
}

#[tokio::test]
async fn deep_nesting_is_an_error_and_not_a_crash() {
    let mut session = sa().await;
    let deep = format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000));
    assert_eq!(run(&mut session, &deep).await.numbers(), [191]);
    let long = format!("SELECT 1{}", " + 1".repeat(5_000));
    assert_eq!(run(&mut session, &long).await.numbers(), [191]);
    let blocks = "BEGIN ".repeat(5_000);
    assert_eq!(run(&mut session, &blocks).await.numbers(), [191]);
    let fits = format!("SELECT 1{}", " + 1".repeat(400));
    assert_eq!(run(&mut session, &fits).await.row(), ["401"]);
}

#[tokio::test]
async fn raiserror_below_eleven_is_information() {
    let mut session = sa().await;
    let answer = run(&mut session, "RAISERROR('n %d of %s', 10, 1, 3, 'x'); RAISERROR(N'bad', 16, 2)").await;
    assert_eq!(answer.infos[0].text, "n 3 of x");
    assert_eq!(answer.numbers(), [50_000]);
}

#[tokio::test(start_paused = true)]
async fn waitfor_waits_on_the_clock_that_drives_everything() {
    let mut session = sa().await;
    let before = tokio::time::Instant::now();
    run(&mut session, "WAITFOR DELAY '00:00:05'").await.fine();
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn procedures_take_defaults_and_give_outputs() {
    let mut session = sa().await;
    run(&mut session, "CREATE PROCEDURE dbo.double @n int, @add int = 1, @out int OUTPUT AS BEGIN SET @out = @n * 2 + @add; RETURN 4 END").await.fine();
    let sql = "DECLARE @r int, @o int; EXEC @r = dbo.double @n = 5, @out = @o OUTPUT; SELECT @r, @o";
    assert_eq!(run(&mut session, sql).await.row(), ["4", "11"]);
    let sql = "DECLARE @o int; EXEC sp_executesql N'SET @b = @a + 1', N'@a int, @b int OUTPUT', @a = 41, @b = @o OUTPUT; SELECT @o";
    assert_eq!(run(&mut session, sql).await.row(), ["42"]);
    assert_eq!(run(&mut session, "EXEC nobody").await.numbers(), [2812]);
}

#[tokio::test]
async fn what_was_set_and_used_in_dynamic_sql_or_a_procedure_ends_with_it() {
    let mut session = sa().await;
    run(&mut session, "CREATE DATABASE shop").await.fine();
    let state = "SELECT DB_NAME(), @@LOCK_TIMEOUT";
    let changes = format!("SET LOCK_TIMEOUT 500; USE shop; {state}");
    for sql in [format!("EXEC (N'{changes}'); {state}"), format!("EXEC sp_executesql N'{changes}'; {state}")] {
        let answer = run(&mut session, &sql).await.fine();
        let rows: Vec<Vec<String>> = answer.sets.iter().map(|(_, rows)| rows[0].iter().map(shown).collect()).collect();
        assert_eq!(rows, [["shop", "500"], ["master", "-1"]], "{sql}");
    }
    let failing = "BEGIN TRY EXEC (N'USE shop; SELECT 1 / 0') END TRY BEGIN CATCH PRINT N'' END CATCH";
    run(&mut session, failing).await.fine();
    assert_eq!(run(&mut session, state).await.row(), ["master", "-1"], "by an error, too");
    run(&mut session, "CREATE PROCEDURE dbo.patient AS SET LOCK_TIMEOUT 7").await.fine();
    run(&mut session, "EXEC dbo.patient").await.fine();
    assert_eq!(run(&mut session, state).await.row(), ["master", "-1"]);
    run(&mut session, "SET LOCK_TIMEOUT 9; USE shop").await.fine();
    assert_eq!(run(&mut session, state).await.row(), ["shop", "9"], "a batch of the client's keeps both");
}
