//! Connections, bounded in number and in silence.
//!
//! Invariant: at most [`Limits::connections`](crate::Limits) are open, and each is closed that
//! moves no byte for the idle time, or that has asked for so long without an answer. Without the
//! second a few clients that send half a request could hold all places for ever, and the probes
//! with them; without the third they could by sending the other half byte by byte.

use axum::serve::Listener;
use std::{
    future::{Future, pending},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// A listener that accepts only while there is room.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    room: Arc<Semaphore>,
    idle_timeout: Duration,
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, connections: usize, idle_timeout: Duration) -> Self {
        let room = Arc::new(Semaphore::new(connections));
        Self {
            listener,
            room,
            idle_timeout,
        }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            // Only a closed semaphore refuses, and nothing closes this one.
            return pending().await;
        };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            idle: Box::pin(sleep(self.idle_timeout)),
            asking: None,
            idle_timeout: self.idle_timeout,
            _permit: permit,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by an error when it is silent, or asks, for too long.
pub(crate) struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// Runs from the first byte that comes in behind an answer, or at first, until the next answer
    /// begins.
    asking: Option<Pin<Box<Sleep>>>,
    idle_timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Starts the idle time anew on progress, and turns waiting beyond it into an error.
    fn watch<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.idle.set(sleep(self.idle_timeout));
            return result;
        }
        let asking = self.asking.as_mut();
        let asked = asking.map_or(Poll::Pending, |asking| asking.as_mut().poll(context));
        let idle = self.idle.as_mut().poll(context);
        match (asked, idle) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.asking.is_none() {
            self.asking = Some(Box::pin(sleep(self.idle_timeout)));
        }
        self.watch(result, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(_)) = result {
            self.asking = None;
        }
        self.watch(result, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
