//! The errors that routes give, as components: `application/problem+json` by status.

use super::reference;
use serde_json::{Map, Value, json};

/// One status, with what all routes say of it.
struct Problem {
    status: u16,
    component: &'static str,
    description: &'static str,
    /// A header beside the request's id, with its component.
    header: Option<(&'static str, &'static str)>,
}

const fn problem(status: u16, component: &'static str, description: &'static str) -> Problem {
    Problem { status, component, description, header: None }
}

const ALL: &[Problem] = &[
    problem(
        400,
        "BadRequest",
        "`MALFORMED`: the body is no JSON. `VALIDATION_FAILED`: `errors` lists every fault with its JSON Pointer \
         (`?name` for the query, the name of a header).",
    ),
    Problem {
        header: Some(("WWW-Authenticate", "WwwAuthenticate")),
        ..problem(401, "Unauthorized", "`UNAUTHENTICATED`: no token, or one that is not valid.")
    },
    problem(403, "Forbidden", "`FORBIDDEN`: the role may not do this, or the token names no tenant."),
    problem(404, "NotFound", "`NOT_FOUND`: the tenant has nothing of this id."),
    problem(
        412,
        "PreconditionFailed",
        "`PRECONDITION_FAILED`: `If-Match` names another version than the stored one. Read it again, then change it.",
    ),
    problem(
        413,
        "TooLarge",
        "`TOO_LARGE`: the body is larger than 1 MB, or what is to be stored is larger than 400 KB.",
    ),
    problem(415, "UnsupportedMediaType", "`UNSUPPORTED_MEDIA_TYPE`: the body is not declared as JSON."),
    problem(
        422,
        "IdempotencyKeyReused",
        "`IDEMPOTENCY_KEY_REUSED`: the key was used with another body within 24 hours, or before the deployment's secret for \
         such records was replaced.",
    ),
    Problem {
        header: Some(("Retry-After", "RetryAfter")),
        ..problem(
            429,
            "TooManyRequests",
            "`THROTTLED`: too many requests. The gateway's own answer may lack this body.",
        )
    },
    problem(500, "InternalError", "`INTERNAL`: a defect of ours. `instance` names the request in the logs."),
    Problem {
        header: Some(("Retry-After", "RetryAfter")),
        ..problem(
            503,
            "Unavailable",
            "`UNAVAILABLE`: something that is needed does not answer right now. `TIMEOUT`: it took longer than a request may; `detail` says what was done.",
        )
    },
];

/// The problem of a status that all routes give alike.
pub(super) fn of(status: u16) -> Value {
    let component = ALL.iter().find(|p| p.status == status).map_or("InternalError", |p| p.component);
    reference("responses", component)
}

/// A route's 409, with the codes that it gives.
pub(super) fn conflict(codes: &[(&str, &str)]) -> Value {
    let codes: Vec<String> = codes.iter().map(|(code, meaning)| format!("`{code}`: {meaning}.")).collect();
    response(&codes.join(" "), None)
}

/// All of them but 409, by name.
pub(super) fn components() -> Map<String, Value> {
    ALL.iter().map(|p| (p.component.to_owned(), response(p.description, p.header))).collect()
}

fn response(description: &str, header: Option<(&str, &str)>) -> Value {
    let mut headers = json!({"X-Request-Id": reference("headers", "RequestId")});
    if let Some((name, component)) = header {
        headers[name] = reference("headers", component);
    }
    json!({
        "description": description,
        "headers": headers,
        "content": {"application/problem+json": {"schema": reference("schemas", "Problem")}}
    })
}
