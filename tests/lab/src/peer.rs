//! A tiny web server and its client: the workload with which the cluster tests prove the lab itself.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::error::{AtPath as _, Error, Result};

/// Serves `GET /`, `/name`, `/data` and `/append/TEXT`; the last two on `file`, whose lines survive the pod.
pub(crate) fn serve(port: u16, file: &Path) -> Result<()> {
    let refused = |error| Error::refused(format!("cannot listen on port {port}: {error}"));
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(refused)?;
    for stream in listener.incoming().flatten() {
        let file = file.to_path_buf();
        thread::spawn(move || answer(stream, &file));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, file: &Path) {
    let Some(path) = path_of(&stream) else { return };
    let path = path.as_str();
    let (status, body) = match (path, path.strip_prefix("/append/")) {
        ("/", _) => ("200 OK", "fine\n".to_owned()),
        ("/name", _) => ("200 OK", rustix::system::uname().nodename().to_string_lossy().into_owned()),
        ("/data", _) => ("200 OK", fs::read_to_string(file).unwrap_or_default()),
        (_, Some(text)) => match append(file, text) {
            Ok(()) => ("200 OK", String::new()),
            Err(error) => ("500 Internal Server Error", error.to_string()),
        },
        _ => ("404 Not Found", String::new()),
    };
    reply(&mut stream, status, &body);
}

/// The path that is asked for; it is waited for for 5 s.
pub(crate) fn path_of(stream: &TcpStream) -> Option<String> {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream.take(4096)).read_line(&mut line).ok()?;
    line.split(' ').nth(1).map(str::to_owned)
}

/// Answers and ends the connection.
pub(crate) fn reply(stream: &mut TcpStream, status: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn append(file: &Path, text: &str) -> Result<()> {
    let mut open = File::options().create(true).append(true).open(file).at(file)?;
    writeln!(open, "{text}").at(file)?;
    open.sync_all().at(file)
}

/// Fetches `HOST:PORT/PATH` and prints the body.
pub(crate) fn get(url: &str) -> Result<()> {
    print!("{}", fetch(url)?);
    Ok(())
}

/// The body at `HOST:PORT/PATH`; every step takes 2 s at most.
pub(crate) fn fetch(url: &str) -> Result<String> {
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    fetch_from(address(host)?, path).map_err(|error| Error::refused(format!("{url}: {error}")))
}

/// The first address of `HOST:PORT`.
pub(crate) fn address(host: &str) -> Result<SocketAddr> {
    let mut addresses = host.to_socket_addrs().map_err(|error| Error::refused(format!("{host}: {error}")))?;
    addresses.next().ok_or_else(|| Error::refused(format!("{host}: no address")))
}

/// The body of a page at an address that is known.
pub(crate) fn fetch_from(address: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(2);
    let failed = |error: std::io::Error| Error::refused(error.to_string());
    let mut stream = TcpStream::connect_timeout(&address, limit).map_err(failed)?;
    stream.set_read_timeout(Some(limit)).map_err(failed)?;
    write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    if head.split(' ').nth(1) == Some("200") {
        Ok(body.to_owned())
    } else {
        let status = head.lines().next().unwrap_or("no answer");
        Err(Error::refused(format!("{status}: {body}")))
    }
}
