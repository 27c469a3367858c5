//! An endpoint that reads a body and answers 202 without keeping it: what HTTP alone costs, for
//! comparison.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

use super::BenchError;

/// Serves until the process is ended.
pub(super) fn serve(listen: SocketAddr) -> Result<(), BenchError> {
    let failed = |cause| BenchError::Connection { target: listen.to_string(), cause };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(BenchError::Thread)?.block_on(async {
        let take = async |body: Bytes| {
            drop(body);
            StatusCode::ACCEPTED
        };
        let routes = Router::new().route("/events", post(take));
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        axum::serve(listener, routes).await.map_err(failed)
    })
}
