//! The simulated network behaves as TCP does where it matters.
#![allow(clippy::unwrap_used)]

use standin::{net::Stream, sim::SimNet};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Two hosts, a and b, and a connection from a to port 1 of b.
async fn connected(net: &SimNet) -> (Stream, Stream) {
    let (a, b) = (net.host("a"), net.host("b"));
    let mut port = b.listen(1).await.unwrap();
    let (out, inn) = tokio::join!(a.dial("b.replicas.shop.svc", 1), port.accept());
    std::mem::forget(port);
    (out.unwrap(), inn.unwrap())
}

async fn read(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 64];
    let count = stream.read(&mut bytes).await?;
    bytes.truncate(count);
    Ok(bytes)
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_in_order_and_a_little_late() {
    let net = SimNet::new(1);
    let (mut a, mut b) = connected(&net).await;
    let began = tokio::time::Instant::now();
    a.write_all(b"one").await.unwrap();
    a.write_all(b"two").await.unwrap();
    let mut got = [0; 6];
    b.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"onetwo");
    assert!(began.elapsed() > Duration::ZERO);
    drop(a);
    assert_eq!(read(&mut b).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_nobody_is_called_so_or_nobody_is_there() {
    let net = SimNet::new(1);
    let (a, _b) = (net.host("a"), net.host("b"));
    let kind = |result: io::Result<Stream>| result.err().map(|error| error.kind());
    assert_eq!(kind(a.dial("b", 1).await), Some(io::ErrorKind::ConnectionRefused));
    assert_eq!(kind(a.dial("c", 1).await), Some(io::ErrorKind::NotFound));
    net.power_off("b");
    assert!(timeout(PATIENCE, a.dial("b", 1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_across_a_cut_arrives_when_it_is_healed() {
    let net = SimNet::new(1);
    let (mut a, mut b) = connected(&net).await;
    net.cut("a", "b");
    a.write_all(b"late").await.unwrap();
    assert!(timeout(PATIENCE, read(&mut b)).await.is_err());
    net.heal("a", "b");
    assert_eq!(read(&mut b).await.unwrap(), b"late");
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_lets_the_other_way_pass() {
    let net = SimNet::new(1);
    let (mut a, mut b) = connected(&net).await;
    net.cut_one_way("a", "b");
    b.write_all(b"back").await.unwrap();
    assert_eq!(read(&mut a).await.unwrap(), b"back");
    a.write_all(b"there").await.unwrap();
    assert!(timeout(PATIENCE, read(&mut b)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_resets_its_connections() {
    let net = SimNet::new(1);
    let (mut a, b) = connected(&net).await;
    net.kill("b");
    drop(b);
    assert_eq!(read(&mut a).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(a.write_all(b"x").await.is_err());
    let again = net.host("a").dial("b", 1).await;
    assert_eq!(again.err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
}

#[tokio::test(start_paused = true)]
async fn a_host_without_power_says_nothing_and_resets_old_connections_when_it_is_back() {
    let net = SimNet::new(1);
    let (mut a, b) = connected(&net).await;
    net.power_off("b");
    drop(b);
    a.write_all(b"into the dark").await.unwrap();
    assert!(timeout(PATIENCE, read(&mut a)).await.is_err());
    net.power_on("b");
    a.write_all(b"again").await.unwrap();
    assert_eq!(read(&mut a).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_keeps_its_ports_and_answers_nobody() {
    let net = SimNet::new(1);
    let (a, b) = (net.host("a"), net.host("b"));
    let mut port = b.listen(1).await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let mut stream = port.accept().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            std::mem::forget(stream);
        }
    });
    net.freeze("b");
    let mut stream = timeout(PATIENCE, a.dial("b", 1)).await.unwrap().unwrap();
    assert!(timeout(PATIENCE, read(&mut stream)).await.is_err());
    net.thaw("b");
    assert_eq!(read(&mut stream).await.unwrap(), b"hello");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn an_isolated_host_is_alone_until_healed() {
    let net = SimNet::new(1);
    let (mut a, mut b) = connected(&net).await;
    net.isolate("b");
    assert!(timeout(PATIENCE, net.host("a").dial("b", 1)).await.is_err());
    b.write_all(b"x").await.unwrap();
    net.heal_all();
    assert_eq!(read(&mut a).await.unwrap(), b"x");
    sleep(PATIENCE).await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_when_nobody_reads() {
    let net = SimNet::new(1);
    let (mut a, mut b) = connected(&net).await;
    let much = vec![7; 3 << 20];
    let writing = tokio::spawn(async move {
        a.write_all(&much).await.unwrap();
        a.shutdown().await.unwrap();
    });
    sleep(PATIENCE).await;
    assert!(!writing.is_finished());
    let mut all = Vec::new();
    b.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 3 << 20);
    writing.await.unwrap();
}
