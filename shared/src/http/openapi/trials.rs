//! What is said of the operations that try a pipeline out.

use super::answers::Answer;
use super::operation::{Operation, Sent, Tag};
use serde_json::{Value, json};

pub(super) fn validate() -> Operation {
    let description = "Plans the whole graph without running it, and answers all faults at once, each with its pointer and its node, and the \
                       columns with their types on every node and edge. Sources are opened, and their first rows tell types; nothing is \
                       written. A pipeline with faults answers 200 too, with `valid` false. With `nodes`, `edges`, `connectorId` or \
                       `schemaId` in the body these are looked at in the place of the stored ones, after the same checks as at save. Columns \
                       that cannot be told are null; a type that a fault hides is `unknown`. The answer is cut at 4 MB: then `shortened` is \
                       true, later faults are left out, and columns for which there is no room are null, those of edges first. Answers \
                       within 25 seconds.";
    let example = json!({
        "parameters": {"since": "2026-01-01"},
        "nodes": nodes(),
        "edges": [{"source": "read", "target": "recent"}, {"source": "recent", "target": "write"}]
    });
    Operation {
        body: Some(Sent { schema: "ValidateInput", required: false, example: Some(example) }),
        ..Operation::read(Tag::Pipelines, "Validate a pipeline", description, Answer::Plain("Validation"))
    }
}

pub(super) fn preview() -> Operation {
    let description = "Runs the graph over the first 1,000 records of each source and shows the first rows of each node; for a target, the rows \
                       as they would be written. Nothing is written anywhere. Nodes behind a fault are left out, and the faults are those of \
                       `validate`. A sample is not the whole: joins of samples may be empty, and measures are those of the sample. Long \
                       texts are cut at 1,000 characters, the rows of all nodes at 4 MB, and the work at 20 seconds, which is a fault then. Where \
                       faults, columns and rejected rows pass 2 MB, `shortened` is true, and the notes of nodes say what is left out. Decimals \
                       are strings, NaN is null, times RFC 3339.";
    let example = json!({"limit": 5, "nodeId": "recent", "parameters": {"since": "2026-01-01"}});
    Operation {
        body: Some(Sent { schema: "SampleInput", required: false, example: Some(example) }),
        ..Operation::read(Tag::Pipelines, "Preview a pipeline's rows", description, Answer::Plain("PipelinePreview"))
    }
}

fn nodes() -> Value {
    json!([
        {"id": "read", "nodeType": "source", "config": {}},
        {"id": "recent", "nodeType": "filter", "config": {"condition": "ordered_at >= ${since}"}},
        {"id": "write", "nodeType": "target", "config": {}}
    ])
}
