//! The Lambda side: an API Gateway event becomes a [`Request`], a [`Response`] its answer.

use super::{Function, Request, Response};
use crate::context::Services;
use bytes::Bytes;
use lambda_http::request::RequestContext;
use lambda_http::{Body, RequestExt};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a call to the table, a queue or the key service may take in a function that answers requests: less than the 10 s
/// after which the function is ended, and its caller told by API Gateway instead.
pub const LONGEST_CALL: Duration = Duration::from_secs(8);

/// Serves one function until the runtime ends the process.
pub fn main(function: fn() -> Function) -> ExitCode {
    crate::runtime::start(async move {
        let services = crate::runtime::services(Some(LONGEST_CALL)).await?;
        serve_runtime(function(), services).await
    })
}

/// Serves `function` through the Lambda Runtime API.
///
/// # Errors
/// Where the runtime cannot be reached.
pub async fn serve_runtime(function: Function, services: Arc<Services>) -> Result<(), lambda_http::Error> {
    let function = Arc::new(function);
    lambda_http::run(lambda_http::service_fn(move |event: lambda_http::Request| {
        let (function, services) = (Arc::clone(&function), Arc::clone(&services));
        async move { Ok::<_, std::convert::Infallible>(serve(&function, &services, event).await) }
    }))
    .await
}

/// Answers one event.
pub async fn serve(function: &Function, services: &Arc<Services>, event: lambda_http::Request) -> http::Response<Body> {
    let request = request(event);
    let (id, method, path) = (request.id.clone(), request.method.clone(), request.path.clone());
    let started = std::time::Instant::now();
    let response = function.respond(services, request).await;
    tracing::info!(
        request = id,
        method = %method,
        path,
        status = response.status.as_u16(),
        ms = started.elapsed().as_millis() as u64,
        "request"
    );
    answer(response)
}

fn request(event: lambda_http::Request) -> Request {
    let params = event.path_parameters();
    let query = event.query_string_parameters();
    let (mut route, mut id, mut path) = (String::new(), String::new(), event.raw_http_path().to_owned());
    if let Some(RequestContext::ApiGatewayV2(context)) = event.request_context_ref() {
        route = context.route_key.clone().unwrap_or_default();
        id = context.request_id.clone().unwrap_or_default();
        // A named stage stands before the path of the event, and is no part of the API's.
        if let Some(stage) = context.stage.as_deref().filter(|s| *s != "$default")
            && let Some(rest) = path.strip_prefix('/').and_then(|p| p.strip_prefix(stage))
            && rest.starts_with('/')
        {
            path = rest.to_owned();
        }
    }
    if id.is_empty() {
        id = uuid::Uuid::new_v4().to_string();
    }
    let params = params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let query = query.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let (parts, body) = event.into_parts();
    Request {
        method: parts.method,
        path,
        route,
        params,
        query,
        headers: parts.headers,
        body: match body {
            Body::Text(text) => Bytes::from(text),
            Body::Binary(bytes) => Bytes::from(bytes),
            _ => Bytes::new(),
        },
        id,
    }
}

fn answer(response: Response) -> http::Response<Body> {
    let body = match String::from_utf8(response.body.into()) {
        Ok(text) if text.is_empty() => Body::Empty,
        Ok(text) => Body::Text(text),
        Err(bytes) => Body::Binary(bytes.into_bytes()),
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    answer
}
