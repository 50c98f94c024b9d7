//! TLS inside PRELOGIN: until the handshake is over, TLS records travel in packets of type 0x12, in both directions;
//! afterwards they go straight onto the connection.

use super::packet::{HEADER, PRELOGIN, frame};
use crate::net::Stream;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client may send in one packet before the packet size is negotiated.
const PACKET: usize = 4_096;

/// A connection that can wrap what is written in PRELOGIN packets, and unwrap what is read.
pub(super) struct Tunnel {
    stream: Stream,
    wrapped: bool,
    /// Received, not yet unwrapped.
    raw: Vec<u8>,
    /// Received and ready to be read.
    ready: Vec<u8>,
    /// Written, not yet wrapped.
    plain: Vec<u8>,
    /// Wrapped, not yet sent.
    framed: Vec<u8>,
}

impl Tunnel {
    /// `first` are bytes that were already taken from the stream.
    pub(super) fn new(stream: Stream, first: &[u8]) -> Self {
        Self { stream, wrapped: false, raw: Vec::new(), ready: first.to_vec(), plain: Vec::new(), framed: Vec::new() }
    }

    /// Starts wrapping. `early` are bytes that were read beyond the last message.
    pub(super) fn wrap(&mut self, early: Vec<u8>) {
        self.raw = early;
        self.raw.append(&mut self.ready);
        self.wrapped = true;
    }

    /// Stops wrapping; a client that went on at once after its part of the handshake is not forgotten.
    pub(super) fn unwrap(&mut self) {
        self.wrapped = false;
        self.ready.append(&mut self.raw);
    }

    /// Moves the content of whole packets from `raw` to `ready`.
    fn open_packets(&mut self) -> io::Result<()> {
        while let Some([kind, _, high, low, ..]) = self.raw.first_chunk::<HEADER>() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if *kind != PRELOGIN || length < HEADER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "TLS handshake outside PRELOGIN packets"));
            }
            if self.raw.len() < length {
                break;
            }
            self.ready.extend(self.raw.drain(..length).skip(HEADER));
        }
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.framed.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.framed))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.framed.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        loop {
            if me.wrapped && me.ready.is_empty() {
                me.open_packets()?;
            }
            if !me.ready.is_empty() {
                let count = me.ready.len().min(into.remaining());
                into.put_slice(&me.ready.drain(..count).collect::<Vec<_>>());
                return Poll::Ready(Ok(()));
            }
            if !me.wrapped {
                return Pin::new(&mut me.stream).poll_read(cx, into);
            }
            let mut room = [0; PACKET];
            let mut chunk = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut me.stream).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            me.raw.extend_from_slice(chunk.filled());
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.wrapped {
            me.plain.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(me.poll_send(cx))?;
        Pin::new(&mut me.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !me.plain.is_empty() {
            // Everything since the last flush is one message; framed once, however often the write is retried.
            let mut sequence = 0;
            frame(&mut me.framed, PRELOGIN, &me.plain, PACKET, 0, &mut sequence, true);
            me.plain.clear();
        }
        ready!(me.poll_send(cx))?;
        Pin::new(&mut me.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
