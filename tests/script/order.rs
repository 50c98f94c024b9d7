//! What is run, and how often.

use crate::stage::{ATTEMPT, COMPLETION, Stage};
use quorate::sql::script::Script;

/// A batch that leaves a word.
fn word(text: &str) -> String {
    format!("INSERT INTO dbo.log (word) VALUES (N'{text}');\n")
}

#[tokio::test(start_paused = true)]
async fn files_run_in_the_order_of_their_names_and_leave_journal_and_token() {
    let stage = Stage::promoted().await;
    let (one, two) = (format!("{}GO\n{}", word("one"), word("two")), word("three"));
    let lines = stage.run(&[("20.sql", &two), ("10.sql", &one)]).await.fine();
    assert_eq!(stage.words().await, ["one", "two", "three"]);
    for (name, text) in [("10.sql", &one), ("20.sql", &two)] {
        let hash = Script::new([(name, text)]).unwrap().files[0].sha256.clone();
        assert_eq!(stage.property(&format!("quorate_file:{name}")).await, format!("{ATTEMPT} {hash} done"));
    }
    assert_eq!(stage.property("quorate_script_done").await, COMPLETION);
    assert_eq!(stage.sessions().await, "0");
    let text = lines.join("\n");
    for part in ["10.sql: 2 batches, sha256 ", "10.sql: batch 2 of 2, lines 3 to 3: ", "20.sql: done in "] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_runs_as_often_as_its_go_says() {
    let stage = Stage::promoted().await;
    let lines =
        stage.run(&[("a.sql", &format!("{}GO 3\nSELECT word FROM dbo.log\nGO 2 -- twice\n", word("x")))]).await.fine();
    assert_eq!(stage.words().await, ["x", "x", "x"]);
    let text = lines.join("\n");
    assert!(text.contains("a.sql: batch 1 of 2, lines 1 to 1, 3 times: "), "{text}");
    assert!(text.contains("a.sql: batch 2 of 2, lines 3 to 3, 2 times, 6 rows came back: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_upgrade_goes_through() {
    let stage = Stage::promoted().await;
    let tables = "\u{feff}SET NOCOUNT ON;\r\nCREATE TABLE dbo.customer (id int NOT NULL PRIMARY KEY, name nvarchar(50) NOT NULL);\r\nINSERT INTO dbo.customer VALUES (1, N'it''s'), (2, N'ä');\r\nGO\r\nALTER TABLE dbo.customer ADD city nvarchar(50) NULL;\r\nGO\r\nUPDATE dbo.customer SET city = N'Kiel' WHERE id = 2;\r\nGO\r\n";
    let objects =
        "CREATE TABLE dbo.invoice (id int NOT NULL PRIMARY KEY, customer int NOT NULL REFERENCES dbo.customer (id))
CREATE INDEX customers ON dbo.invoice (customer)
GO
INSERT INTO dbo.invoice (id, customer) SELECT c.id + 100, c.id FROM dbo.customer AS c
GO
/* GO */
CREATE VIEW dbo.cities AS SELECT c.city, i.id FROM dbo.customer AS c JOIN dbo.invoice AS i ON i.customer = c.id
GO
CREATE PROCEDURE dbo.bill @customer int AS
BEGIN
    INSERT INTO dbo.log (word) SELECT city FROM dbo.cities WHERE id = @customer + 100
END
GO
BEGIN TRANSACTION
EXEC dbo.bill @customer = 2
GO
COMMIT
GO
";
    stage.run(&[("1-tables.sql", tables), ("2-objects.sql", objects)]).await.fine();
    assert_eq!(stage.words().await, ["Kiel"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_starts_in_the_database_and_with_the_options_of_the_run() {
    let stage = Stage::promoted().await;
    let first = format!("{}GO\nUSE master\nGO\nSET XACT_ABORT OFF\nSET QUOTED_IDENTIFIER OFF\n", word("one"));
    // With XACT_ABORT the second insert takes the first one along.
    let second = format!("{}INSERT INTO dbo.log (word) VALUES (NULL)", word("two"));
    let second = format!("BEGIN TRANSACTION\n{second}\nCOMMIT");
    let error = stage.run(&[("1.sql", &first), ("2.sql", &second)]).await.error();
    assert!(error.starts_with("2.sql:3: error 515, "), "{error}");
    assert_eq!(stage.words().await, ["one"]);
}
