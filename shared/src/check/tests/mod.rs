//! What the checks answer, rule by rule.

mod bodies;
mod branches;
mod connectors;
mod expressions;
mod graphs;
mod nodes;
mod openapi;
mod pipelines;
mod queries;
mod random;
mod rules;
mod schemas;
mod targets;
mod trials;
mod types;

use super::Body;
use crate::Fault;
use serde_json::{Value, json};

/// Pointers with codes, in the order in which they are answered.
fn told(mut faults: Vec<Fault>) -> Vec<(String, String)> {
    super::pointer::sort(&mut faults);
    faults.into_iter().map(|f| (f.pointer, f.code)).collect()
}

/// The same as text, for comparing at a glance.
fn lines(faults: Vec<Fault>) -> Vec<String> {
    told(faults).into_iter().map(|(pointer, code)| format!("{pointer} {code}")).collect()
}

fn body(value: Value) -> Body {
    Body::new(value)
}

/// A pipeline with one node of each type.
fn full_pipeline() -> Value {
    let mut pipeline = json!({
        "name": " Flights ", "connectorId": "conn_1", "schemaId": "schema_1", "description": "d",
        "schedule": "0 2 * * MON-FRI", "timezone": "Europe/Berlin", "enabled": true,
        "executionConfig": {
            "batchSize": 1000, "parallelism": 4, "partitioning": {"strategy": "hash", "columns": ["a"], "count": 4},
            "errorHandling": {"onError": "skip", "maxErrors": 10, "maxErrorRate": 0.5},
            "retry": {"maxAttempts": 2, "initialDelaySeconds": 1, "maxDelaySeconds": 10},
            "timeoutSeconds": 60, "concurrencyPolicy": "forbid", "catchUp": "all"
        },
        "nodes": [
            {"id": "flights", "nodeType": "source", "config": {"path": "flights.csv.gz", "format": "csv", "options": {"delimiter": ";", "columns": {"a": "integer"}}}, "position": {"x": 1, "y": 2.5}},
            {"id": "airlines", "nodeType": "source", "label": "Airlines", "config": {"connectorId": "conn_2"}},
            {"id": "late", "nodeType": "filter", "config": {"condition": "delay > ${least} AND carrier IN ('AA', 'UA')"}},
            {"id": "both", "nodeType": "join", "config": {"type": "left", "on": [{"left": "carrier", "right": "carrier"}]}},
            {"id": "ops", "nodeType": "transform", "config": {"ops": [
                {"op": "cast", "field": "delay", "type": "decimal", "precision": 10, "scale": 2, "onError": "null"},
                {"op": "expression", "field": "gain", "expr": "delay * 2 + coalesce(x, 0)"},
                {"op": "rename", "mappings": [{"from": "a", "to": "b"}]},
                {"op": "drop", "fields": ["c"]},
                {"op": "add_field", "field": "d", "value": "2026-01-31", "type": "date"},
                {"op": "hash", "field": "e", "algorithm": "sha256"},
                {"op": "mask_pii", "field": "f", "strategy": "partial"},
                {"op": "map_values", "field": "g", "mapping": {"x": 1}, "default": null},
                {"op": "split", "field": "h", "separator": ",", "into": ["i", "j"]},
                {"op": "merge", "fields": ["i", "j"], "separator": "", "into": "k"},
                {"op": "trim", "fields": ["k"]},
                {"op": "fill_null", "field": "k", "value": "-"},
                {"op": "parse_json", "field": "l", "path": "a.b[0]", "into": "m", "type": "integer"},
                {"op": "lookup", "connectorId": "conn_3", "path": "cities.csv", "on": [{"left": "k", "right": "code"}], "select": ["m"]},
                {"op": "select", "fields": ["k", "m"]}
            ]}},
            {"id": "one", "nodeType": "union", "config": {"distinct": true}},
            {"id": "sums", "nodeType": "aggregate", "config": {"groupBy": ["k"], "measures": [{"fn": "count", "field": "*", "as": "n"}]}},
            {"id": "order", "nodeType": "sort", "config": {"by": [{"field": "n", "direction": "desc", "nulls": "last"}], "limit": 10}},
            {"id": "unique", "nodeType": "deduplicate", "config": {"keys": ["k"], "keep": "first", "orderBy": [{"field": "n"}]}},
            {"id": "out", "nodeType": "target", "config": {"loadMode": "upsert", "upsertKey": ["k"]}}
        ],
        "edges": [
            {"source": "flights", "target": "late"},
            {"source": "late", "target": "both", "label": "left"},
            {"source": "airlines", "target": "both", "label": "right"},
            {"source": "both", "target": "ops"},
            {"source": "ops", "target": "one"},
            {"source": "one", "target": "sums"},
            {"source": "sums", "target": "order"},
            {"source": "order", "target": "unique"}
        ]
    });
    let (nodes, edges) = further_nodes();
    pipeline["nodes"].as_array_mut().unwrap().extend(nodes.as_array().unwrap().iter().cloned());
    pipeline["edges"].as_array_mut().unwrap().extend(edges.as_array().unwrap().iter().cloned());
    pipeline
}

/// The nodes behind `unique`, and their edges.
fn further_nodes() -> (Value, Value) {
    let nodes = json!([
            {"id": "wide", "nodeType": "pivot", "config": {"index": ["k"], "columns": "n", "values": "n", "fn": "sum", "pivotValues": [1, "two", null]}},
            {"id": "long", "nodeType": "unpivot", "config": {"index": ["k"], "columns": ["1", "two"], "nameTo": "n", "valueTo": "v"}},
            {"id": "ways", "nodeType": "branch", "config": {"routes": [{"label": "many", "condition": "v > 1"}], "else": "few"}},
            {"id": "query", "nodeType": "sql", "config": {"query": "SELECT m.k, m.v FROM many m LEFT JOIN few ON m.k = few.k WHERE m.v > ${least}"}},
            {"id": "sound", "nodeType": "validate", "config": {"rules": [
                {"id": "a", "field": "k", "rule": "notNull", "onFail": "reject"},
                {"id": "b", "field": "k", "rule": "unique", "onFail": "warn"},
                {"id": "c", "field": "v", "rule": "range", "params": {"min": 0, "max": 10.5}},
                {"id": "d", "field": "k", "rule": "length", "params": {"max": 10}},
                {"id": "e", "field": "k", "rule": "regex", "params": {"pattern": "^[a-z]+$"}},
                {"id": "f", "field": "k", "rule": "oneOf", "params": {"values": ["x", "y"]}},
                {"id": "g", "field": "k", "rule": "email", "onFail": "warn"},
                {"id": "h", "rule": "expression", "params": {"expr": "v > 0"}},
                {"id": "i", "rule": "rowCount", "params": {"min": 1}}
            ]}}
    ]);
    let edges = json!([
            {"source": "unique", "target": "wide"},
            {"source": "wide", "target": "long"},
            {"source": "long", "target": "ways"},
            {"source": "ways", "target": "query", "label": "many"},
            {"source": "ways", "target": "query", "label": "few"},
            {"source": "query", "target": "sound"},
            {"source": "sound", "target": "out"}
    ]);
    (nodes, edges)
}
