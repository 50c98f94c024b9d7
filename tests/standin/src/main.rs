//! `sqlservr`: one stand-in instance, configured as Microsoft's container image is.

mod config;

use config::Settings;
use standin::{
    net::{Network, Tcp},
    server::{AdminDoor, Server, ServerOptions},
    tds::{self, Encryption, TlsSettings},
};
use std::{io, process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

/// Port of the dedicated administrator connection (SQL Server docs, "Diagnostic connection for database administrators").
const ADMIN_PORT: u16 = 1434;

fn main() -> ExitCode {
    let settings = match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("sqlservr: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = config::log_to(&settings.folder) {
        eprintln!("sqlservr: {}: {error}", settings.folder.display());
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("SQL Server cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tls(settings: &Settings) -> io::Result<TlsSettings> {
    match &settings.certificate {
        Some((certificate, key)) => TlsSettings::from_files(certificate, key).map_err(io::Error::other),
        None => TlsSettings::self_signed(&settings.host).map_err(io::Error::other),
    }
}

async fn run(settings: Settings) -> io::Result<()> {
    let tls = tls(&settings)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(ServerOptions {
        config: settings.instance(),
        network: Arc::new(Tcp),
        faults: settings.faults.clone(),
        sa_password: settings.sa_password.clone(),
        uptime: config::uptime(),
        wall: standin::server::wall(),
    })
    .await?;
    let listener = Tcp.listen(settings.port).await?;
    tracing::info!("{}", server.banner());
    tracing::info!("Server name is '{}'. This is an informational message only.", server.instance.config().server_name);
    tracing::info!("Server is listening on [ 'any' <ipv4> {} ].", settings.port);
    let admin = Tcp::listen_locally(ADMIN_PORT).await;
    match &admin {
        Ok((port, _)) => {
            tracing::info!("Dedicated admin connection support was established for listening locally on port {port}.")
        }
        // As in SQL Server, clients do not go without the server for want of it.
        Err(error) => tracing::error!("Dedicated admin connection support was not started because of error {error}."),
    }
    tracing::info!("SQL Server is now ready for client connections.");
    let encryption = if settings.force_encryption { Encryption::Required } else { Encryption::Optional };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("SQL Server is terminating because of a system shutdown.");
    };
    if let Ok((_, admin)) = admin {
        let door = Arc::new(AdminDoor(server.clone()));
        tokio::spawn(tds::listen(door, admin, Some(tls.clone()), encryption, std::future::pending()));
    }
    tds::listen(Arc::new(server.clone()), listener, Some(tls), encryption, stop).await;
    server.stop();
    Ok(())
}
