//! What is said of the operations on connectors.

use super::answers::Answer;
use super::operation::{Operation, Sent, Tag};
use super::parameters::PAGE;
use serde_json::json;

const NAME_TAKEN: (&str, &str) = ("NAME_TAKEN", "another connector has the name already");
const BUSY: (&str, &str) = ("BUSY", "others change the same things in this moment; try again");

pub(super) fn list() -> Operation {
    let description = "Newest first; `authConfig` is never shown.";
    let answer = Answer::Plain("ConnectorPage");
    Operation { query: PAGE, ..Operation::read(Tag::Connectors, "List connectors", description, answer) }
}

pub(super) fn get() -> Operation {
    let description = "The connector with the outcome of its last test; `authConfig` is never shown. A test changes the ETag, but \
                       `If-Match` holds as long as nobody has changed the connector itself.";
    Operation::read(Tag::Connectors, "Get a connector", description, Answer::One("Connector"))
}

pub(super) fn create() -> Operation {
    let description = "`type` picks the shape of `config`. `authConfig` is write-only and encrypted at rest. `local_fs` may be off in a \
                       deployment.";
    let example = json!({
        "name": "Customer files",
        "type": "aws_s3",
        "config": {"bucket": "acme-exports", "prefix": "customers/", "region": "eu-central-1", "format": "csv"},
        "authMethod": "access_key",
        "authConfig": {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "…"}
    });
    Operation {
        body: Some(Sent { schema: "ConnectorInput", required: true, example: Some(example) }),
        once: true,
        status: 201,
        conflicts: &[NAME_TAKEN, BUSY],
        ..Operation::read(Tag::Connectors, "Create a connector", description, Answer::One("Connector"))
    }
}

pub(super) fn update() -> Operation {
    let description = "Fields left out stay, `null` clears an optional one, `config` is replaced whole. A change of where or how to connect \
                       makes the connector untested again.";
    let example = json!({"id": "conn_0199b3c4d5e67f8091a2b3c4d5e6f708", "description": "Exports of the night"});
    Operation {
        body: Some(Sent { schema: "ConnectorUpdate", required: true, example: Some(example) }),
        conflicts: &[NAME_TAKEN, BUSY],
        ..Operation::read(Tag::Connectors, "Change a connector", description, Answer::One("Connector"))
    }
}

pub(super) fn delete() -> Operation {
    let description = "Removes a connector that no pipeline uses.";
    Operation {
        status: 204,
        conflicts: &[("IN_USE", "pipelines use the connector; the detail names them"), BUSY],
        ..Operation::read(Tag::Connectors, "Delete a connector", description, Answer::Nothing)
    }
}

pub(super) fn test() -> Operation {
    let description = "Connects and looks at something small, for 20 seconds at most. A connector that does not work answers 200 too, with \
                       `ok` false and the reason. The outcome is kept in `status`, `lastTestedAt` and `lastError`, \
                       unless the connector was changed meanwhile.";
    Operation {
        body: Some(Sent::nothing()),
        ..Operation::read(Tag::Connectors, "Test a connector", description, Answer::Plain("ConnectorTest"))
    }
}
