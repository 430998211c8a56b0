//! The server: its own thread with its own tokio runtime, so that its caller stays synchronous.
//!
//! Invariant: after [`HttpServer::stop`] returns, the port is free and nothing of the server calls
//! into the program any more, but for calls that were already under way and block.

use crate::{
    Introspect, Limits, api,
    app::App,
    connection::BoundedListener,
    live::{self, Live},
};
use millstream_metrics::Registry;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::{Builder, JoinHandle},
};
use tokio::{
    runtime::{self, Runtime},
    sync::{Semaphore, watch},
    time::sleep,
};

/// Where a server listens unless told otherwise: this machine only.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Threads that answer probes and scrapes only.
const PROBE_THREADS: usize = 2;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Starts a server with the default [`Limits`]. Port 0 chooses a free port.
    ///
    /// # Errors
    /// When the address cannot be bound or the thread not started.
    pub fn start(
        address: SocketAddr,
        program: Arc<dyn Introspect>,
        registry: Registry,
    ) -> io::Result<Self> {
        Self::start_with(address, Limits::default(), program, registry)
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When the address cannot be bound or the thread not started.
    pub fn start_with(
        address: SocketAddr,
        limits: Limits,
        program: Arc<dyn Introspect>,
        registry: Registry,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let loopback = address.ip().is_loopback();
        if !loopback {
            tracing::warn!(%address, "open to the network, without authentication");
        }
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(limits.blocking_threads.saturating_add(PROBE_THREADS))
            .thread_name("http-blocking")
            .build()?;
        let (stop, stopping) = watch::channel(false);
        let app = Arc::new(App {
            program,
            registry,
            live: Live::new(),
            loopback,
            stopping,
            streams: Arc::new(Semaphore::new(limits.streams)),
            calls: Arc::new(Semaphore::new(limits.blocking_threads)),
            probes: Arc::new(Semaphore::new(PROBE_THREADS)),
            limits,
        });
        let serve = move || run(runtime, listener, &app);
        let thread = Builder::new().name("http".to_owned()).spawn(serve)?;
        tracing::info!(%address, "listening for http");
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The address it listens on, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops taking requests, ends streams, gives open requests a moment, and returns.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the http thread had panicked");
        }
    }
}

/// The thread's body.
fn run(runtime: Runtime, listener: TcpListener, app: &Arc<App>) {
    if let Err(error) = runtime.block_on(serve(listener, app)) {
        tracing::error!(%error, "the http server ended");
    }
    // A call that blocks must not keep the program from ending.
    runtime.shutdown_timeout(app.limits.stop_timeout);
}

async fn serve(listener: TcpListener, app: &Arc<App>) -> io::Result<()> {
    let limits = &app.limits;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listener = BoundedListener::new(listener, limits.connections, limits.idle_timeout);
    tokio::spawn(live::sample(Arc::clone(app)));
    let server = axum::serve(listener, api::router(Arc::clone(app)))
        .with_graceful_shutdown(stopped(app.stopping.clone()));
    let out_of_patience = async {
        stopped(app.stopping.clone()).await;
        sleep(limits.stop_timeout).await;
    };
    tokio::select! {
        result = server => result,
        () = out_of_patience => Ok(()),
    }
}

/// Waits until the server is told to stop; its owner being gone is as good.
pub(crate) async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}
