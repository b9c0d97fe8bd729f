//! What is said of the operations on schedules and on the service itself.

use super::answers::Answer;
use super::operation::{Operation, Sent, Tag};
use serde_json::json;

pub(super) fn preview() -> Operation {
    let description = "When a schedule will fire next: a POSIX cron expression of five fields (Sunday is 0 and 7; where both day fields are \
                       restricted either may match), evaluated in `timezone`. A local time that a spring change skips fires once after the \
                       gap, one that an autumn change repeats fires once.";
    let example = json!({"schedule": "0 2 * * MON-FRI", "timezone": "Europe/Berlin", "count": 5});
    Operation {
        body: Some(Sent { schema: "PreviewInput", required: true, example: Some(example) }),
        ..Operation::read(Tag::Schedules, "Preview a schedule", description, Answer::Plain("Preview"))
    }
}

pub(super) fn node_types() -> Operation {
    let description = "Every node type with the JSON Schema of its config, its inputs and outputs, and the ops of a transform, so that an \
                       editor can draw its forms.";
    Operation::read(Tag::Types, "List node types", description, Answer::One("NodeTypes"))
}

pub(super) fn connector_types() -> Operation {
    let description = "Every connector type with the JSON Schemas of its config and of what proves who it is, whether it can be \
                       read and written, and the formats of its files.";
    Operation::read(Tag::Types, "List connector types", description, Answer::One("ConnectorTypes"))
}

pub(super) fn health() -> Operation {
    Operation::read(Tag::Service, "Check the service", "Answers while the service is up.", Answer::Plain("Health"))
}

pub(super) fn openapi() -> Operation {
    Operation::read(Tag::Service, "Get this document", "The whole contract as OpenAPI 3.1.", Answer::Object)
}
