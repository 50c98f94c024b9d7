//! A second run of an attempt.

use crate::stage::{COMPLETION, Stage};
use quorate::sql::script::Script;

const ONE: (&str, &str) = ("1.sql", "INSERT INTO dbo.log (word) VALUES (N'one')");
const TWO: (&str, &str) =
    ("2.sql", "INSERT INTO dbo.log (word) VALUES (N'two')\nGO\nINSERT INTO dbo.log (word) VALUES (N'more')");

#[tokio::test(start_paused = true)]
async fn a_second_run_goes_on_behind_the_last_file_that_is_done() {
    let stage = Stage::promoted().await;
    let hash = Script::new([ONE]).unwrap().files[0].sha256.clone();
    stage.set("quorate_file:1.sql", &format!("6f1c/1 {hash} done")).await;
    let lines = stage.run(&[ONE, TWO]).await.fine();
    assert_eq!(stage.words().await, ["two", "more"]);
    assert!(lines.contains(&"1.sql: done by an earlier run of this attempt, left out".to_owned()), "{lines:?}");
    stage.run(&[ONE, TWO]).await.fine();
    assert_eq!(stage.words().await, ["two", "more"]);
    assert_eq!(stage.property("quorate_script_done").await, COMPLETION);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_cut_short_is_not_run_again() {
    let stage = Stage::promoted().await;
    let bad =
        [("1.sql", ONE.1), ("2.sql", "INSERT INTO dbo.log (word) VALUES (N'two')\nGO\nSELECT * FROM dbo.missing")];
    let error = stage.run(&bad).await.error();
    assert!(error.contains("This copy is changed in part: repeat the upgrade with a fresh one."), "{error}");
    assert_eq!(stage.property("quorate_script_done").await, "");
    for files in [bad, [ONE, TWO]] {
        let error = stage.run(&files).await.error();
        assert!(error.starts_with("2.sql: an earlier run of this attempt was cut short in it: which of its batches took effect is not known."), "{error}");
        assert!(
            error.ends_with(
                "Run: 1.sql. Not run: 2.sql. This copy is changed in part: repeat the upgrade with a fresh one."
            ),
            "{error}"
        );
    }
    assert_eq!(stage.words().await, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_changed_after_it_was_done_is_refused() {
    let stage = Stage::promoted().await;
    stage.run(&[ONE]).await.fine();
    let error = stage.run(&[("1.sql", TWO.1)]).await.error();
    assert!(error.starts_with("1.sql: it was changed after this attempt had run it."), "{error}");
    assert_eq!(stage.words().await, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_another_attempt_came_with_the_copy_and_means_nothing() {
    let stage = Stage::promoted().await;
    let hash = Script::new([ONE]).unwrap().files[0].sha256.clone();
    stage.set("quorate_file:1.sql", &format!("6f1c/0 {hash} done")).await;
    stage.set("quorate_file:2.sql", &format!("6f1c/0 {hash} started")).await;
    stage.set("quorate_script_done", "6f1c/0/bb").await;
    stage.run(&[ONE, TWO]).await.fine();
    assert_eq!(stage.words().await, ["one", "two", "more"]);
    assert_eq!(stage.property("quorate_script_done").await, COMPLETION);
    assert_eq!(stage.property("quorate_file:1.sql").await, format!("6f1c/1 {hash} done"));
}
