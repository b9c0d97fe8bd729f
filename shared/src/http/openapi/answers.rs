//! What operations answer when they succeed, with the headers of answers as components.

use super::reference;
use serde_json::{Map, Value, json};

/// The answer of an operation that succeeds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// No body.
    Nothing,
    /// A single resource with its `ETag`, by its component.
    One(&'static str),
    /// JSON without an `ETag`, by its component.
    Plain(&'static str),
    /// Rejected rows, as JSON or CSV.
    Rejected,
    /// Any JSON object.
    Object,
}

impl Answer {
    /// The answer with its status.
    pub fn document(self, status: u16) -> Value {
        let mut headers = Map::new();
        let mut add =
            |header: &str, component: &str| headers.insert(header.to_owned(), reference("headers", component));
        add("X-Request-Id", "RequestId");
        if matches!(self, Self::One(_)) {
            add("ETag", "ETag");
        }
        if status == 201 {
            add("Location", "Location");
        }
        if matches!(self, Self::Rejected) {
            add("Link", "Link");
            add("Content-Disposition", "ContentDisposition");
        }
        let mut answer = json!({"description": description(status), "headers": headers});
        if let Some(content) = self.content() {
            answer["content"] = content;
        }
        answer
    }

    fn content(self) -> Option<Value> {
        let json = |schema: Value| json!({"application/json": {"schema": schema}});
        Some(match self {
            Self::Nothing => return None,
            Self::One(name) | Self::Plain(name) => json(reference("schemas", name)),
            Self::Object => json(json!({"type": "object"})),
            Self::Rejected => json!({
                "application/json": {"schema": reference("schemas", "RowErrorPage")},
                "text/csv": {
                    "schema": {"type": "string", "description": "RFC 4180; every page begins with the header."},
                    "example": "Row,Column,Value,Error\r\n17,age,abc,\"not an integer: \"\"abc\"\"\"\r\n"
                }
            }),
        })
    }
}

fn description(status: u16) -> &'static str {
    match status {
        201 => "It is made.",
        202 => "It is accepted and will be done shortly.",
        204 => "It is gone.",
        _ => "As asked for.",
    }
}

/// The headers of answers and problems, by component.
pub(super) fn headers() -> Map<String, Value> {
    let text = |description: &str, example: &str| json!({"description": description, "schema": {"type": "string"}, "example": example});
    let seconds = json!({"description": "Seconds to wait before another try.", "schema": {"type": "integer", "minimum": 0}, "example": 2});
    let all = [
        ("RequestId", text("Names the request in logs and problems.", "7f4f0f0e-4c4f-4d0e-9d0a-4e4b7f0f0e4c")),
        ("ETag", text("The strong tag of what is answered, for If-Match.", "\"3\"")),
        ("Location", text("The path of what was made.", "/api/v1/pipelines/pipe_0199b3c4d5e67f8091a2b3c4d5e6f708")),
        (
            "Link",
            text(
                "With CSV: the next page, as `rel=\"next\"`; left out on the last one.",
                "</api/v1/…/errors?limit=1000&cursor=…>; rel=\"next\"",
            ),
        ),
        (
            "ContentDisposition",
            text(
                "With CSV: the name of the file.",
                "attachment; filename=\"run_0199b3c4d5e67f8091a2b3c4d5e6f708-errors.csv\"",
            ),
        ),
        ("RetryAfter", seconds),
        ("WwwAuthenticate", text("The scheme that is wanted.", "Bearer")),
    ];
    all.into_iter().map(|(name, header)| (name.to_owned(), header)).collect()
}
