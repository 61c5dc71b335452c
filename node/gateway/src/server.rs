//! The listening side: connections with bounds on their number, their life, the size of a
//! request's head and the time to read it.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    limits,
    routes::{self, Gateway},
    source::Source,
};

/// Times that tests shorten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) head_read: Duration,
    pub(crate) connection_life: Duration,
    pub(crate) drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head_read: limits::HEAD_READ,
            connection_life: limits::CONNECTION_LIFE,
            drain: limits::DRAIN,
        }
    }
}

/// Serves `source` to whoever connects to `listener` until `shutdown` is done. Open requests then
/// have a short time to end. Only a listener that is broken for good ends it early.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn Source>,
    shutdown: impl Future,
) -> io::Result<()> {
    let router = routes::router(Gateway::new(source, routes::wall_clock));
    listen(listener, &router, Patience::default(), shutdown).await
}

pub(crate) async fn listen(
    listener: TcpListener,
    router: &Router,
    patience: Patience,
    shutdown: impl Future,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let turns = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accept = async {
            let turn = Arc::clone(&turns).acquire_owned().await;
            (turn, listener.accept().await)
        };
        let (turn, accepted) = tokio::select! {
            _ = &mut shutdown => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = connection(stream, router.clone(), patience, stopping.clone());
                connections.spawn(async move {
                    let _turn = turn;
                    serving.await;
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Mostly too many open files: others must close some before it gets better.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::select! {
                    _ = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    // All receivers may be gone already.
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(patience.drain, drained).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn connection(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    mut stopping: watch::Receiver<bool>,
) {
    // Only costs a little latency where it cannot be set.
    let _ = stream.set_nodelay(true);
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience.head_read)
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let whole = async {
        tokio::select! {
            ended = &mut serving => return ended,
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        serving.as_mut().graceful_shutdown();
        serving.await
    };
    match timeout(patience.connection_life, whole).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
        Err(_) => tracing::debug!("a connection lived for as long as one may"),
    }
}

#[cfg(test)]
mod tests;
