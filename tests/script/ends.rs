//! How a run ends before its end.

use crate::stage::Stage;
use std::time::Duration;

/// Leaves a word, then waits for a minute.
const SLOW: &str = "INSERT INTO dbo.log (word) VALUES (N'begun')\nGO\n\nINSERT INTO dbo.log (word) VALUES (N'slow');\nWAITFOR DELAY '00:01:00';\nINSERT INTO dbo.log (word) VALUES (N'late')\nGO\n";
const WORD: &str = "INSERT INTO dbo.log (word) VALUES (N'x')\n";

#[tokio::test(start_paused = true)]
async fn an_error_names_its_file_and_line_and_what_was_run_and_what_was_not() {
    let stage = Stage::promoted().await;
    let bad = format!("{WORD}GO\n\n{WORD}\nINSERT INTO dbo.missing VALUES (1)\n{WORD}GO\n{WORD}");
    let error = stage.run(&[("a.sql", WORD), ("b.sql", &bad), ("c.sql", WORD)]).await.error();
    assert_eq!(
        error,
        "b.sql:6: error 208, severity 16, state 1: Invalid object name 'dbo.missing'. (batch 2 of 3, lines 3 to 7). \
         Run: a.sql, 1 of 3 batches of b.sql. Not run: batch 2 of b.sql to its end, the rest of b.sql, c.sql. \
         This copy is changed in part: repeat the upgrade with a fresh one."
    );
}

#[tokio::test(start_paused = true)]
async fn text_that_is_no_t_sql_is_named_with_its_line() {
    let stage = Stage::promoted().await;
    let error = stage.run(&[("a.sql", "SELECT 1\nGO\n\nSELEKT 2 FROM x\n")]).await.error();
    assert!(error.starts_with("a.sql:4: error 102, severity 15, "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_procedure_names_the_batch_that_called_it() {
    let stage = Stage::promoted().await;
    let text = "CREATE PROCEDURE dbo.fails AS\n\nTHROW 51000, N'one\nline', 1\nGO\n\nEXEC dbo.fails\n";
    let error = stage.run(&[("a.sql", text)]).await.error();
    assert!(error.starts_with("a.sql:") && error.contains("error 51000, ") && error.contains("one line"), "{error}");
    assert!(!error.contains('\n'));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_a_file_leaves_open_is_an_error() {
    let stage = Stage::promoted().await;
    let error = stage.run(&[("a.sql", &format!("BEGIN TRANSACTION\n{WORD}")), ("b.sql", "COMMIT")]).await.error();
    assert!(
        error.starts_with("a.sql: ") && error.contains("it left a transaction open, which is rolled back"),
        "{error}"
    );
    assert_eq!(stage.words().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_second_runner_is_refused_while_the_first_one_runs() {
    let stage = Stage::promoted().await;
    let files = [("a.sql", SLOW)];
    let (first, second) = tokio::join!(stage.run(&files), async {
        stage.until_running().await;
        stage.run(&files).await
    });
    let error = second.error();
    assert!(error.contains("another run of this script has not ended") && error.contains("Run: nothing."), "{error}");
    first.fine();
    assert_eq!(stage.words().await, ["begun", "slow", "late"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_the_running_batch_is_named_and_its_connection_closed() {
    for (within, batch_within, why) in [
        (20, None, "the time of the whole run is over"),
        (600, Some(20), "the time of a batch is over"),
        (20, Some(30), "the time of the whole run is over"),
    ] {
        let stage = Stage::promoted().await;
        let mut order = stage.order();
        (order.within, order.batch_within) = (Duration::from_secs(within), batch_within.map(Duration::from_secs));
        let began = tokio::time::Instant::now();
        let error = stage.run_as(&order, &[("a.sql", SLOW), ("b.sql", WORD)]).await.error();
        assert!((20..25).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        let expected = format!(
            "a.sql:3: the connection was closed while this was running, and what it did is not known: batch 2 of 2, lines 3 to 6: {why}. \
             Run: 1 of 2 batches of a.sql. Not run: batch 2 of a.sql to its end, b.sql. This copy is changed in part: repeat the upgrade with a fresh one."
        );
        assert_eq!(error, expected);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(stage.sessions().await, "0");
        assert!(!stage.words().await.contains(&"late".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_asked_to_stop_stops_at_once() {
    let stage = Stage::promoted().await;
    let files = [("a.sql", SLOW)];
    let (ended, ()) = tokio::join!(stage.run(&files), async {
        stage.until_running().await;
        stage.stop.send_replace(true);
    });
    let error = ended.error();
    assert!(error.starts_with("a.sql:3: ") && error.contains("the process was asked to stop"), "{error}");
    let error = stage.run(&files).await.error();
    assert!(error.contains("no connection: the process was asked to stop"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_killed_ends_the_run() {
    let stage = Stage::promoted().await;
    let files = [("a.sql", SLOW)];
    let (ended, ()) = tokio::join!(stage.run(&files), async {
        stage.until_running().await;
        let sql =
            "SELECT CAST(session_id AS nvarchar(10)) FROM sys.dm_exec_sessions WHERE program_name = N'quorate-script'";
        let id = stage.sa(sql).await.concat();
        stage.sa(&format!("KILL {id}")).await;
    });
    let error = ended.error();
    assert!(error.starts_with("a.sql:") && error.contains("repeat the upgrade with a fresh one"), "{error}");
    assert!(!stage.words().await.contains(&"late".to_owned()));
}
