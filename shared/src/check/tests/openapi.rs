//! The components of the OpenAPI document.

use super::*;
use crate::check::schemas;

fn references(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            all.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|v| references(v, all));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, all)),
        _ => {}
    }
}

/// A validator of one component.
fn validator(name: &str) -> jsonschema::Validator {
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": {"schemas": schemas()}});
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn every_reference_meets_a_component_and_every_component_compiles() {
    let all = schemas();
    let mut found = Vec::new();
    references(&json!(all), &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").expect("a component");
        assert!(all.contains_key(name), "{name}");
    }
    for name in [
        "PipelineInput",
        "PipelineUpdate",
        "ConnectorInput",
        "ConnectorUpdate",
        "SchemaInput",
        "SchemaUpdate",
        "RunInput",
        "PreviewInput",
        "Pipeline",
        "Connector",
        "Schema",
        "Run",
        "RunProgress",
        "RowError",
        "PipelinePage",
        "RunPage",
        "Problem",
        "Preview",
    ] {
        assert!(all.contains_key(name), "{name}");
        validator(name);
    }
}

#[test]
fn nothing_of_ours_leaks_into_the_document() {
    let text = serde_json::to_string(&schemas()).unwrap();
    for word in ["x-whole", "$defs", "tenantSecret"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn a_fault_is_in_the_body_the_query_or_a_header() {
    let all = schemas();
    let pointer = &all["Fault"]["properties"]["pointer"]["description"];
    for place in ["JSON Pointer", "?name", "Idempotency-Key"] {
        assert!(pointer.as_str().unwrap().contains(place), "{pointer}");
    }
}

#[test]
fn what_the_checks_take_the_document_describes() {
    let errors =
        |name: &str, value: &Value| validator(name).iter_errors(value).map(|e| e.to_string()).collect::<Vec<_>>();
    assert_eq!(errors("PipelineInput", &full_pipeline()), Vec::<String>::new());
    let mut wrong = full_pipeline();
    wrong["nodes"][2]["config"] = json!({"by": []});
    assert_ne!(errors("PipelineInput", &wrong), Vec::<String>::new());
    assert_eq!(
        errors(
            "PipelineUpdate",
            &json!({"id": "pipe_1", "name": "x", "schedule": null, "edges": [{"id": "e", "source": "a", "target": "b"}], "nodes": []})
        ),
        Vec::<String>::new()
    );
    assert_ne!(errors("PipelineUpdate", &json!({"shedule": null})), Vec::<String>::new());
    // What an answer has of a node and an edge may be sent back, and nothing else.
    for name in ["PipelineUpdate", "ValidateInput", "SampleInput"] {
        let graph = |of_node: &str, of_edge: &str| {
            json!({
                "nodes": [{"id": "node_1", of_node: "a", "nodeType": "source", "config": {}, "position": null}],
                "edges": [{of_edge: "edge_1", "source": "node_1", "target": "node_2", "label": null}]
            })
        };
        assert_eq!(errors(name, &graph("clientId", "id")), Vec::<String>::new(), "{name}");
        assert_ne!(errors(name, &graph("clientId", "ids")), Vec::<String>::new(), "{name}");
        assert_ne!(errors(name, &graph("client", "id")), Vec::<String>::new(), "{name}");
    }
    assert_eq!(
        errors("ConnectorInput", &json!({"name": "n", "type": "local_fs", "config": {"path": "a"}})),
        Vec::<String>::new()
    );
    assert_ne!(
        errors("ConnectorInput", &json!({"name": "n", "type": "local_fs", "config": {"bucket": "abc"}})),
        Vec::<String>::new()
    );
    assert_eq!(
        errors("ConnectorUpdate", &json!({"config": {"bucket": "abc"}, "authConfig": null})),
        Vec::<String>::new()
    );
    assert_eq!(errors("SchemaUpdate", &json!({"fields": [{"name": "a", "dataType": "text"}]})), Vec::<String>::new());
}

/// Where a schema has an array without a bound, or with one that is not looked at as a whole.
fn unbounded(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            let array = object
                .get("type")
                .is_some_and(|t| t == "array" || t.as_array().is_some_and(|t| t.contains(&json!("array"))));
            if array && object.get("maxItems").and_then(Value::as_u64).is_none_or(|most| most > 1000) {
                all.push(at.to_owned());
            }
            object.iter().for_each(|(key, v)| unbounded(v, &format!("{at}/{key}"), all));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| unbounded(v, &format!("{at}/{i}"), all)),
        _ => {}
    }
}

#[test]
fn every_array_of_a_body_is_bounded() {
    let mut found = Vec::new();
    for (name, schema) in crate::check::openapi::bodies() {
        unbounded(&schema, &name, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}
