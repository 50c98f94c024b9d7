//! How an instance reaches other hosts. Everything that crosses a network goes through [`Network`], so that stories can
//! swap TCP for a simulated network on a paused clock; nothing else differs.

use futures::future::BoxFuture;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection.
pub type Stream = Box<dyn Duplex>;

/// A listening port; dropping it closes the port.
pub trait Listener: Send {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>>;
}

/// The network as one host sees it.
pub trait Network: Send + Sync + 'static {
    /// Listens on all addresses of this host.
    fn listen(&self, port: u16) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
    /// Connects to `host` (a DNS name or address). Has no deadline of its own: the caller brings one.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>>;
}

/// A network that can be handed to the parts of one instance.
pub type SharedNetwork = Arc<dyn Network>;

/// The real network.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tcp;

struct TcpPort(TcpListener);

impl Listener for TcpPort {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let (stream, _) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        })
    }
}

impl Tcp {
    /// Listens on this host's loopback address alone; on a free port when `port` is taken. Returns the port, too.
    pub async fn listen_locally(port: u16) -> io::Result<(u16, Box<dyn Listener>)> {
        let listener = match TcpListener::bind(("127.0.0.1", port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind(("127.0.0.1", 0)).await?,
            other => other?,
        };
        Ok((listener.local_addr()?.port(), Box::new(TcpPort(listener))))
    }
}

impl Network for Tcp {
    fn listen(&self, port: u16) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(TcpPort(listener)) as Box<dyn Listener>)
        })
    }

    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Stream)
        })
    }
}
