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

pub(super) fn health() -> Operation {
    Operation::read(Tag::Service, "Check the service", "Answers while the service is up.", Answer::Plain("Health"))
}

pub(super) fn openapi() -> Operation {
    Operation::read(Tag::Service, "Get this document", "The whole contract as OpenAPI 3.1.", Answer::Object)
}
