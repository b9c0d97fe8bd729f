//! The JSON protocol of SQS: one POST an action, named by a header.

use super::error::SqsError;
use super::{Server, actions};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The content type of requests and answers.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Bytes of the longest request: a full batch whose characters are all escaped.
const MAX_REQUEST: usize = 8 * 1024 * 1024;

/// Serves until the server is told to stop.
///
/// A web page cannot reach it from a browser: the header that names the action makes a browser ask first, and
/// nobody answers that question. Signatures are not checked; the port is on loopback.
pub async fn serve(listener: TcpListener, server: Arc<Server>) {
    let stop = server.stop.clone();
    let app = Router::new()
        .route("/", post(handle))
        .route("/{account}/{queue}", post(handle))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(server);
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "the local queue stopped");
    }
}

async fn handle(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut response = match answer(&server, &headers, &body).await {
        Ok(body) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response(),
        Err(error) => error.into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

async fn answer(server: &Server, headers: &HeaderMap, body: &[u8]) -> Result<String, SqsError> {
    let action = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .and_then(|target| target.strip_prefix("AmazonSQS."))
        .ok_or_else(|| SqsError::missing("X-Amz-Target: AmazonSQS.<Action>"))?;
    actions::dispatch(server, action, body).await
}
