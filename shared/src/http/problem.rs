//! Where an error meets its status code: RFC 9457 `application/problem+json`.

use super::Response;
use crate::error::Error;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// The problem that a caller sees. What is internal is logged here and not shown.
pub(super) fn response(error: &Error, request_id: &str) -> Response {
    let (status, code, title) = kind(error);
    if status.is_server_error() {
        let cause = std::error::Error::source(error).map(|s| s.to_string()).unwrap_or_default();
        tracing::error!(request = request_id, error = %error, cause, "request failed");
    }
    let detail = match error {
        Error::Internal(_) => "something went wrong on our side; the request id names it in the logs".to_owned(),
        Error::Invalid(faults) => match faults.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("the request has {} faults; each is in errors", many.len()),
        },
        other => other.to_string(),
    };
    let mut body = json!({
        "type": format!("urn:flowgate:problem:{}", code.to_ascii_lowercase().replace('_', "-")),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "instance": request_id,
        "code": code,
    });
    if let Error::Invalid(faults) = error {
        body["errors"] = json!(faults);
    }
    let mut response = Response::empty(status);
    response.body = body.to_string().into();
    let headers = &mut response.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match error {
        Error::Unauthenticated(_) => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Error::Throttled | Error::Unavailable { .. } | Error::TimedOut(_) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        Error::MethodNotAllowed { allow } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(header::ALLOW, allow);
            }
        }
        _ => {}
    }
    response
}

fn kind(error: &Error) -> (StatusCode, &'static str, &'static str) {
    match error {
        Error::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "A valid token is needed"),
        Error::Forbidden(_) => (StatusCode::FORBIDDEN, "FORBIDDEN", "Not allowed"),
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, "VALIDATION_FAILED", "The request is not valid"),
        Error::Malformed(_) => (StatusCode::BAD_REQUEST, "MALFORMED", "The body cannot be read"),
        Error::UnsupportedMediaType(_) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "The body must be JSON")
        }
        Error::NotFound { .. } => (StatusCode::NOT_FOUND, "NOT_FOUND", "Not found"),
        Error::MethodNotAllowed { .. } => {
            (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "The path does not answer this method")
        }
        Error::Conflict { code, .. } => (StatusCode::CONFLICT, code, "In conflict with what is stored"),
        Error::PreconditionFailed(_) => {
            (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", "It was changed in the meantime")
        }
        Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", "Too large"),
        Error::IdempotencyMismatch(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED", "The idempotency key was used before")
        }
        Error::Throttled => (StatusCode::TOO_MANY_REQUESTS, "THROTTLED", "Too many requests"),
        Error::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "Not available right now"),
        Error::TimedOut(_) => (StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT", "It took too long"),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "Something went wrong on our side"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_internal_is_not_shown() {
        let away = || std::io::Error::other("10.0.3.7:443 refused table flowgate-prod");
        let unavailable = Error::Unavailable { what: "the store", source: Box::new(away()) };
        for (error, status) in [(Error::internal(away()), 500), (unavailable, 503), (Error::Throttled, 429)] {
            let answer = response(&error, "request-1");
            assert_eq!(answer.status.as_u16(), status);
            let body = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(body.contains("request-1"), "{body}");
            assert!(!body.contains("10.0.3.7") && !body.contains("flowgate-prod"), "{body}");
        }
    }
}
