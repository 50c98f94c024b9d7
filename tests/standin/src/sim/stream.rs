//! One simulated connection and its two ends.

use super::{SimNet, State, arrival};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that may be under way in one direction before the writer waits.
const WINDOW: usize = 1 << 20;

/// One end: a host, in one of its lives.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) host: String,
    pub(super) life: u64,
}

#[derive(Debug)]
enum Packet {
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    packets: VecDeque<(Instant, Packet)>,
    bytes: usize,
    /// The reader got the end, or dropped its stream.
    ended: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// A connection between two ends; `pipes.0` leads from `ends[0]` to `ends[1]`.
pub(super) struct Connection {
    net: SimNet,
    ends: [End; 2],
    pipes: Mutex<(Pipe, Pipe)>,
}

impl Connection {
    pub(super) fn new(net: SimNet, ends: [End; 2]) -> Self {
        Self { net, ends, pipes: Mutex::default() }
    }

    pub(super) fn streams(self: Arc<Self>) -> (SimStream, SimStream) {
        let end = |connection: Arc<Self>, caller| SimStream { connection, caller, alarm: None };
        (end(self.clone(), true), end(self, false))
    }

    fn lock(&self) -> MutexGuard<'_, (Pipe, Pipe)> {
        self.pipes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        let mut pipes = self.lock();
        pipes.0.wake();
        pipes.1.wake();
    }

    /// The process at this host was killed: its kernel resets the connection.
    pub(super) fn reset_by(&self, host: &str, life: u64) {
        let mut pipes = self.lock();
        let [caller, callee] = &self.ends;
        if caller.host == host && caller.life == life {
            pipes.0.packets.push_back((Instant::now(), Packet::Reset));
        }
        if callee.host == host && callee.life == life {
            pipes.1.packets.push_back((Instant::now(), Packet::Reset));
        }
    }
}

/// One end of a connection.
pub(super) struct SimStream {
    connection: Arc<Connection>,
    caller: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What the network says about a direction now.
#[derive(PartialEq)]
enum Way {
    Open,
    Blocked,
    /// This end is a process that does not live any more.
    Dead,
    /// The other end's host has begun a new life since.
    Forgotten,
}

impl SimStream {
    fn ends(&self) -> (&End, &End) {
        let [caller, callee] = &self.connection.ends;
        if self.caller { (caller, callee) } else { (callee, caller) }
    }

    fn way_in(&self, state: &State) -> Way {
        let (here, there) = self.ends();
        if state.life(&here.host) != here.life {
            Way::Dead
        } else if state.frozen(&here.host) || state.frozen(&there.host) || !state.open(&there.host, &here.host) {
            Way::Blocked
        } else {
            Way::Open
        }
    }

    fn way_out(&self, state: &State) -> Way {
        let (here, there) = self.ends();
        if state.life(&here.host) != here.life {
            Way::Dead
        } else if state.frozen(&here.host) {
            Way::Blocked
        } else if state.open(&here.host, &there.host) && state.life(&there.host) != there.life {
            Way::Forgotten
        } else {
            Way::Open
        }
    }

    fn pipe_in<'p>(&self, pipes: &'p mut (Pipe, Pipe)) -> &'p mut Pipe {
        if self.caller { &mut pipes.1 } else { &mut pipes.0 }
    }

    fn pipe_out<'p>(&self, pipes: &'p mut (Pipe, Pipe)) -> &'p mut Pipe {
        if self.caller { &mut pipes.0 } else { &mut pipes.1 }
    }

    fn send(&self, state: &mut State, packet: Packet) {
        let latency = state.draw_latency();
        let mut pipes = self.connection.lock();
        let pipe = self.pipe_out(&mut pipes);
        if let Packet::Data(bytes) = &packet {
            pipe.bytes += bytes.len();
        }
        let at = arrival(latency, pipe.packets.back().map(|(at, _)| *at));
        pipe.packets.push_back((at, packet));
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = self.connection.clone();
        let state = connection.net.lock();
        let way = self.way_in(&state);
        let mut pipes = connection.lock();
        let pipe = self.pipe_in(&mut pipes);
        pipe.reader = Some(cx.waker().clone());
        if way == Way::Dead || pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        if way == Way::Blocked {
            return Poll::Pending;
        }
        let Some((at, packet)) = pipe.packets.front_mut() else { return Poll::Pending };
        if *at > Instant::now() {
            let at = *at;
            drop((pipes, state));
            let mut alarm = Box::pin(sleep_until(at));
            let waiting = alarm.as_mut().poll(cx);
            self.alarm = Some(alarm);
            if waiting.is_ready() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        match packet {
            Packet::Data(bytes) => {
                let taken = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes.drain(..taken).collect::<Vec<_>>());
                pipe.bytes -= taken;
                if bytes.is_empty() {
                    pipe.packets.pop_front();
                }
                if let Some(waker) = pipe.writer.take() {
                    waker.wake();
                }
                Poll::Ready(Ok(()))
            }
            Packet::Fin => {
                pipe.ended = true;
                Poll::Ready(Ok(()))
            }
            Packet::Reset => {
                pipe.reset = true;
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let connection = self.connection.clone();
        let mut state = connection.net.lock();
        let way = self.way_out(&state);
        let room = {
            let mut pipes = connection.lock();
            if self.pipe_in(&mut pipes).reset || way == Way::Dead {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if way == Way::Forgotten {
                let pipe = self.pipe_in(&mut pipes);
                pipe.packets.push_back((Instant::now(), Packet::Reset));
                if let Some(waker) = pipe.reader.take() {
                    waker.wake();
                }
                return Poll::Ready(Ok(bytes.len()));
            }
            let pipe = self.pipe_out(&mut pipes);
            pipe.writer = Some(cx.waker().clone());
            if pipe.ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if way == Way::Blocked { 0 } else { WINDOW.saturating_sub(pipe.bytes) }
        };
        if room == 0 {
            return Poll::Pending;
        }
        let taken: Vec<u8> = bytes.iter().copied().take(room).collect();
        let count = taken.len();
        self.send(&mut state, Packet::Data(taken));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.connection.clone();
        let mut state = connection.net.lock();
        if self.way_out(&state) != Way::Dead {
            self.send(&mut state, Packet::Fin);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    /// The kernel closes what a process drops; a host that ended its life says nothing more.
    fn drop(&mut self) {
        let connection = self.connection.clone();
        let mut state = connection.net.lock();
        if self.way_out(&state) == Way::Dead {
            return;
        }
        self.send(&mut state, Packet::Fin);
        let mut pipes = connection.lock();
        let pipe = self.pipe_in(&mut pipes);
        pipe.ended = true;
        pipe.wake();
    }
}
