//! Requests and answers as handlers see them, and the function that a route's folder exports.

pub mod lambda;
mod list;
pub mod openapi;
mod problem;
pub mod routes;

pub use list::ListInput;

use crate::check::Body;
use crate::context::{Context, Services};
use crate::error::{Error, Fault, Result};
use crate::roles::{Access, Action, allowed};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The most bytes of a body.
pub const MAX_BODY: usize = 1_000_000;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// The path as it was asked for, without the stage.
    pub path: String,
    /// The route that it met, such as `GET /api/v1/pipelines/{id}`.
    pub route: String,
    /// The parts of the path in braces, decoded.
    pub params: HashMap<String, String>,
    /// The query, decoded, in its order.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Names the request in logs and problems.
    pub id: String,
}

impl Request {
    /// A part of the path; empty where the route lacks it.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The last value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// A query parameter that is `true` or `false`; false where it is left out.
    ///
    /// # Errors
    /// A fault at `?name`.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.query(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Error::fault(format!("?{name}"), "type", format!("{other:?} is not true or false"))),
        }
    }

    /// The number of things on a page: `?limit=`.
    ///
    /// # Errors
    /// A fault at `?limit` where it is not a whole number from 1 to `max`.
    pub fn limit(&self, default: usize, max: usize) -> Result<usize> {
        match self.query("limit") {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|n| (1..=max).contains(n)).ok_or_else(|| {
                Error::fault("?limit", "range", format!("{text:?} is not a whole number from 1 to {max}"))
            }),
        }
    }

    /// The JSON body.
    ///
    /// # Errors
    /// 413 for too large, 415 for not JSON, 400 for malformed; one that is missing needs no Content-Type to be that.
    pub fn json(&self) -> Result<Body> {
        self.check_size()?;
        if self.body.is_empty() {
            return crate::check::json(&self.body);
        }
        let declared = self.header(header::CONTENT_TYPE).unwrap_or("");
        let mime = declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if mime != "application/json" && !(mime.starts_with("application/") && mime.ends_with("+json")) {
            return Err(Error::UnsupportedMediaType(format!(
                "the body must be JSON with the header Content-Type: application/json, not {declared:?}"
            )));
        }
        crate::check::json(&self.body)
    }

    /// The JSON body; an empty object where the body is left out, which then needs no Content-Type.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn optional_json(&self) -> Result<Body> {
        if self.body.is_empty() { Ok(Body::new(Value::Object(serde_json::Map::new()))) } else { self.json() }
    }

    /// Checks that there is no input: no body, or an empty object.
    ///
    /// # Errors
    /// As [`Self::json`], and a fault at each field.
    pub fn no_input(&self) -> Result<()> {
        let (parsed, faults) = crate::check::run::nothing(&self.optional_json()?);
        crate::check::finish(parsed, faults).map(|_| ())
    }

    fn check_size(&self) -> Result<()> {
        if self.body.len() > MAX_BODY {
            return Err(Error::TooLarge(format!(
                "the body has {} bytes; {MAX_BODY} at most are accepted",
                self.body.len()
            )));
        }
        Ok(())
    }

    /// The `Idempotency-Key`, where there is one.
    ///
    /// # Errors
    /// A fault where it is empty, longer than 255 characters, or not printable ASCII.
    pub fn idempotency_key(&self) -> Result<Option<String>> {
        let Some(value) = self.headers.get("idempotency-key") else { return Ok(None) };
        match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
            _ => Err(Error::Invalid(vec![Fault::new(
                "Idempotency-Key",
                "length",
                "the header must have 1 to 255 printable ASCII characters",
            )])),
        }
    }

    /// The `If-Match` header; one that is no text names no version that there is, and is not as good as none.
    pub fn if_match(&self) -> Option<String> {
        self.headers.get(header::IF_MATCH).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// An answer with a JSON body.
    ///
    /// # Errors
    /// Where `body` cannot be written as JSON, which is a defect.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self> {
        Self::text(status, "application/json", serde_json::to_vec(body).map_err(Error::internal)?)
    }

    /// An answer with a body of another type.
    ///
    /// # Errors
    /// Where the type is no header value, which is a defect.
    pub fn text(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Result<Self> {
        let mut response = Self { status, headers: HeaderMap::new(), body: body.into() };
        response.set(header::CONTENT_TYPE, content_type)?;
        Ok(response)
    }

    /// 200 with a JSON body.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn ok(body: &impl Serialize) -> Result<Self> {
        Self::json(StatusCode::OK, body)
    }

    /// A single resource with its strong `ETag`.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn resource(status: StatusCode, etag: &str, body: &impl Serialize) -> Result<Self> {
        Self::json(status, body)?.with(header::ETAG, etag)
    }

    /// A resource whose `ETag` is a hash of what is answered.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn hashed(status: StatusCode, body: &impl Serialize) -> Result<Self> {
        use sha2::{Digest, Sha256};
        let response = Self::json(status, body)?;
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&response.body)[..12]));
        response.with(header::ETAG, &etag)
    }

    /// The same with a header.
    ///
    /// # Errors
    /// Where the value is none, which is a defect.
    pub fn with(mut self, name: HeaderName, value: &str) -> Result<Self> {
        self.set(name, value)?;
        Ok(self)
    }

    fn set(&mut self, name: HeaderName, value: &str) -> Result<()> {
        self.headers.insert(name, HeaderValue::from_str(value).map_err(Error::internal)?);
        Ok(())
    }
}

/// Fails where `If-Match` names neither `*` nor the content that this strong `ETag` names.
///
/// # Errors
/// `PreconditionFailed`.
pub fn check_if_match(if_match: Option<&str>, etag: &str) -> Result<()> {
    match if_match {
        None => Ok(()),
        Some(list) if list.split(',').map(str::trim).any(|t| t == "*" || names(t, etag)) => Ok(()),
        Some(list) => Err(Error::PreconditionFailed(format!(
            "If-Match is {list}, but the stored ETag is {etag}: read it again, then change it"
        ))),
    }
}

/// Whether `tag` names the content that `etag` names. What stands behind a dot in that one changes by itself (a connector's
/// test), and nobody's change is lost by it.
fn names(tag: &str, etag: &str) -> bool {
    let Some((content, _)) = etag.split_once('.') else { return tag == etag };
    let rest = tag.strip_prefix(content);
    rest.is_some_and(|rest| rest == "\"" || (rest.starts_with('.') && rest.ends_with('"')))
}

type Handler = Arc<dyn Fn(Context, Request) -> BoxFuture<'static, Result<Response>> + Send + Sync>;

/// A handler with its action: what a folder of `functions/` exports.
#[derive(Clone)]
pub struct Function {
    /// The name of the folder.
    pub name: &'static str,
    routes: Vec<(&'static str, Action, Handler)>,
}

impl Function {
    /// A function with one action. `read` makes the handler's input of the request, `handle` does the work.
    pub fn new<I, A, F>(action: Action, read: fn(&Request) -> Result<I>, handle: F) -> Self
    where
        I: Send + 'static,
        A: Future<Output = Result<Response>> + Send + 'static,
        F: Fn(Context, I) -> A + Send + Sync + 'static,
    {
        let handle = Arc::new(handle);
        let handler: Handler = Arc::new(move |context, request| {
            let handle = Arc::clone(&handle);
            Box::pin(async move { handle(context, read(&request)?).await })
        });
        Self { name: action.name(), routes: vec![("", action, handler)] }
    }

    /// One function that answers several routes, by their keys such as `GET /api/v1/schemas/{id}/data`.
    pub fn router(name: &'static str, routes: Vec<(&'static str, Self)>) -> Self {
        let routes = routes
            .into_iter()
            .flat_map(|(key, function)| {
                function.routes.into_iter().map(move |(_, action, handler)| (key, action, handler))
            })
            .collect();
        Self { name, routes }
    }

    /// The actions that it can do.
    pub fn actions(&self) -> impl Iterator<Item = Action> + '_ {
        self.routes.iter().map(|(_, action, _)| *action)
    }

    /// Checks the token and the role, handles the request, and turns an error into a problem.
    pub async fn respond(&self, services: &Arc<Services>, request: Request) -> Response {
        let (id, head) = (request.id.clone(), request.method == Method::HEAD);
        let mut response = match self.handle(services, request).await {
            Ok(response) => response,
            Err(error) => problem::response(&error, &id),
        };
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers.insert("x-request-id", id);
        }
        response.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if head {
            response.body = Bytes::new();
        }
        response
    }

    async fn handle(&self, services: &Arc<Services>, request: Request) -> Result<Response> {
        let Some((_, action, handler)) = self.routes.iter().find(|(key, ..)| key.is_empty() || *key == request.route)
        else {
            return Err(Error::internal(format!("{} has no route {:?}", self.name, request.route)));
        };
        let context = match action.access() {
            Access::Public => Context::anonymous(services, &request),
            _ => Context::authenticated(services, &request).await?,
        };
        if !allowed(context.caller.role, *action) {
            return Err(Error::Forbidden(match context.caller.role {
                Some(role) => format!("the role {} may not {}", role.name(), action.name().replace('_', " ")),
                None => format!(
                    "a token without the role admin, editor or viewer may not {}",
                    action.name().replace('_', " ")
                ),
            }));
        }
        handler(context, request).await
    }
}

/// What a create carries besides its input.
#[derive(Debug, Clone)]
pub struct Once {
    key: Option<String>,
    path: String,
    body: Bytes,
}

impl Once {
    /// The `Idempotency-Key` of a request with what it is bound to.
    ///
    /// # Errors
    /// A fault where the key is not usable.
    pub fn read(request: &Request) -> Result<Self> {
        Ok(Self { key: request.idempotency_key()?, path: request.path.clone(), body: request.body.clone() })
    }

    /// The JSON body of a create, which also has the fault of a key that is not usable, to be told beside its own.
    ///
    /// # Errors
    /// Those of [`Request::json`].
    pub fn with_body(request: &Request) -> Result<(Self, Body)> {
        let body = request.json()?;
        match Self::read(request) {
            Ok(once) => Ok((once, body)),
            Err(Error::Invalid(faults)) => {
                let once = Self { key: None, path: request.path.clone(), body: request.body.clone() };
                Ok((once, body.with(faults)))
            }
            Err(error) => Err(error),
        }
    }

    /// The record to look for and to keep; none where the request has no key.
    ///
    /// # Errors
    /// Where the deployment has no key for the hash, which is a defect.
    pub fn record(&self, context: &Context) -> Result<Option<crate::store::idempotency::Idempotency>> {
        use crate::store::idempotency::Idempotency;
        let Some(key) = self.key.as_deref() else { return Ok(None) };
        let hash = context.cursors.keyed_hash(&self.body)?;
        let (tenant, caller) = (context.tenant(), &context.caller.subject);
        Ok(Some(Idempotency::new(tenant, caller, &self.path, key, hash, context.now().into())))
    }
}

/// The id of what a PUT changes: of the path, or of the body.
///
/// # Errors
/// A fault where there is none, to be told beside those of the body.
pub fn changed_id(request: &Request, body: &Body) -> Result<String, Fault> {
    request.params.get("id").map_or_else(|| crate::check::id(body), |id| Ok(id.clone()))
}

/// The id of what a DELETE removes: of the path, or of the query.
///
/// # Errors
/// A fault where there is none.
pub fn deleted_id(request: &Request) -> Result<String> {
    match request.params.get("id").map(String::as_str).or_else(|| request.query("id")) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(Error::fault("?id", "required", "the id of what to delete is missing: ?id=…")),
    }
}
