//! Bodies of pipelines.

use super::*;
use crate::check::pipeline::{create, references, update};

pub(super) fn small(extra: Value) -> Value {
    let mut value = json!({"name": "n", "connectorId": "c", "schemaId": "s"});
    for (key, field) in extra.as_object().unwrap() {
        value[key] = field.clone();
    }
    value
}

pub(super) fn created(value: Value) -> Vec<String> {
    lines(create(&body(value)).1)
}

#[test]
fn a_pipeline_with_every_node_type_is_taken() {
    let (input, faults) = create(&body(full_pipeline()));
    assert_eq!(faults, []);
    let input = input.unwrap();
    assert_eq!(input.name, "Flights");
    assert_eq!(input.nodes.unwrap().len(), 15);
    assert_eq!(input.execution_config.unwrap().batch_size, Some(1000));
}

#[test]
fn a_pipeline_needs_three_fields_and_takes_null_for_the_others() {
    assert!(created(small(json!({}))).is_empty());
    let all = json!({"description": null, "schedule": null, "timezone": null, "enabled": null, "executionConfig": null, "nodes": null, "edges": null});
    assert!(created(small(all)).is_empty());
    assert_eq!(created(json!({})), ["/connectorId required", "/name required", "/schemaId required"]);
    assert_eq!(
        created(json!({"name": null, "connectorId": null, "schemaId": 5})),
        ["/connectorId type", "/name type", "/schemaId type"]
    );
}

#[test]
fn all_faults_of_a_pipeline_come_in_one_answer() {
    let found = created(json!({
        "name": " ", "connectorId": 1, "shedule": "* * * * *", "schedule": "61 * * * *", "timezone": "Europe/Berln", "enabled": "yes",
        "description": "x".repeat(2001), "id": "pipe_1",
        "executionConfig": {
            "batchSize": 0, "parallelism": 65, "timeoutSeconds": 1.5, "catchUp": "lates", "paralelism": 1,
            "partitioning": {"strategy": "hash", "count": 300, "column": "a"},
            "errorHandling": {"onError": "deadLetter", "maxErrors": -1, "maxErrorRate": 1.1},
            "retry": {"maxAttempts": 0, "initialDelaySeconds": 100, "maxDelaySeconds": 10}, "concurrencyPolicy": 5
        },
        "nodes": [
            {"id": "s", "nodeType": "source", "config": {"table": "x", "pth": "a"}, "positon": {}},
            {"id": "f", "nodeType": "filter", "config": {"condition": "a >"}},
            {"id": "s", "nodeType": "transform", "config": {"ops": [{"op": "csat"}, {"op": "cast", "field": 1}, 5, {}]}},
            {"nodeType": "target"},
            7
        ],
        "edges": [{"source": "s", "target": "f"}, {"source": "f", "traget": "t"}, {"source": "q", "target": 1}]
    }));
    assert_eq!(
        found,
        [
            "/connectorId type",
            "/description length",
            "/edges/1/target required",
            "/edges/1/traget unknown_field",
            "/edges/2/source not_found",
            "/edges/2/target type",
            "/enabled type",
            "/executionConfig/batchSize range",
            "/executionConfig/catchUp unknown",
            "/executionConfig/concurrencyPolicy type",
            "/executionConfig/errorHandling/maxErrorRate range",
            "/executionConfig/errorHandling/maxErrors range",
            "/executionConfig/paralelism unknown_field",
            "/executionConfig/parallelism range",
            "/executionConfig/partitioning/column unknown_field",
            "/executionConfig/partitioning/columns required",
            "/executionConfig/partitioning/count range",
            "/executionConfig/retry/maxAttempts range",
            "/executionConfig/retry/maxDelaySeconds contradiction",
            "/executionConfig/timeoutSeconds type",
            "/id unknown_field",
            "/name format",
            "/nodes/0/config/pth unknown_field",
            "/nodes/0/positon unknown_field",
            "/nodes/1/config/condition format",
            "/nodes/2/config/ops/0/op unknown",
            "/nodes/2/config/ops/1/field type",
            "/nodes/2/config/ops/1/type required",
            "/nodes/2/config/ops/2 type",
            "/nodes/2/config/ops/3/op required",
            "/nodes/2/id duplicate",
            "/nodes/3/config required",
            "/nodes/3/id required",
            "/nodes/4 type",
            "/schedule format",
            "/schemaId required",
            "/shedule unknown_field",
            "/timezone format",
        ]
    );
}

#[test]
fn details_say_what_is_wrong_and_what_would_be_right() {
    let detail =
        |value: Value| create(&body(small(value))).1.into_iter().map(|f| f.detail).collect::<Vec<_>>().join("\n");
    assert_eq!(detail(json!({"shedule": "x"})), "unknown field \"shedule\"; did you mean \"schedule\"?");
    assert_eq!(detail(json!({"enabled": "yes"})), "expected a boolean, found a string");
    assert_eq!(detail(json!({"description": ["x"]})), "expected a string, found an array");
    assert_eq!(detail(json!({"executionConfig": {"batchSize": 0}})), "must be 1 to 1000000, found 0");
    assert_eq!(detail(json!({"executionConfig": {"batchSize": 1.5}})), "expected a whole number, found 1.5");
    assert!(
        detail(json!({"executionConfig": {"catchUp": "lates"}}))
            .starts_with("unknown catchUp \"lates\"; did you mean \"latest\"?; known: none, latest, all")
    );
    assert_eq!(detail(json!({"name": "x".repeat(201)})), "must have 1 to 200 characters after trimming, has 201");
    assert!(detail(json!({"schedule": "5-1 * * * *"})).contains("column"));
    let node = |kind: &str| json!({"nodes": [{"id": "a", "nodeType": kind, "config": {}}]});
    assert!(detail(node("pivto")).contains("unknown node type \"pivto\"; did you mean \"pivot\"?"));
    assert!(detail(node("agregate")).contains("unknown node type \"agregate\"; did you mean \"aggregate\"?"));
}

#[test]
fn numbers_that_rust_cannot_hold_are_faults() {
    let of = |config: Value| created(small(json!({"executionConfig": config})));
    assert_eq!(of(json!({"errorHandling": {"maxErrors": 1e300}})), ["/executionConfig/errorHandling/maxErrors type"]);
    assert_eq!(of(json!({"errorHandling": {"maxErrors": 5.0}})), ["/executionConfig/errorHandling/maxErrors type"]);
    assert!(of(json!({"errorHandling": {"maxErrors": u64::MAX}})).is_empty());
    assert_eq!(
        of(json!({"retry": {"initialDelaySeconds": 5_000_000_000_u64}})),
        ["/executionConfig/retry/initialDelaySeconds range"]
    );
}

#[test]
fn partitioning_is_told_by_its_strategy() {
    let of = |value: Value| created(small(json!({"executionConfig": {"partitioning": value}})));
    for good in [
        json!({"strategy": "none"}),
        json!({"strategy": "file"}),
        json!({"strategy": "range", "column": "a", "count": 2}),
        Value::Null,
    ] {
        assert!(of(good.clone()).is_empty(), "{good}");
    }
    let at = |rest: &str| format!("/executionConfig/partitioning{rest}");
    assert_eq!(of(json!({"strategy": "none", "count": 2})), [at("/count unknown_field")]);
    assert_eq!(of(json!({"strategy": "rnage"})), [at("/strategy unknown")]);
    assert_eq!(of(json!({"strategy": 1})), [at("/strategy type")]);
    assert_eq!(of(json!({"count": 1})), [at("/strategy required")]);
    assert_eq!(of(json!("none")), [at(" type")]);
    assert_eq!(
        of(json!({"strategy": "hash", "columns": ["a", "", "a"], "count": 1})),
        [at("/columns/1 format"), at("/columns/2 duplicate")]
    );
}

#[test]
fn edges_without_nodes_are_a_fault() {
    let edges = json!([{"source": "a", "target": "b"}]);
    assert_eq!(created(small(json!({ "edges": edges }))), ["/edges contradiction"]);
    assert_eq!(lines(update(&body(json!({"edges": []}))).1), ["/edges contradiction"]);
    assert_eq!(lines(update(&body(json!({"nodes": null, "edges": edges}))).1), ["/edges contradiction"]);
    for none in [json!(null), json!([])] {
        let graph = update(&body(json!({"nodes": null, "edges": none}))).0.unwrap().graph.unwrap();
        assert!(graph.nodes.is_empty() && graph.edges.is_empty());
    }
}

#[test]
fn a_client_may_send_back_what_it_read() {
    let mut value = full_pipeline();
    for (key, field) in json!({"id": "pipe_1", "tenantId": "t", "status": "active", "version": 3, "nextRunAt": "x", "connector": {"id": "c"},
        "schema": null, "lastRunAt": null, "lastRunStatus": null, "createdAt": "x", "updatedAt": "y"})
    .as_object()
    .unwrap()
    {
        value[key] = field.clone();
    }
    for node in value["nodes"].as_array_mut().unwrap() {
        node["clientId"] = json!("old");
    }
    for edge in value["edges"].as_array_mut().unwrap() {
        edge["id"] = json!("edge_1");
    }
    let (patch, faults) = update(&body(value));
    assert_eq!(faults, []);
    let graph = patch.unwrap().graph.unwrap();
    assert_eq!((graph.nodes.len(), graph.edges.len()), (15, 15));
}

#[test]
fn a_change_keeps_what_is_left_out_and_clears_what_is_null() {
    let (patch, faults) =
        update(&body(json!({"name": " x ", "description": null, "schedule": "@daily", "executionConfig": null})));
    assert_eq!(faults, []);
    let patch = patch.unwrap();
    assert_eq!(patch.name.as_deref(), Some("x"));
    assert_eq!((patch.description, patch.schedule), (Some(None), Some(Some("@daily".into()))));
    assert_eq!((patch.timezone, patch.enabled, patch.graph), (None, None, None));
    assert!(matches!(patch.execution_config, Some(None)));
    assert_eq!(
        lines(update(&body(json!({"name": null, "connectorId": null, "schemaId": null, "nam": 1}))).1),
        ["/connectorId type", "/nam unknown_field", "/name type", "/schemaId type",]
    );
}

#[test]
fn nodes_without_edges_have_none_and_null_nodes_are_none() {
    let one = json!([{"id": "s", "nodeType": "source", "config": {}}]);
    assert_eq!(lines(update(&body(json!({ "nodes": one }))).1), ["/nodes no_target"]);
    let (patch, faults) = update(&body(json!({"nodes": null})));
    assert_eq!(faults, []);
    assert_eq!(patch.unwrap().graph.unwrap().nodes.len(), 0);
}

#[test]
fn references_are_seen_whatever_else_is_wrong() {
    let references = references(&body(json!({"connectorId": "c1", "schemaId": "s1", "name": 5, "nodes": [
        {"nodeType": "source", "config": {"connectorId": "c2"}}, 5, {"nodeType": "source", "config": {}},
        {"nodeType": "target", "config": {"connectorId": "c3", "table": "t"}},
        {"nodeType": "target", "config": {"table": "orders"}},
        {"nodeType": "transform", "config": {"ops": [{"op": "trim"}, {"op": "lookup", "connectorId": "c4"}, 7]}}
    ]})));
    assert_eq!(
        references.connectors,
        [
            ("/connectorId".into(), "c1".into()),
            ("/nodes/0/config/connectorId".into(), "c2".into()),
            ("/nodes/3/config/connectorId".into(), "c3".into()),
            ("/nodes/5/config/ops/1/connectorId".into(), "c4".into()),
        ]
    );
    assert_eq!(references.tables, [("/nodes/4/config/table".into(), "orders".into())]);
    assert_eq!(references.schema, Some(("/schemaId".into(), "s1".into())));
}
