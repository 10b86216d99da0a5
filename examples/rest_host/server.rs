//! Connections: how many, how long, and the routes behind them.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

use crate::answer::Refusal;
use crate::gate::{Door, Doors};
use crate::host::{Caller, Host};
use crate::{api, live, page, tasks};

/// Every path of the host.
pub fn routes(host: Host) -> Router {
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js))
        .route("/page/live", get(live::stream))
        .route("/page/runs", post(page::runs))
        .route("/page/runs/{id}/explain", get(page::explain))
        .route("/page/upcoming", get(page::upcoming))
        .nest("/api", api::routes())
        .route("/metrics", get(page::metrics))
        .route("/v1/async/task", post(tasks::create))
        .route("/v1/async/task/batch", post(tasks::create_batch))
        .route("/v1/async/task/{id}", get(tasks::read))
        .route("/v1/async/status", get(tasks::status))
        // Who has no token learns nothing about which paths there are.
        .fallback(|_: Caller| async { Refusal::not_found("there is no such path") })
        .method_not_allowed_fallback(|| async { Refusal::method() })
        .with_state(host)
}

/// Takes connections until `stop`. Each is bounded in time, and an address that has too many is turned away at once.
pub async fn serve(listener: TcpListener, host: Host, stop: impl Future<Output = ()>) {
    let (doors, routes) = (Doors::new(host.bounds()), routes(host.clone()));
    let mut connections = tokio::task::JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(door) = doors.enter(peer.ip()) {
                        connections.spawn(connection(stream, door, host.clone(), routes.clone()));
                    }
                }
                // Out of file handles, or a client that went at once: others may have more luck in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
}

async fn connection(stream: TcpStream, door: Door, host: Host, routes: Router) {
    let bounds = host.bounds();
    // Small answers at once; it can fail only for a connection that is gone.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(bounds.write));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_headers(bounds.headers)
        .max_buf_size(bounds.head_bytes)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes))
        .await;
    // What ends a connection early is the client's doing: there is nobody to tell.
    drop((served, door));
}
