//! Turns HTTP into the events that API Gateway sends, for the same handlers that the Lambda functions run.

use crate::functions::Functions;
use crate::template::Route;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use shared::context::Services;
use shared::http::Function;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the longest body that API Gateway takes.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// How long API Gateway waits for a function.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// The routes with the functions that answer them.
pub struct Gateway {
    routes: Vec<Bound>,
    fallback: Function,
    services: Arc<Services>,
}

/// A route with its function.
struct Bound {
    key: String,
    method: String,
    /// The parts of the path, of which `{name}` takes any.
    path: Vec<String>,
    function: Function,
}

impl Gateway {
    /// Binds the routes of the template to the functions.
    ///
    /// # Errors
    /// Where a route names a function that is not linked in, or the default route is missing.
    pub fn new(routes: &[Route], functions: &Functions, services: Arc<Services>) -> Result<Self, String> {
        let mut bound = Vec::with_capacity(routes.len());
        let mut fallback = None;
        for route in routes {
            let function = functions.http(&route.function).ok_or_else(|| {
                format!("template.yaml routes {:?} to functions/{}, which is not linked in", route.key, route.function)
            })?;
            match route.key.split_once(' ') {
                None => fallback = Some(function),
                Some((method, path)) => bound.push(Bound {
                    key: route.key.clone(),
                    method: method.to_owned(),
                    path: path.split('/').map(str::to_owned).collect(),
                    function,
                }),
            }
        }
        let fallback = fallback.ok_or("template.yaml has no default route")?;
        Ok(Self { routes: bound, fallback, services })
    }

    /// The gateway as an axum application.
    pub fn router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self))
    }

    /// The route that a request meets, with the parts of its path; the more literal route wins, as on AWS.
    fn route(&self, method: &str, path: &str) -> (&str, &Function, Map<String, Value>) {
        let parts: Vec<&str> = path.split('/').collect();
        let best = self
            .routes
            .iter()
            .filter(|route| route.method == method || route.method == "ANY")
            .filter_map(|route| Some((route, meet(&route.path, &parts)?)))
            .min_by_key(|(_, params)| params.len());
        match best {
            Some((route, params)) => (&route.key, &route.function, params),
            None => ("$default", &self.fallback, Map::new()),
        }
    }
}

/// The parts of a path that a pattern names, decoded; `None` where they do not meet.
fn meet(pattern: &[String], path: &[&str]) -> Option<Map<String, Value>> {
    if pattern.len() != path.len() {
        return None;
    }
    let mut params = Map::new();
    for (pattern, part) in pattern.iter().zip(path) {
        match pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !part.is_empty() => {
                let decoded = percent_decode_str(part).decode_utf8_lossy().into_owned();
                params.insert(name.to_owned(), Value::String(decoded));
            }
            _ if pattern == part => {}
            _ => return None,
        }
    }
    Some(params)
}

async fn handle(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        Err(_) => return message(StatusCode::BAD_REQUEST, "Bad Request"),
    };
    // A task of its own: like a Lambda function it ends what it began when the client goes away, and a defect in it
    // costs this one answer.
    let call = tokio::spawn(async move {
        let (key, function, params) = gateway.route(parts.method.as_str(), parts.uri.path());
        let event = event(&parts, &body, peer, key, params, gateway.services.clock.now());
        match lambda_http::request::from_str(&event.to_string()) {
            Ok(event) => Ok(shared::http::lambda::serve(function, &gateway.services, event).await),
            Err(error) => Err(error),
        }
    });
    match tokio::time::timeout(LONGEST_ANSWER, call).await {
        Ok(Ok(Ok(response))) => response.map(|body| match body {
            lambda_http::Body::Text(text) => Body::from(text),
            lambda_http::Body::Binary(bytes) => Body::from(bytes),
            _ => Body::empty(),
        }),
        Ok(Ok(Err(error))) => {
            tracing::error!(%error, "the gateway's event cannot be read");
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a function failed");
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
        Err(_) => message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

/// What a function answers to an event of an HTTP API, in the form in which Lambda hands it back.
///
/// # Errors
/// Where the event is none of an HTTP API.
pub async fn invoke(function: &Function, services: &Arc<Services>, event: &Value) -> Result<Value, serde_json::Error> {
    let event = lambda_http::request::from_str(&event.to_string())?;
    let (parts, body) = shared::http::lambda::serve(function, services, event).await.into_parts();
    let headers: Map<String, Value> =
        parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), json!(text(value)))).collect();
    let (body, is_base64) = match body {
        lambda_http::Body::Text(text) => (json!(text), false),
        lambda_http::Body::Binary(bytes) => (json!(STANDARD.encode(bytes)), true),
        _ => (Value::Null, false),
    };
    Ok(json!({"statusCode": parts.status.as_u16(), "headers": headers, "body": body, "isBase64Encoded": is_base64}))
}

/// What API Gateway itself answers.
fn message(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(json!({ "message": text }).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The event of an HTTP API, payload format 2.0.
fn event(
    parts: &Parts,
    body: &Bytes,
    peer: SocketAddr,
    key: &str,
    params: Map<String, Value>,
    now: DateTime<Utc>,
) -> Value {
    let path = parts.uri.path();
    let host = host(parts);
    let mut event = json!({
        "version": "2.0",
        "routeKey": key,
        "rawPath": path,
        "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": headers(&parts.headers, peer, &host),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": "local",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": format!("{:?}", parts.version),
                "sourceIp": peer.ip().to_string(),
                "userAgent": parts.headers.get(header::USER_AGENT).map(text),
            },
            "requestId": uuid::Uuid::new_v4().to_string(),
            "routeKey": key,
            "stage": "$default",
            "time": now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.timestamp_millis(),
        },
    });
    let Some(fields) = event.as_object_mut() else { return event };
    if !params.is_empty() {
        fields.insert("pathParameters".to_owned(), Value::Object(params));
    }
    let cookies: Vec<String> = parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| text(value).split("; ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    if !cookies.is_empty() {
        fields.insert("cookies".to_owned(), json!(cookies));
    }
    let plain = std::str::from_utf8(body).ok().filter(|_| is_text(&parts.headers));
    if let Some(plain) = plain.filter(|plain| !plain.is_empty()) {
        fields.insert("body".to_owned(), json!(plain));
    } else if !body.is_empty() {
        fields.insert("body".to_owned(), json!(STANDARD.encode(body)));
    }
    fields.insert("isBase64Encoded".to_owned(), json!(plain.is_none() && !body.is_empty()));
    event
}

/// The host that was asked for. API Gateway always has a valid one, and the handlers' adapter fails without.
fn host(parts: &Parts) -> String {
    let asked = parts.headers.get(header::HOST).map(text);
    let asked = asked.or_else(|| parts.uri.authority().map(ToString::to_string));
    asked.filter(|host| url::Url::parse(&format!("http://{host}/")).is_ok()).unwrap_or_else(|| "localhost".to_owned())
}

/// The headers with lower-case names, several of one name joined by commas, and what API Gateway adds.
fn headers(headers: &HeaderMap, peer: SocketAddr, host: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for name in headers.keys().filter(|name| *name != header::COOKIE) {
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        all.insert(name.as_str().to_owned(), json!(values.join(",")));
    }
    all.insert("host".to_owned(), json!(host));
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    all.insert("x-forwarded-for".to_owned(), json!(peer.ip().to_string()));
    all.insert("x-forwarded-port".to_owned(), json!(port));
    all.insert("x-forwarded-proto".to_owned(), json!("http"));
    all
}

/// A header's value; bytes that are not UTF-8 are read as Latin-1, as HTTP has them.
fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Whether API Gateway hands a body of this type on as it is; others it encodes.
fn is_text(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).map(text).unwrap_or_default().to_ascii_lowercase();
    let mime = declared.split(';').next().unwrap_or_default().trim().to_owned();
    mime.starts_with("text/")
        || mime.ends_with("+json")
        || mime.ends_with("+xml")
        || ["application/json", "application/xml", "application/javascript"].contains(&mime.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap().into_parts().0
    }

    /// The event of a request that came at nine.
    fn event(parts: &Parts, body: &[u8], key: &str, params: Map<String, Value>) -> Value {
        let peer = "127.0.0.1:5000".parse().unwrap();
        super::event(parts, &Bytes::copy_from_slice(body), peer, key, params, "2026-01-15T09:00:00Z".parse().unwrap())
    }

    #[test]
    fn an_event_has_the_shape_of_payload_2_0() {
        let parts = parts(
            "POST",
            "/api/v1/pipelines/a%2Fb/run?x=1&x=2",
            &[
                ("Host", "h:1"),
                ("X-A", "1"),
                ("X-A", "2"),
                ("Content-Type", "application/json"),
                ("Cookie", "a=1; b=2"),
            ],
        );
        let params = json!({ "id": "a/b" }).as_object().cloned().unwrap();
        let event = event(&parts, b"{}", "POST /api/v1/pipelines/{id}/run", params);
        assert_eq!(event["rawQueryString"], "x=1&x=2");
        assert_eq!(event["headers"]["x-a"], "1,2");
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        assert_eq!(event["requestContext"]["http"]["protocol"], "HTTP/1.1");
        assert_eq!(event["requestContext"]["time"], "15/Jan/2026:09:00:00 +0000");
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        assert_eq!(request.method(), "POST");
    }

    #[test]
    fn without_cookies_and_body_an_event_has_neither() {
        let event = event(&parts("GET", "/", &[]), b"", "$default", Map::new());
        for absent in ["cookies", "body", "pathParameters"] {
            assert!(event.get(absent).is_none(), "{absent}");
        }
        assert!(lambda_http::request::from_str(&event.to_string()).is_ok());
    }

    #[test]
    fn a_host_that_is_none_does_no_harm() {
        for wrong in ["", "a b", "[::1", "h:port"] {
            let event = event(&parts("GET", "/x", &[("Host", wrong)]), b"", "$default", Map::new());
            assert_eq!(event["headers"]["host"], "localhost", "{wrong}");
            assert!(lambda_http::request::from_str(&event.to_string()).is_ok());
        }
    }

    #[test]
    fn a_body_that_is_not_text_is_encoded() {
        let event = event(&parts("POST", "/", &[]), &[0xff], "$default", Map::new());
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("/w=="), &json!(true)));
    }

    #[test]
    fn a_route_takes_whole_parts_only() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let pattern = path("/pipelines/{id}/runs");
        let meets = |asked: &str| {
            let parts: Vec<&str> = asked.split('/').collect();
            meet(&pattern, &parts)
        };
        assert_eq!(meets("/pipelines/a%20b/runs").unwrap()["id"], "a b");
        assert!(meets("/pipelines//runs").is_none());
        assert!(meets("/pipelines/a/runs/b").is_none());
    }
}
