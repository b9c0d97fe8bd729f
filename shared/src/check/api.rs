//! What the schema of a `rest_api` connector's config cannot say.

use super::pointer;
use crate::Fault;
use crate::models::connector::{HttpMethod, Pagination, RestApiConfig};

/// Headers that are set for each request.
const OURS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "accept-encoding",
    "expect",
];
/// Headers that carry secrets.
const SECRET: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token", "x-access-token"];
/// Words in the names of headers that carry secrets.
const SECRET_WORDS: &[&str] = &["api-key", "apikey", "secret", "password", "token"];

/// Adds the faults of `config` at `at` (such as `/config`).
pub(super) fn check(config: &RestApiConfig, at: &str, faults: &mut Vec<Fault>) {
    headers(config, at, faults);
    if config.body.is_some() && config.method.unwrap_or_default() == HttpMethod::Get {
        faults.push(Fault::new(pointer::push(at, "body"), "contradiction", "a body goes with the method POST only"));
    }
    if let Some(path) = &config.records_path {
        dotted(path, &pointer::push(at, "recordsPath"), faults);
    }
    if let Some(pagination) = &config.pagination {
        pages(pagination, &pointer::push(at, "pagination"), faults);
    }
    let Some(options) = &config.options else { return };
    let at = pointer::push(at, "options");
    for (name, given) in [("encoding", options.encoding.is_some()), ("skipRows", options.skip_rows.is_some())] {
        if given {
            let detail = format!("{name} means nothing for an API, whose answers are JSON in UTF-8");
            faults.push(Fault::new(pointer::push(&at, name), "contradiction", detail));
        }
    }
}

fn headers(config: &RestApiConfig, at: &str, faults: &mut Vec<Fault>) {
    let at = pointer::push(at, "headers");
    for (name, value) in config.headers.iter().flatten() {
        let at = pointer::push(&at, name);
        let lower = name.to_ascii_lowercase();
        // Values are never shown: one of them may be a secret.
        if name.is_empty() || name.len() > 100 || !name.bytes().all(is_token) {
            let detail = "a header's name has 1 to 100 letters, digits and hyphens";
            faults.push(Fault::new(at, "format", detail));
        } else if SECRET.contains(&lower.as_str()) || SECRET_WORDS.iter().any(|word| lower.contains(word)) {
            let detail = "headers are shown to everybody who sees the connector; \
                          put the secret into authConfig, with the authMethod bearer, password or api_key";
            faults.push(Fault::new(at, "contradiction", detail));
        } else if OURS.contains(&lower.as_str()) {
            faults.push(Fault::new(at, "contradiction", "this header is set for each request; leave it out"));
        } else if value.len() > 8192 || !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            let detail = "a header's value has 8,192 printable ASCII characters at most, and no line breaks";
            faults.push(Fault::new(at, "format", detail));
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn pages(pagination: &Pagination, at: &str, faults: &mut Vec<Fault>) {
    let param = |name: &str, value: &Option<String>, faults: &mut Vec<Fault>| {
        let is_wrong =
            |v: &String| v.is_empty() || v.len() > 100 || v.chars().any(|c| c.is_control() || c.is_whitespace());
        if value.as_ref().is_some_and(is_wrong) {
            let detail = "a query parameter's name has 1 to 100 characters and no white space";
            faults.push(Fault::new(pointer::push(at, name), "format", detail));
        }
    };
    let differ = |first: &str, second: &str, name: &str, faults: &mut Vec<Fault>| {
        if first == second {
            let detail = format!("two parameters cannot have the one name {first:?}");
            faults.push(Fault::new(pointer::push(at, name), "contradiction", detail));
        }
    };
    match pagination {
        Pagination::None => {}
        Pagination::Page { page_param, size_param, page_size, .. } => {
            param("pageParam", page_param, faults);
            param("sizeParam", size_param, faults);
            if size_param.is_some() && page_size.is_none() {
                let detail = "the parameter is sent only where pageSize says its value; give pageSize too";
                faults.push(Fault::new(pointer::push(at, "sizeParam"), "contradiction", detail));
            }
            let (page, size) = (page_param.as_deref().unwrap_or("page"), size_param.as_deref().unwrap_or("per_page"));
            differ(page, size, "sizeParam", faults);
        }
        Pagination::Offset { offset_param, limit_param, .. } => {
            param("offsetParam", offset_param, faults);
            param("limitParam", limit_param, faults);
            let (offset, limit) =
                (offset_param.as_deref().unwrap_or("offset"), limit_param.as_deref().unwrap_or("limit"));
            differ(offset, limit, "limitParam", faults);
        }
        Pagination::Cursor { cursor_param, cursor_path } => {
            param("cursorParam", cursor_param, faults);
            dotted(cursor_path, &pointer::push(at, "cursorPath"), faults);
        }
        Pagination::Link { next_path } => {
            if let Some(path) = next_path {
                dotted(path, &pointer::push(at, "nextPath"), faults);
            }
        }
    }
}

/// A path into an answer: keys with dots between them.
fn dotted(path: &str, at: &str, faults: &mut Vec<Fault>) {
    if path.split('.').any(|key| key.trim().is_empty()) || path.starts_with(['$', '/']) {
        let detail = "must be keys with dots between them, such as \"data.items\"";
        faults.push(Fault::new(at, "format", detail));
    }
}
