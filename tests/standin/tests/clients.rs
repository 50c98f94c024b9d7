//! Clients that nobody here wrote: Microsoft's ODBC Driver 18 (PyPI `mssql-python`) and FreeTDS (PyPI `pymssql`), over
//! TCP. `QUORATE_PYTHON` names a Python that has both.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use futures::future::BoxFuture;
use standin::{
    net::{Listener, Stream},
    tds::{Encryption, TlsSettings, listen},
};
use std::{io, path::Path, process::Command};
use support::{PASSWORD, Script};
use tokio::net::TcpListener;

struct Local(TcpListener);

impl Listener for Local {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let (stream, _) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        })
    }
}

/// Runs a script against a server that demands this encryption, once for each encryption of the client.
async fn satisfies(script: &str, encryption: Encryption, of_client: &[&str]) {
    let Ok(python) = std::env::var("QUORATE_PYTHON") else {
        return println!("skipped: QUORATE_PYTHON does not name a Python with mssql-python and pymssql");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["mssql-0".to_owned()]).unwrap();
    let settings = TlsSettings::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
    let tls = (encryption != Encryption::Off).then(|| settings.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("server.pem");
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let server = listen(Script::new(), Box::new(Local(listener)), tls, encryption, std::future::pending());
    let server = tokio::spawn(server);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    for client in of_client {
        let mut command = Command::new(&python);
        command.arg("-B").arg(&path).args(["127.0.0.1", &port, PASSWORD, client]).arg(&certificate);
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&ran.stdout) + &text(&ran.stderr);
        assert!(ran.status.success(), "{script}, encryption {client} against {encryption:?}:\n{said}");
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn odbc_driver_18_works_without_tls() {
    satisfies("odbc.py", Encryption::Off, &["no"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odbc_driver_18_works_with_tls_for_the_login_and_for_everything() {
    satisfies("odbc.py", Encryption::Optional, &["no", "yes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odbc_driver_18_works_with_forced_encryption() {
    satisfies("odbc.py", Encryption::Required, &["no", "yes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freetds_works_without_tls() {
    satisfies("freetds.py", Encryption::Off, &["off", "request"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freetds_works_with_tls_for_the_login_and_for_everything() {
    satisfies("freetds.py", Encryption::Optional, &["off", "request", "require"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freetds_works_with_forced_encryption() {
    satisfies("freetds.py", Encryption::Required, &["off", "request", "require"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odbc_driver_18_works_with_tds_8_strict_beside_the_older_ways_and_alone() {
    satisfies("odbc.py", Encryption::Optional, &["strict"]).await;
    satisfies("odbc.py", Encryption::Strict, &["strict"]).await;
}
