//! What is said of the operations on pipelines.

use super::answers::Answer;
use super::operation::{Operation, Sent, Tag};
use super::parameters::PAGE;
use serde_json::{Value, json};

const BUSY: (&str, &str) = ("BUSY", "others change the same things in this moment; try again");

pub(super) fn list() -> Operation {
    let description = "Newest first, with their nodes, edges, connectors and schemas.";
    let answer = Answer::Plain("PipelinePage");
    Operation { query: PAGE, ..Operation::read(Tag::Pipelines, "List pipelines", description, answer) }
}

pub(super) fn get() -> Operation {
    let description = "The pipeline as it is now. Its ETag is its version, which runs do not change.";
    Operation::read(Tag::Pipelines, "Get a pipeline", description, Answer::One("Pipeline"))
}

pub(super) fn create() -> Operation {
    let description = "Makes a pipeline in its first version. The ids of nodes in the body are temporary and map the edges: stored nodes \
                       and edges get ids of their own, and a node's answer keeps the temporary one as `clientId`. No nodes at all means: \
                       copy the connector's data into the schema, column by column by name. The graph must be acyclic, and every node \
                       reachable from a source and on a way to a target. A pipeline names 30 connectors at most, and 40 connectors \
                       and tables (its own schema's is one) together.";
    Operation {
        body: Some(Sent { schema: "PipelineInput", required: true, example: Some(example()) }),
        once: true,
        status: 201,
        conflicts: &[BUSY],
        ..Operation::read(Tag::Pipelines, "Create a pipeline", description, Answer::One("Pipeline"))
    }
}

pub(super) fn update() -> Operation {
    let description = "Makes a new immutable version; runs keep the version that they started with. Fields left out stay, `null` clears an \
                       optional one, objects are replaced whole. Where `nodes` are given, the stored nodes and edges are replaced entirely: \
                       `edges` without `nodes` is a fault, `nodes` without `edges` means no edges. What was read may be sent back: read-only \
                       fields are ignored, and a node sent with its stored id keeps it.";
    Operation {
        body: Some(Sent {
            schema: "PipelineUpdate",
            required: true,
            example: Some(json!({"id": "pipe_0199b3c4d5e67f8091a2b3c4d5e6f708", "schedule": null, "enabled": false})),
        }),
        conflicts: &[BUSY],
        ..Operation::read(Tag::Pipelines, "Change a pipeline", description, Answer::One("Pipeline"))
    }
}

pub(super) fn delete() -> Operation {
    let description = "Removes the pipeline with its nodes, edges, versions and runs. Its schedule stops, and live runs are cancelled.";
    Operation {
        status: 204,
        conflicts: &[BUSY],
        ..Operation::read(Tag::Pipelines, "Delete a pipeline", description, Answer::Nothing)
    }
}

pub(super) fn versions() -> Operation {
    let description = "All versions of the pipeline, newest first.";
    let answer = Answer::Plain("PipelinePage");
    Operation { query: PAGE, ..Operation::read(Tag::Pipelines, "List a pipeline's versions", description, answer) }
}

pub(super) fn version() -> Operation {
    let description = "The pipeline as it was in this version.";
    Operation::read(Tag::Pipelines, "Get a pipeline's version", description, Answer::One("Pipeline"))
}

fn example() -> Value {
    json!({
        "name": "Customer Import",
        "connectorId": "conn_0199b3c4d5e67f8091a2b3c4d5e6f708",
        "schemaId": "schema_0199b3c4d5e67f8091a2b3c4d5e6f709",
        "schedule": "0 2 * * *",
        "timezone": "Europe/Berlin",
        "executionConfig": {"batchSize": 5000, "parallelism": 4},
        "nodes": [
            {"id": "read", "nodeType": "source", "config": {}},
            {"id": "adults", "nodeType": "filter", "label": "Adults", "config": {"condition": "age >= 18"}},
            {"id": "write", "nodeType": "target", "config": {"loadMode": "append"}}
        ],
        "edges": [{"source": "read", "target": "adults"}, {"source": "adults", "target": "write"}]
    })
}

pub(super) fn fires() -> Operation {
    let description = "What became of the due times of the pipeline's schedule, and which are to come, the oldest first. Past ones come from \
                       a ledger: `fired` and `caughtUp` name their run, `skipped` and `missed` say why there is none; an entry with \
                       `until` stands for `count` due times in a row, and is among those of a range that it reaches into. `due` ones \
                       wait for the next tick, `coming` ones are computed. Without `from` and `to` it shows a day before now and a day after.";
    Operation {
        query: &["From", "To", "Limit", "Cursor", "IncludeTotal"],
        ..Operation::read(Tag::Schedules, "List a pipeline's fires", description, Answer::Plain("FirePage"))
    }
}
