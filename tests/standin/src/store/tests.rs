//! Images, truncation and transactions that are thrown out, without a server around them.

use super::{database::Database, disk::Disk, transaction::Transaction};
use std::sync::Arc;

async fn with_one_row_and_one_that_is_open(disk: &Disk) -> (Arc<Database>, Transaction) {
    let database = Database::open(disk, "shop", true).unwrap();
    for sql in ["CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)"] {
        let mut transaction = database.begin().await.unwrap();
        transaction.execute(sql, &[]).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let mut open = database.begin().await.unwrap();
    open.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
    (database, open)
}

#[tokio::test]
async fn an_image_holds_what_is_committed_while_a_transaction_is_open() {
    let disk = Disk::memory();
    let (database, open) = with_one_row_and_one_that_is_open(&disk).await;
    let (lsn, fork, bytes) = database.image().unwrap();
    open.commit().await.unwrap();
    let copy = Database::open(&Disk::memory(), "shop", true).unwrap();
    copy.seed(lsn, fork, bytes).unwrap();
    let ids =
        |database: Arc<Database>| async move { database.query("SELECT id FROM t", &[]).await.unwrap().rows.len() };
    assert_eq!((ids(copy).await, ids(database).await), (1, 2));
}

#[tokio::test]
async fn a_log_is_truncated_while_a_transaction_is_open_and_what_was_committed_survives() {
    let disk = Disk::memory();
    let (database, open) = with_one_row_and_one_that_is_open(&disk).await;
    database.truncate_log(u64::MAX).unwrap();
    assert_eq!((database.truncated(), database.records_after(0, 10).len()), (2, 0));
    open.commit().await.unwrap();
    let again = Database::open(&disk, "shop", true).unwrap();
    assert_eq!(again.query("SELECT id FROM t", &[]).await.unwrap().rows.len(), 2);
}

async fn insert(database: &Arc<Database>, id: i64) -> Transaction {
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(&format!("INSERT INTO t VALUES ({id})"), &[]).await.unwrap();
    transaction
}

#[tokio::test]
async fn what_was_hardened_and_thrown_out_is_committed_before_the_next_transaction() {
    let disk = Disk::memory();
    let database = Database::open(&disk, "shop", true).unwrap();
    let mut table = database.begin().await.unwrap();
    table.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)", &[]).await.unwrap();
    table.commit().await.unwrap();
    let mut severed = insert(&database, 1).await;
    severed.harden().unwrap();
    database.throw_out();
    drop(severed);
    let mut again = database.begin().await.unwrap();
    again.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    drop(again);
    insert(&database, 2).await.commit().await.unwrap();
    // Whoever has only the log comes to the same.
    let copy = Database::open(&disk, "shop", true).unwrap();
    for database in [database, copy] {
        assert_eq!(database.query("SELECT id FROM t", &[]).await.unwrap().rows.len(), 2);
    }
}
