//! One operation: what its author says of it, and what follows from its method, path and action.

use super::answers::Answer;
use super::{parameters, problems, reference};
use crate::roles::{Access, Action, Role, allowed};
use serde_json::{Map, Value, json};

/// The group that an operation is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Pipelines,
    Runs,
    Connectors,
    Schemas,
    Schedules,
    Types,
    Service,
}

impl Tag {
    const ALL: [Self; 7] =
        [Self::Pipelines, Self::Runs, Self::Connectors, Self::Schemas, Self::Schedules, Self::Types, Self::Service];

    fn name(self) -> &'static str {
        match self {
            Self::Pipelines => "pipelines",
            Self::Runs => "runs",
            Self::Connectors => "connectors",
            Self::Schemas => "schemas",
            Self::Schedules => "schedules",
            Self::Types => "types",
            Self::Service => "service",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Pipelines => {
                "Graphs of nodes from a connector to a schema's table, with their schedules and versions."
            }
            Self::Runs => "Runs of pipelines: their state, progress and rejected rows.",
            Self::Connectors => "Where data lies and how to get at it.",
            Self::Schemas => "The definitions of target tables, and the rows in them.",
            Self::Schedules => "Cron expressions, tried out, and what became of the due times of pipelines.",
            Self::Types => "What nodes and connectors there are, for editors.",
            Self::Service => "The service itself.",
        }
    }
}

/// All tags, as the document lists them.
pub(super) fn tags() -> Vec<Value> {
    Tag::ALL.into_iter().map(|tag| json!({"name": tag.name(), "description": tag.description()})).collect()
}

/// The JSON body that an operation takes.
pub(super) struct Sent {
    /// The component that describes it.
    pub schema: &'static str,
    pub required: bool,
    pub example: Option<Value>,
}

impl Sent {
    /// The body of what takes no input.
    pub fn nothing() -> Self {
        Self { schema: "NoInput", required: false, example: Some(json!({})) }
    }
}

/// What is said of an operation.
pub(super) struct Operation {
    pub tag: Tag,
    /// A few words.
    pub summary: &'static str,
    /// What the summary leaves open; roles are added to it.
    pub description: &'static str,
    /// Parameters of the query, by their components.
    pub query: &'static [&'static str],
    pub body: Option<Sent>,
    /// Whether it takes an `Idempotency-Key`.
    pub once: bool,
    /// The status of success.
    pub status: u16,
    pub answer: Answer,
    /// The codes of its 409s, with their meanings.
    pub conflicts: &'static [(&'static str, &'static str)],
}

impl Operation {
    /// An operation that takes nothing but its path and answers 200.
    pub fn read(tag: Tag, summary: &'static str, description: &'static str, answer: Answer) -> Self {
        Self { tag, summary, description, query: &[], body: None, once: false, status: 200, answer, conflicts: &[] }
    }

    /// The operation as the document has it at this route.
    pub fn document(&self, method: &str, path: &str, action: Action) -> Value {
        let mut document = json!({
            "operationId": id(method, path, action),
            "tags": [self.tag.name()],
            "summary": self.summary,
            "description": format!("{}\n\n{}", self.description, who(action)),
        });
        let parameters = self.parameters(method, path);
        if !parameters.is_empty() {
            document["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = &self.body {
            document["requestBody"] = sent(body, named_in_body(method, path));
        }
        document["responses"] = Value::Object(self.responses(method, path, action));
        if action.access() == Access::Public {
            document["security"] = json!([]);
        }
        document
    }

    fn parameters(&self, method: &str, path: &str) -> Vec<Value> {
        let mut names: Vec<&str> = parameters::of_path(path);
        if method == "DELETE" && !path.contains('{') {
            names.push("DeletedId");
        }
        names.extend(self.query);
        if self.once {
            names.push("IdempotencyKey");
        }
        if changes(method) {
            names.push("IfMatch");
        }
        names.into_iter().map(|name| reference("parameters", name)).collect()
    }

    fn responses(&self, method: &str, path: &str, action: Action) -> Map<String, Value> {
        let mut responses = Map::new();
        responses.insert(self.status.to_string(), self.answer.document(self.status));
        for status in self.problems(method, path, action) {
            let problem = match status {
                409 => problems::conflict(self.conflicts),
                _ => problems::of(status),
            };
            responses.insert(status.to_string(), problem);
        }
        responses
    }

    /// The statuses of the errors that the route can give.
    fn problems(&self, method: &str, path: &str, action: Action) -> Vec<u16> {
        let in_query = !self.query.is_empty() || (method == "DELETE" && !path.contains('{'));
        let has_body = self.body.is_some();
        let known = action.access() != Access::Public;
        let looks_up = path.contains('{') || changes(method);
        [
            (400, in_query || has_body || self.once),
            (401, known),
            (403, known),
            (404, looks_up),
            (409, !self.conflicts.is_empty()),
            (412, changes(method)),
            (413, has_body),
            (415, has_body),
            (422, self.once),
            (429, known),
            (500, true),
            (503, known),
        ]
        .into_iter()
        .filter_map(|(status, can)| can.then_some(status))
        .collect()
    }
}

/// The action's name; where two routes do the same, the one without an id in its path says where the id is.
fn id(method: &str, path: &str, action: Action) -> String {
    match (method, path.contains('{')) {
        ("PUT", false) => format!("{}_by_body", action.name()),
        ("DELETE", false) => format!("{}_by_query", action.name()),
        _ => action.name().to_owned(),
    }
}

fn changes(method: &str) -> bool {
    matches!(method, "PUT" | "DELETE")
}

fn named_in_body(method: &str, path: &str) -> bool {
    method == "PUT" && !path.contains('{')
}

fn sent(body: &Sent, with_id: bool) -> Value {
    let mut schema = reference("schemas", body.schema);
    if with_id {
        schema = json!({"allOf": [schema, {"required": ["id"]}]});
    }
    let mut media = json!({"schema": schema});
    if let Some(example) = &body.example {
        media["example"] = example.clone();
    }
    json!({"required": body.required, "content": {"application/json": media}})
}

/// Who may call, in a sentence.
fn who(action: Action) -> String {
    match action.access() {
        Access::Public => "No token is needed.".to_owned(),
        Access::Authenticated => "Any authenticated caller, also one with no known role.".to_owned(),
        Access::AtLeast(_) => {
            let may = Role::ALL.into_iter().filter(|role| allowed(Some(*role), action));
            format!("Roles: {}.", may.map(Role::name).collect::<Vec<_>>().join(", "))
        }
    }
}
