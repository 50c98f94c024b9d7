//! What clients that nobody here wrote may send, byte by byte: prepared calls, attention, transactions, resets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use futures::future::BoxFuture;
use standin::{
    net::{Listener, Stream},
    tds::{Encryption, listen},
};
use std::{io, time::Duration};
use support::{
    Script,
    raw::{
        ATTENTION, BATCH, HEADERS, LOGIN, OUT_INT, PRELOGIN, RPC, Raw, TRANSACTION, batch, call, contains, done, error,
        int, login, packet, prelogin, text, wide,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_login_is_in_the_order_that_every_client_accepts() {
    let mut raw = Raw::open(&Script::new());
    raw.ask(&prelogin()).await;
    let answer = raw.ask(&login(8_000)).await;
    let mut seen = Vec::new();
    let mut rest = &answer[..];
    while rest[0] != 0xFD {
        let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
        let detail = if rest[0] == 0xAB { i32::from_le_bytes(rest[3..7].try_into().unwrap()) } else { rest[3].into() };
        seen.push((rest[0], detail));
        rest = &rest[3 + length..];
    }
    let info = [(0xE3, 1), (0xAB, 5701), (0xE3, 7), (0xE3, 2), (0xAB, 5703), (0xAD, 1), (0xE3, 4)];
    assert_eq!(seen, info);
    assert_eq!(rest, done(0xFD, 0));
    assert!(contains(&answer, &[0xE3, 8, 0, 7, 5, 9, 4, 0xD0, 0, 0x34, 0]), "collation");
    assert!(contains(&answer, &[0x74, 0, 0, 4]), "TDS version");
    assert!(contains(&answer, &wide("8000")), "packet size");
}

#[tokio::test(start_paused = true)]
async fn an_attention_ends_the_answer_and_is_acknowledged_in_a_message_of_its_own() {
    let script = Script::new();
    let mut raw = Raw::logged_in(&script).await;
    raw.send(&batch("WAITFOR DELAY '00:00:05'")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(raw.ask(&packet(ATTENTION, 1, &[])).await, done(0xFD, 2));
    assert_eq!(raw.receive().await, done(0xFD, 0x20));
    assert_eq!(script.log(), ["batch dropped"]);
    assert!(contains(&raw.ask(&batch("SELECT 7")).await, &[0xD1, 4, 7, 0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn an_attention_in_the_middle_of_rows_ends_them_between_two_tokens() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    raw.send(&batch("SLOWLY")).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    raw.send(&packet(ATTENTION, 1, &[])).await;
    let answer = raw.receive().await;
    assert_eq!(answer.iter().filter(|byte| **byte == 0xD1).count(), 2);
    assert!(answer.ends_with(&done(0xFD, 2)));
    assert_eq!(raw.receive().await, done(0xFD, 0x20));
}

#[tokio::test(start_paused = true)]
async fn an_attention_when_nothing_runs_is_acknowledged_too() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    assert_eq!(raw.ask(&packet(ATTENTION, 1, &[])).await, done(0xFD, 0x20));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_while_another_runs_waits_for_its_turn() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    raw.send(&batch("WAITFOR DELAY '00:00:05'")).await;
    raw.send(&batch("SELECT 7")).await;
    assert_eq!(raw.receive().await, done(0xFD, 0));
    assert!(contains(&raw.receive().await, &[0xD1, 4, 7, 0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn requests_without_end_while_another_runs_end_the_connection() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    raw.send(&batch("WAITFOR DELAY '00:00:05'")).await;
    for _ in 0..9 {
        raw.send(&batch("SELECT 7")).await;
    }
    assert_eq!(raw.ended().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_cuts_every_connection_and_closes_the_port() {
    struct Port(mpsc::Receiver<Stream>);
    impl Listener for Port {
        fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
            Box::pin(async { self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe.into()) })
        }
    }
    let (knock, port) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap() };
    let served = tokio::spawn(listen(Script::new(), Box::new(Port(port)), None, Encryption::Off, shutdown));
    let (mut near, far) = tokio::io::duplex(4_096);
    knock.send(Box::new(far) as Stream).await.unwrap();
    near.write_all(&prelogin()).await.unwrap();
    near.read_exact(&mut [0; 8]).await.unwrap();
    stop.send(()).unwrap();
    served.await.unwrap();
    near.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(knock.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_batch_runs_drops_it() {
    let script = Script::new();
    let mut raw = Raw::logged_in(&script).await;
    raw.send(&batch("WAITFOR DELAY '00:00:05'")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Raw { stream, served } = raw;
    drop(stream);
    served.await.unwrap().unwrap();
    assert_eq!(script.log(), ["batch dropped", "session dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_statement_is_prepared_run_by_handle_and_forgotten() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    let handle = [&[0xAC, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0x26, 4, 4][..], &1_i32.to_le_bytes()].concat();
    // sp_prepexec runs at once and returns the handle after the status.
    let answer = raw.ask(&call(13, &[OUT_INT, &text("@a int"), &text("ECHO"), &int(5)])).await;
    assert!(contains(&answer, &[0xD1, 4, 5, 0, 0, 0]));
    let tail = [&[0x79, 0, 0, 0, 0][..], &handle, &[0xFE, 0, 0, 0xE0, 0], &[0; 8]].concat();
    assert!(answer.ends_with(&tail));
    assert!(contains(&raw.ask(&call(12, &[&int(1), &int(6)])).await, &[0xD1, 4, 6, 0, 0, 0]));
    assert!(!contains(&raw.ask(&call(15, &[&int(1)])).await, &error(8179)));
    assert!(contains(&raw.ask(&call(12, &[&int(1), &int(6)])).await, &error(8179)));
    // sp_prepare only returns a handle.
    let answer = raw.ask(&call(11, &[OUT_INT, &text("@a int"), &text("ECHO"), &int(1)])).await;
    assert!(!contains(&answer, &[0xD1]) && contains(&answer, &2_i32.to_le_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_procedure_returns_rows_status_and_output_parameters() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    let parameter = [&[2][..], &wide("@a"), &[1, 0x26, 4, 4, 9, 0, 0, 0]].concat();
    let body = [&HEADERS[..], &[8, 0], &wide("dbo.echo"), &[0, 0], &parameter].concat();
    let answer = raw.ask(&packet(RPC, 1, &body)).await;
    assert!(contains(&answer, &[0xFF, 0x11, 0, 0xC1, 0, 1]), "DONEINPROC with its count");
    let value = [&[0xAC, 0, 0, 2][..], &wide("@a"), &[1, 0, 0, 0, 0, 1, 0, 0x26, 4, 4, 9, 0, 0, 0]].concat();
    let tail = [&[0x79, 7, 0, 0, 0][..], &value, &[0xFE, 0, 0, 0xE0, 0], &[0; 8]].concat();
    assert!(answer.ends_with(&tail));
}

#[tokio::test(start_paused = true)]
async fn several_calls_in_one_request_are_one_answer() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    let one = |value| [&[0xFF, 0xFF, 10, 0, 0, 0][..], &text("ECHO"), &text("@a int"), &int(value)].concat();
    let answer = raw.ask(&packet(RPC, 1, &[&HEADERS[..], &one(1), &[0xFF], &one(2)].concat())).await;
    assert!(contains(&answer, &[0xFE, 1, 0, 0xE0]), "the first DONEPROC says that more follows");
    assert!(answer.ends_with(&[&[0xFE, 0, 0, 0xE0, 0][..], &[0; 8]].concat()));
}

#[tokio::test(start_paused = true)]
async fn transactions_begin_and_end_with_their_descriptor() {
    let script = Script::new();
    let mut raw = Raw::logged_in(&script).await;
    let order = |body: &[u8]| packet(TRANSACTION, 1, &[&HEADERS[..], body].concat());
    let begun = [&[0xE3, 11, 0, 8, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &done(0xFD, 0)].concat();
    assert_eq!(raw.ask(&order(&[5, 0, 0, 0])).await, begun);
    let committed = [&[0xE3, 11, 0, 9, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0][..], &done(0xFD, 0)].concat();
    assert_eq!(raw.ask(&order(&[7, 0, 0, 0])).await, committed);
    let answer = raw.ask(&order(&[7, 0, 0, 0])).await;
    assert!(contains(&answer, &error(3902)) && answer.ends_with(&done(0xFD, 2)));
    let rolled_back = raw.ask(&order(&[8, 0, 0, 0])).await;
    assert_eq!(rolled_back[..4], [0xE3, 11, 0, 10]);
    assert!(contains(&raw.ask(&order(&[1, 0, 0, 0])).await, &error(40517)));
    assert_eq!(script.log(), ["begin", "commit", "commit", "rollback"]);
}

#[tokio::test(start_paused = true)]
async fn a_pooled_connection_is_reset_before_its_next_request() {
    let script = Script::new();
    let mut raw = Raw::logged_in(&script).await;
    raw.ask(&batch("USE orders")).await;
    let mut request = batch("SELECT 7");
    request[1] |= 8;
    let answer = raw.ask(&request).await;
    assert!(answer.starts_with(&[0xE3, 3, 0, 18, 0, 0, 0xE3]), "reset, then the database");
    assert_eq!(script.log(), ["reset"]);
}

#[tokio::test(start_paused = true)]
async fn calls_and_batches_that_cannot_be_read_are_errors_and_the_connection_goes_on() {
    let mut raw = Raw::logged_in(&Script::new()).await;
    assert!(contains(&raw.ask(&call(10, &[&[0, 0, 0xF3, 1, 2, 3]])).await, &error(8009)));
    assert!(contains(&raw.ask(&call(99, &[])).await, &error(8009)));
    assert!(contains(&raw.ask(&packet(RPC, 1, &[9, 9])).await, &error(4002)));
    assert!(contains(&raw.ask(&packet(BATCH, 1, &[0xFF; 9])).await, &error(4002)));
    assert!(contains(&raw.ask(&packet(BATCH, 1, &[&HEADERS[..], &[0, 0xD8]].concat())).await, &error(4002)));
    assert!(contains(&raw.ask(&packet(TRANSACTION, 1, &[])).await, &error(4002)));
    assert!(contains(&raw.ask(&batch("SELECT 7")).await, &[0xD1, 4, 7, 0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn messages_of_no_known_type_end_the_connection() {
    for kind in [0, 2, 4, 7, 8, LOGIN, 17, PRELOGIN, 0xFF] {
        let mut raw = Raw::logged_in(&Script::new()).await;
        raw.send(&packet(kind, 1, &[])).await;
        assert_eq!(raw.ended().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_skips_prelogin_or_tls_is_refused() {
    let mut raw = Raw::open(&Script::new());
    raw.send(&login(4_096)).await;
    assert_eq!(raw.ended().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    // Encryption was agreed on, and then a login came in clear.
    let mut raw = Raw::open(&Script::new());
    raw.ask(&packet(PRELOGIN, 1, &[1, 0, 6, 0, 1, 0xFF, 1])).await;
    raw.send(&login(4_096)).await;
    assert_eq!(raw.ended().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_cannot_be_read_is_17832() {
    let mut raw = Raw::open(&Script::new());
    raw.ask(&prelogin()).await;
    assert!(contains(&raw.ask(&packet(LOGIN, 1, &[0; 100])).await, &error(17832)));
    raw.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_does_not_stop_the_server_from_noticing_that_it_left() {
    let script = Script::new();
    let mut raw = Raw::logged_in(&script).await;
    raw.send(&batch("MANY")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Raw { stream, served } = raw;
    drop(stream);
    assert!(served.await.unwrap().is_err());
    assert_eq!(script.log(), ["session dropped"]);
}
