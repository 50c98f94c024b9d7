//! The operator's client against the wire, over in-process streams on a paused clock.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use standin::tds::{Encryption, TlsSettings, serve};
use std::{sync::Arc, time::Duration};
use support::{GUID, PASSWORD, Script, VERSION};
use tiberius::{
    AuthMethod, Client, Config, EncryptionLevel, QueryItem,
    error::{Error, TokenError},
    numeric::Numeric,
};
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

type Connected = Client<Compat<DuplexStream>>;

const HOST: &str = "mssql-0.mssql.apps.svc.cluster.local";

/// A certificate authority, and a server's settings with a certificate of it.
fn certificates() -> (String, TlsSettings) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let settings = TlsSettings::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    (authority.pem(), settings)
}

fn config(level: EncryptionLevel) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.authentication(AuthMethod::sql_server("sa", PASSWORD));
    config.encryption(level);
    config.trust_cert();
    config
}

async fn connect(
    script: &Arc<Script>,
    config: Config,
    tls: Option<TlsSettings>,
    encryption: Encryption,
) -> Result<Connected, Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(serve(script.clone(), Box::new(far), tls, encryption));
    Client::connect(config, near.compat()).await
}

async fn plain(script: &Arc<Script>) -> Connected {
    connect(script, config(EncryptionLevel::NotSupported), None, Encryption::Off).await.unwrap()
}

async fn version(client: &mut Connected) -> String {
    let row = client.simple_query("SELECT @@VERSION").await.unwrap().into_row().await.unwrap().unwrap();
    row.get::<&str, _>(0).unwrap().to_owned()
}

async fn seven(client: &mut Connected) -> i32 {
    client.simple_query("SELECT 7").await.unwrap().into_row().await.unwrap().unwrap().get(0).unwrap()
}

/// The error that a batch fails with.
async fn failure(client: &mut Connected, sql: &str) -> TokenError {
    let result = async { client.simple_query(sql).await?.into_results().await };
    match result.await {
        Err(Error::Server(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_encryption_level_of_the_client_meets_every_one_of_the_server_that_it_should() {
    use EncryptionLevel::{NotSupported, Off, On, Required, Strict};
    let (_, tls) = certificates();
    let script = Script::new();
    let levels = [NotSupported, Off, On, Required, Strict];
    // This client insists on TLS at every level but NotSupported, and even there gives in to a server that requires it.
    for (encryption, works) in [
        (Encryption::Off, [true, false, false, false, false]),
        (Encryption::Optional, [true; 5]),
        (Encryption::Required, [true; 5]),
        (Encryption::Strict, [false, false, false, false, true]),
    ] {
        for (level, works) in levels.into_iter().zip(works) {
            let connected = connect(&script, config(level), Some(tls.clone()), encryption).await;
            match connected {
                Ok(mut client) => {
                    assert_eq!(version(&mut client).await, VERSION);
                    assert!(works, "{level:?} client and {encryption:?} server");
                }
                Err(error) => assert!(!works, "{level:?} client and {encryption:?} server: {error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pins_the_authority_accepts_the_servers_name_and_no_other() {
    let (authority, tls) = certificates();
    let script = Script::new();
    for (name, works) in [(HOST, true), ("mssql-1.mssql.apps.svc.cluster.local", false)] {
        let mut config = Config::new();
        config.host("127.0.0.1");
        config.authentication(AuthMethod::sql_server("sa", PASSWORD));
        config.encryption(EncryptionLevel::Required);
        config.trust_cert_ca_bundle(authority.as_bytes());
        config.hostname_in_certificate(name);
        let connected = connect(&script, config, Some(tls.clone()), Encryption::Required).await;
        assert_eq!(connected.is_ok(), works, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_brings_its_names_and_a_wrong_password_is_18456() {
    let script = Script::new();
    let mut good = config(EncryptionLevel::NotSupported);
    good.application_name("quorate");
    good.database("orders");
    good.readonly(true);
    connect(&script, good, None, Encryption::Off).await.unwrap();
    let login = script.seen.lock().unwrap().logins[0].clone();
    assert_eq!((login.application.as_str(), login.database.as_str()), ("quorate", "orders"));
    assert!(login.read_only_intent);

    let mut bad = config(EncryptionLevel::NotSupported);
    bad.authentication(AuthMethod::sql_server("sa", "wrong"));
    let Err(Error::Server(error)) = connect(&script, bad, None, Encryption::Off).await else { panic!() };
    assert_eq!((error.code(), error.class()), (18456, 14));
}

#[tokio::test(start_paused = true)]
async fn parameters_arrive_with_their_names_types_and_nulls() {
    let mut client = plain(&Script::new()).await;
    let guid: tiberius::Uuid = GUID.parse().unwrap();
    let number = Numeric::new_with_scale(-12_345, 2);
    let long = "y".repeat(200_000);
    let row = client
        .query(
            "ECHO",
            &[&"naïve ✓", &7_i32, &i64::MIN, &true, &-0.5_f64, &guid, &vec![0_u8, 255], &None::<i32>, &number, &long],
        )
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.columns()[1].name(), "@P2");
    assert_eq!(row.get::<&str, _>(0), Some("naïve ✓"));
    assert_eq!(row.get::<i32, _>(1), Some(7));
    assert_eq!(row.get::<i64, _>(2), Some(i64::MIN));
    assert_eq!(row.get::<bool, _>(3), Some(true));
    assert_eq!(row.get::<f64, _>(4), Some(-0.5));
    assert_eq!(row.get::<tiberius::Uuid, _>(5), Some(guid));
    assert_eq!(row.get::<&[u8], _>(6), Some(&[0, 255][..]));
    assert_eq!(row.get::<i32, _>(7), None);
    assert_eq!(row.get::<Numeric, _>(8), Some(number));
    assert_eq!(row.get::<&str, _>(9), Some(long.as_str()));
}

#[tokio::test(start_paused = true)]
async fn every_type_of_column_is_read_back() {
    let mut client = plain(&Script::new()).await;
    let row = client.simple_query("SELECT CAST(1 AS bit)").await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<bool, _>("bit"), Some(true));
    assert_eq!(row.get::<u8, _>("tinyint"), Some(255));
    assert_eq!(row.get::<i16, _>("smallint"), Some(i16::MIN));
    assert_eq!(row.get::<i32, _>("int"), Some(i32::MIN));
    assert_eq!(row.get::<i64, _>("bigint"), Some(i64::MIN));
    assert_eq!(row.get::<f64, _>("float"), Some(-0.5));
    let lsn = Numeric::new_with_scale(9_999_999_999_999_999_999_999_999, 0);
    assert_eq!(row.get::<Numeric, _>("lsn"), Some(lsn));
    assert_eq!(row.get::<Numeric, _>("decimal"), Some(Numeric::new_with_scale(-12_345, 2)));
    assert_eq!(row.get::<&str, _>("nchar"), Some("ab  "));
    assert_eq!(row.get::<&str, _>("nvarchar"), Some("naïve ✓"));
    assert_eq!(row.get::<&str, _>("nvarcharmax"), Some("naïve ✓"));
    assert_eq!(row.get::<&str, _>("varchar"), Some("naïve €"));
    assert_eq!(row.get::<&str, _>("varcharmax"), Some("naïve €"));
    assert_eq!(row.get::<&[u8], _>("varbinary"), Some(&[0, 255][..]));
    assert_eq!(row.get::<&[u8], _>("varbinarymax"), Some(&[1, 2, 3][..]));
    assert_eq!(row.get::<tiberius::Uuid, _>("guid"), Some(GUID.parse().unwrap()));
    let tiberius::ColumnData::DateTime(Some(datetime)) = row.cells().nth(16).unwrap().1.clone() else { panic!() };
    assert_eq!((datetime.days(), datetime.seconds_fragments()), (46_022, 3_313_701));
    let tiberius::ColumnData::DateTime2(Some(datetime)) = row.cells().nth(17).unwrap().1.clone() else { panic!() };
    assert_eq!((datetime.date().days(), datetime.time().increments()), (739_617, 110_456_700_000));
    assert_eq!(row.get::<&str, _>("variant"), Some("yes"));
    assert_eq!(row.get::<&str, _>("nothing"), None);
}

#[tokio::test(start_paused = true)]
async fn results_larger_than_any_packet_or_buffer_arrive_whole() {
    let mut client = plain(&Script::new()).await;
    let row = client.simple_query("BIG").await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>(0).map(str::len), Some(100_000));
    let rows = client.simple_query("MANY").await.unwrap().into_first_result().await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.get::<i32, _>(0).unwrap()).collect::<Vec<_>>(),
        (0..20_000).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn two_result_sets_are_two() {
    let mut client = plain(&Script::new()).await;
    let sets = client.simple_query("SELECT 1; SELECT N'zwei'").await.unwrap().into_results().await.unwrap();
    assert_eq!(sets.len(), 2);
    assert_eq!(sets[1][0].get::<&str, _>(0), Some("zwei"));
}

#[tokio::test(start_paused = true)]
async fn the_first_of_several_errors_is_reported_and_the_connection_goes_on() {
    let mut client = plain(&Script::new()).await;
    for _ in 0..2 {
        let error = failure(&mut client, "ALTER AVAILABILITY GROUP [nope] FAILOVER").await;
        assert_eq!((error.code(), error.class(), error.state(), error.line()), (41142, 16, 2, 3));
        assert_eq!(error.server(), "mssql-0");
        assert_eq!(seven(&mut client).await, 7);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_affected_are_counted() {
    let mut client = plain(&Script::new()).await;
    let result = client.execute("INSERT INTO dbo.t (v) VALUES (1), (2)", &[]).await.unwrap();
    assert_eq!(result.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn rows_are_sent_while_the_batch_still_runs() {
    use futures::TryStreamExt;
    let mut client = plain(&Script::new()).await;
    let begun = tokio::time::Instant::now();
    let mut stream = client.simple_query("SLOWLY").await.unwrap();
    let mut arrivals = Vec::new();
    while let Some(item) = stream.try_next().await.unwrap() {
        if let QueryItem::Row(row) = item {
            arrivals.push((row.get::<i32, _>(0).unwrap(), begun.elapsed().as_secs()));
        }
    }
    assert_eq!(arrivals, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
}

/// On a real clock: the client's timer is a thread of its own.
#[tokio::test]
async fn a_command_timeout_ends_the_wait_and_closing_the_connection_drops_the_batch() {
    let script = Script::new();
    let mut slow = config(EncryptionLevel::NotSupported);
    slow.command_timeout(Some(Duration::from_millis(100)));
    let mut client = connect(&script, slow, None, Encryption::Off).await.unwrap();
    let query = async { client.simple_query("WAITFOR DELAY '00:00:05'").await?.into_results().await };
    assert!(query.await.is_err());
    assert_eq!(script.log(), [] as [&str; 0]);
    drop(client);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(script.log(), ["batch dropped", "session dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_query_does_not_answer_the_next_one() {
    let script = Script::new();
    let mut client = plain(&script).await;
    let query = async { client.simple_query("WAITFOR DELAY '00:00:05'").await.unwrap().into_results().await };
    assert!(tokio::time::timeout(Duration::from_secs(1), query).await.is_err());
    assert_eq!(seven(&mut client).await, 7);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_class_20_or_above_closes_the_connection() {
    let script = Script::new();
    let mut client = plain(&script).await;
    let error = failure(&mut client, "FATAL").await;
    assert_eq!((error.code(), error.class()), (823, 24));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(script.log(), ["session dropped"]);
    assert!(client.simple_query("SELECT 7").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_killed_session_reads_596_while_it_runs_and_is_closed_while_it_rests() {
    let script = Script::new();
    let mut running = plain(&script).await;
    let mut resting = plain(&script).await;
    let kill = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        script.kill.send_replace(true);
    };
    let (error, ()) = tokio::join!(failure(&mut running, "WAITFOR DELAY '00:00:05'"), kill);
    assert_eq!((error.code(), error.class()), (596, 21));
    assert!(resting.simple_query("SELECT 7").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_before_it_can_fill_the_server() {
    let (near, far) = tokio::io::duplex(64);
    let served = tokio::spawn(serve(Script::new(), Box::new(far), None, Encryption::Off));
    let error = served.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    drop(near);
}
