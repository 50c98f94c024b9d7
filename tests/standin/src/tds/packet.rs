//! Packets to messages and back. One [`Wire`] reads and writes at the same time, so that a client can interrupt while
//! an answer is being sent, and keeps half-read packets across dropped futures.

use super::tunnel::Tunnel;
use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

pub(super) const HEADER: usize = 8;

pub(super) const BATCH: u8 = 0x01;
pub(super) const RPC: u8 = 0x03;
pub(super) const RESPONSE: u8 = 0x04;
pub(super) const ATTENTION: u8 = 0x06;
pub(super) const TRANSACTION: u8 = 0x0E;
pub(super) const LOGIN7: u8 = 0x10;
pub(super) const PRELOGIN: u8 = 0x12;

/// Last packet of a message.
const END: u8 = 0x01;
/// The message is to be forgotten; set with [`END`].
const IGNORE: u8 = 0x02;
/// The session is to be reset before the request.
pub(super) const RESET: u8 = 0x08;
/// The same, keeping the transaction.
pub(super) const RESET_KEEPING_TRANSACTION: u8 = 0x10;

/// Packet sizes that can be negotiated, and the one before that.
pub(super) const SMALLEST: usize = 512;
pub(super) const LARGEST: usize = 32_767;
pub(super) const DEFAULT: usize = 4_096;

/// Messages before login are at most this long, later ones [`REQUEST_LIMIT`].
pub(super) const LOGIN_LIMIT: usize = 128 << 10;
pub(super) const REQUEST_LIMIT: usize = 64 << 20;

/// Requests that may wait while one runs, together no longer than one; clients without MARS have no reason to send any.
const QUEUE: usize = 8;

/// The bytes of a connection, in clear or inside TLS.
pub(super) enum Transport {
    Plain(Tunnel),
    Tls(Box<TlsStream<Tunnel>>),
    /// Between two of the above, and never otherwise.
    Closed,
}

impl Transport {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

/// A whole message from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: u8,
    /// Status of its first packet.
    pub(super) status: u8,
    /// Whether the client took it back with the ignore bit.
    pub(super) ignored: bool,
    pub(super) body: Vec<u8>,
}

/// One connection as messages.
pub(super) struct Wire {
    pub(super) transport: Transport,
    pub(super) packet_size: usize,
    pub(super) spid: u16,
    pub(super) limit: usize,
    input: Vec<u8>,
    partial: Option<Request>,
    queue: VecDeque<Request>,
    output: Vec<u8>,
    sent: usize,
    flushed: bool,
    sequence: u8,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            packet_size: DEFAULT,
            spid: 0,
            limit: LOGIN_LIMIT,
            input: Vec::new(),
            partial: None,
            queue: VecDeque::new(),
            output: Vec::new(),
            sent: 0,
            flushed: true,
            sequence: 0,
        }
    }

    /// Takes the connection out, with the bytes read beyond the last message, to change how it is carried.
    pub(super) fn take(&mut self) -> (Transport, Vec<u8>) {
        (std::mem::replace(&mut self.transport, Transport::Closed), std::mem::take(&mut self.input))
    }

    /// The next message, `None` when the client has left.
    pub(super) async fn request(&mut self) -> io::Result<Option<Request>> {
        poll_fn(|cx| self.poll_request(cx)).await
    }

    /// Keeps a request for later.
    pub(super) fn queue(&mut self, request: Request) -> io::Result<()> {
        let waiting: usize = self.queue.iter().map(|one| one.body.len()).sum();
        if self.queue.len() >= QUEUE || waiting + request.body.len() > self.limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many requests while one is running"));
        }
        self.queue.push_back(request);
        Ok(())
    }

    pub(super) fn queued(&mut self) -> Option<Request> {
        self.queue.pop_front()
    }

    /// See [`Wire::request`]; requests that were queued are not looked at.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Request>>> {
        loop {
            if let Some(request) = self.assemble()? {
                return Poll::Ready(Ok(Some(request)));
            }
            let mut room = [0; DEFAULT];
            let mut chunk = ReadBuf::new(&mut room);
            ready!(self.transport.poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                let between = self.input.is_empty() && self.partial.is_none();
                let end = if between { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                return Poll::Ready(end);
            }
            self.input.extend_from_slice(chunk.filled());
        }
    }

    /// Takes whole packets from the input until a message is complete.
    fn assemble(&mut self) -> io::Result<Option<Request>> {
        while let Some([kind, status, high, low, ..]) = self.input.first_chunk::<HEADER>().copied() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if !(HEADER..=LARGEST + 1).contains(&length) {
                return Err(invalid("a packet with an invalid length"));
            }
            if self.input.len() < length {
                break;
            }
            let body: Vec<u8> = self.input.drain(..length).skip(HEADER).collect();
            if kind == ATTENTION {
                // It may come in the middle of a request, which it takes back.
                self.partial = None;
                return Ok(Some(Request { kind, status, ignored: false, body: Vec::new() }));
            }
            let request = match self.partial.take() {
                None => Request { kind, status, ignored: false, body },
                Some(mut request) if request.kind == kind => {
                    request.body.extend_from_slice(&body);
                    request
                }
                Some(_) => return Err(invalid("a message of packets of different types")),
            };
            if request.body.len() > self.limit {
                return Err(invalid("a message that is too long"));
            }
            if status & END != 0 {
                return Ok(Some(Request { ignored: status & IGNORE != 0, ..request }));
            }
            self.partial = Some(request);
        }
        Ok(None)
    }

    /// Adds a part of the answer, in packets; the last part ends the message.
    pub(super) fn write(&mut self, body: &[u8], last: bool) {
        let Self { output, packet_size, spid, sequence, .. } = self;
        frame(output, RESPONSE, body, *packet_size, *spid, sequence, last);
        self.flushed = false;
        if last {
            self.sequence = 0;
        }
    }

    /// Bytes of the answer that the client has not taken yet.
    pub(super) fn backlog(&self) -> usize {
        self.output.len() - self.sent
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.output.get(self.sent..) {
            let sent = ready!(self.transport.poll_write(cx, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.output.clear();
        self.sent = 0;
        if !self.flushed {
            ready!(self.transport.poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// A whole answer.
    pub(super) async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.write(body, true);
        self.flush().await
    }

    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|cx| self.transport.poll_shutdown(cx)).await
    }
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Appends `body` in packets of at most `size` bytes. An unfinished message gets no empty packet.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, body: &[u8], size: usize, spid: u16, sequence: &mut u8, last: bool) {
    let mut chunks = body.chunks(size.max(SMALLEST) - HEADER).peekable();
    let mut packet = |chunk: &[u8], end: bool| {
        *sequence = sequence.wrapping_add(1);
        let length = u16::try_from(chunk.len() + HEADER).unwrap_or(u16::MAX).to_be_bytes();
        let spid = spid.to_be_bytes();
        out.extend([kind, u8::from(end)].into_iter().chain(length).chain(spid).chain([*sequence, 0]));
        out.extend_from_slice(chunk);
    };
    if body.is_empty() && last {
        packet(&[], true);
    }
    while let Some(chunk) = chunks.next() {
        packet(chunk, last && chunks.peek().is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn wire() -> (Wire, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        (Wire::new(Transport::Plain(Tunnel::new(Box::new(near), &[]))), far)
    }

    #[test]
    fn an_answer_is_split_at_the_packet_size_and_only_its_last_packet_ends_it() {
        let (mut out, mut sequence) = (Vec::new(), 0);
        frame(&mut out, RESPONSE, &[7; 1_009], 512, 0x0102, &mut sequence, true);
        assert_eq!(out[..8], [4, 0, 2, 0, 1, 2, 1, 0]);
        assert_eq!(out[512..520], [4, 0, 2, 0, 1, 2, 2, 0]);
        assert_eq!(out[1_024..], [4, 1, 0, 9, 1, 2, 3, 0, 7]);
    }

    #[tokio::test]
    async fn a_request_in_several_packets_arrives_whole_even_byte_by_byte() {
        let (mut wire, mut far) = wire();
        let mut bytes = Vec::new();
        frame(&mut bytes, BATCH, &[5; 1_200], 512, 0, &mut 0, true);
        for byte in bytes {
            // A reader that is dropped in the middle of a packet loses nothing.
            let early = tokio::time::timeout(std::time::Duration::ZERO, wire.request()).await;
            assert!(early.is_err());
            far.write_all(&[byte]).await.unwrap();
        }
        let request = wire.request().await.unwrap().unwrap();
        assert_eq!((request.kind, request.body), (BATCH, vec![5; 1_200]));
        drop(far);
        assert_eq!(wire.request().await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_attention_in_the_middle_of_a_request_takes_it_back() {
        let (mut wire, mut far) = wire();
        far.write_all(&[BATCH, 0, 0, 9, 0, 0, 1, 0, 1]).await.unwrap();
        far.write_all(&[ATTENTION, 1, 0, 8, 0, 0, 1, 0]).await.unwrap();
        far.write_all(&[BATCH, 1, 0, 9, 0, 0, 1, 0, 2]).await.unwrap();
        assert_eq!(wire.request().await.unwrap().unwrap().kind, ATTENTION);
        assert_eq!(wire.request().await.unwrap().unwrap().body, [2]);
    }

    #[tokio::test]
    async fn packets_that_lie_about_their_length_or_type_end_the_connection() {
        for bytes in [
            &[BATCH, 1, 0, 7, 0, 0, 1, 0][..],
            &[BATCH, 1, 0xFF, 0xFF, 0, 0, 1, 0],
            &[BATCH, 0, 0, 8, 0, 0, 1, 0, RPC, 1, 0, 8, 0, 0, 2, 0],
        ] {
            let (mut wire, mut far) = wire();
            far.write_all(bytes).await.unwrap();
            assert_eq!(wire.request().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn a_message_beyond_the_limit_ends_the_connection() {
        let (mut wire, mut far) = wire();
        wire.limit = 1_000;
        let mut bytes = Vec::new();
        frame(&mut bytes, BATCH, &[0; 1_001], 512, 0, &mut 0, true);
        far.write_all(&bytes).await.unwrap();
        assert_eq!(wire.request().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_client_that_leaves_within_a_packet_is_an_error() {
        let (mut wire, mut far) = wire();
        far.write_all(&[BATCH, 1, 0, 9, 0]).await.unwrap();
        drop(far);
        assert_eq!(wire.request().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
