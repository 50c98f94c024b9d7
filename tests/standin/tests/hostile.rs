//! Hostile bytes: whatever a client sends, the server ends the connection or answers, and never panics.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::{
    Script,
    raw::{BATCH, HEADERS, LOGIN, RPC, Raw, TRANSACTION, batch, call, int, login, packet, prelogin, text},
};
use tokio::io::AsyncWriteExt;

/// Serves bytes and ends, whatever they are.
fn survive(before: &[Vec<u8>], bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut raw = Raw::open(&Script::new());
        for message in before {
            raw.ask(message).await;
        }
        let Raw { stream, served } = raw;
        let (mut reading, mut writing) = tokio::io::split(stream);
        let drain = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut reading, &mut tokio::io::sink()).await;
        });
        let _ = writing.write_all(bytes).await;
        let _ = writing.shutdown().await;
        drain.await.unwrap();
        let ended = served.await;
        assert!(ended.is_ok(), "the server panicked");
    });
}

fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = bytes.len();
    (Just(bytes), prop::collection::vec((0..length, any::<u8>()), 1..4), 0..=length).prop_map(
        |(mut bytes, changes, keep)| {
            changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            bytes.truncate(keep.max(1));
            bytes
        },
    )
}

fn requests() -> Vec<u8> {
    let parameters = call(10, &[&text("ECHO"), &text("@a int, @b nvarchar(10)"), &int(5), &text("x")]);
    [batch("SELECT 7"), parameters, packet(TRANSACTION, 1, &[&HEADERS[..], &[5, 0, 0, 0]].concat())].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_at_all_leave_the_server_unharmed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&[], &bytes);
        survive(&[prelogin(), login(4_096)], &bytes);
    }

    #[test]
    fn any_body_under_a_valid_header_leaves_the_server_unharmed(
        kind in prop::sample::select(vec![BATCH, RPC, TRANSACTION, LOGIN]),
        headers in any::<bool>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let body = if headers { [&HEADERS[..], &body].concat() } else { body };
        survive(&[prelogin(), login(4_096)], &packet(kind, 1, &body));
    }

    #[test]
    fn a_damaged_opening_leaves_the_server_unharmed(bytes in damaged([prelogin(), login(4_096)].concat())) {
        survive(&[], &bytes);
    }

    #[test]
    fn damaged_requests_leave_the_server_unharmed(bytes in damaged(requests())) {
        survive(&[prelogin(), login(4_096)], &bytes);
    }
}
