//! The configs of nodes.

use super::pipelines::{created, small};
use super::*;

/// The faults of one node between a source and a target, with pointers below its config.
fn node(node_type: &str, config: Value) -> Vec<String> {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "t", "nodeType": "target", "config": {}},
        {"id": "x", "nodeType": node_type, "config": config}
    ]);
    let edges = json!([{"source": "s", "target": "x"}, {"source": "x", "target": "t"}]);
    created(small(json!({"nodes": nodes, "edges": edges})))
        .into_iter()
        .map(|line| line.strip_prefix("/nodes/2/config").map(str::to_owned).unwrap_or(line))
        .collect()
}

fn op(op: Value) -> Vec<String> {
    node("transform", json!({"ops": [op]}))
        .into_iter()
        .map(|line| line.strip_prefix("/ops/0").map(str::to_owned).unwrap_or(line))
        .collect()
}

#[test]
fn ops_are_told_by_their_name() {
    assert_eq!(op(json!({"op": "lookup", "connectorId": "c"})), ["/on required", "/select required"]);
    let pair = json!({"left": "a", "right": "b"});
    assert_eq!(
        op(
            json!({"op": "lookup", "connectorId": "c", "table": "t", "path": "p.csv", "on": [pair, pair], "select": ["a", "a"]})
        ),
        ["/on/1 duplicate", "/path contradiction", "/select/1 duplicate"]
    );
    assert!(op(json!({"op": "lookup", "connectorId": "c", "on": [pair], "select": ["a"]})).is_empty());
    assert_eq!(
        op(json!({"op": "cast", "feild": "a", "type": "int"})),
        ["/feild unknown_field", "/field required", "/type unknown"]
    );
    assert_eq!(
        op(json!({"op": "cast", "field": "a", "type": "boolean", "precision": 1, "format": "%Y"})),
        ["/format contradiction", "/precision contradiction"]
    );
    assert_eq!(op(json!({"op": "cast", "field": "a", "type": "date", "format": "%Q"})), ["/format format"]);
    for format in ["%F %T %Z", "%F %I:%M"] {
        let cast = |to: &str| op(json!({"op": "cast", "field": "a", "type": to, "format": format}));
        assert_eq!(cast("timestamp"), ["/format format"], "{format}");
        // The date is written out, and what is written is for people.
        assert!(cast("date").is_empty() && cast("text").is_empty(), "{format}");
    }
    assert_eq!(
        op(json!({"op": "cast", "field": "a", "type": "decimal", "precision": 2, "scale": 3})),
        ["/scale range"]
    );
    assert_eq!(op(json!({"op": "cast", "field": "a", "type": "decimal", "precision": 256})), ["/precision range"]);
    assert_eq!(op(json!({"op": "expression", "field": "", "expr": "sum(a)"})), ["/expr format", "/field format"]);
    assert_eq!(
        op(json!({"op": "rename", "mappings": [{"from": "a", "to": "b"}, {"from": "a", "to": "b"}]})),
        ["/mappings/1/from duplicate", "/mappings/1/to duplicate"]
    );
    assert_eq!(op(json!({"op": "select", "fields": ["a", "a"]})), ["/fields/1 duplicate"]);
    assert_eq!(op(json!({"op": "drop", "fields": []})), ["/fields length"]);
    assert_eq!(
        op(json!({"op": "add_field", "field": "__flowgate_row", "value": "x", "type": "integer"})),
        ["/field format", "/value type"]
    );
    assert!(op(json!({"op": "add_field", "field": "a", "value": "${n}", "type": "integer"})).is_empty());
    assert_eq!(op(json!({"op": "hash", "field": "a", "algorithm": "sha1"})), ["/algorithm unknown"]);
    assert_eq!(op(json!({"op": "map_values", "field": "a", "mapping": {}})), ["/mapping length"]);
    assert_eq!(
        op(json!({"op": "map_values", "field": "a", "mapping": {"x": []}, "default": {}})),
        ["/default type", "/mapping/x type"]
    );
    assert_eq!(
        op(json!({"op": "split", "field": "a", "separator": "", "into": ["b", "b"]})),
        ["/into/1 duplicate", "/separator length"]
    );
    assert_eq!(op(json!({"op": "fill_null", "field": "a", "value": null})), ["/value type"]);
    for path in ["", "a..b", "a[x]", "a[0", "[]", "a]"] {
        assert_eq!(
            op(json!({"op": "parse_json", "field": "a", "path": path, "into": "b", "type": "text"})),
            ["/path format"],
            "{path}"
        );
    }
    assert_eq!(node("transform", json!({"ops": []})), ["/ops length"]);
}

#[test]
fn configs_say_nothing_that_contradicts_itself() {
    assert_eq!(node("aggregate", json!({"groupBy": [], "measures": []})), ["/measures length"]);
    assert_eq!(
        node(
            "aggregate",
            json!({"groupBy": ["k", "k"], "measures": [{"fn": "sum", "field": "*", "as": "k"}, {"fn": "sm", "field": "a", "as": ""}]})
        ),
        [
            "/groupBy/1 duplicate",
            "/measures/0/as duplicate",
            "/measures/0/field contradiction",
            "/measures/1/as format",
            "/measures/1/fn unknown"
        ]
    );
    assert_eq!(
        node("sort", json!({"by": [{"field": "a"}, {"field": "a", "direction": "up"}]})),
        ["/by/1/direction unknown"]
    );
    assert_eq!(
        node("sort", json!({"by": [{"field": "a"}, {"field": "a"}], "limit": 0})),
        ["/by/1/field duplicate", "/limit range"]
    );
    assert_eq!(node("deduplicate", json!({"keys": ["a", "a"], "keep": "last"})), ["/keys/1 duplicate"]);
    let target = |config: Value| {
        let nodes = json!([{"id": "s", "nodeType": "source", "config": {}}, {"id": "t", "nodeType": "target", "config": config}]);
        created(small(json!({"nodes": nodes, "edges": [{"source": "s", "target": "t"}]})))
    };
    let at = |rest: &str| format!("/nodes/1/config{rest}");
    assert_eq!(target(json!({"upsertKey": ["a"]})), [at("/upsertKey contradiction")]);
    assert_eq!(
        target(json!({"loadMode": "upsert", "upsertKey": ["a", "a"], "allowEmpty": true})),
        [at("/allowEmpty contradiction"), at("/upsertKey/1 duplicate")]
    );
    assert_eq!(target(json!({"loadMode": "upsert", "upsertKey": []})), [at("/upsertKey length")]);
    assert!(
        target(json!({"loadMode": "incremental_watermark", "watermarkColumn": "a", "table": "x", "connectorId": "c"}))
            .is_empty()
    );
    assert_eq!(target(json!({"loadMode": "incremental_watermark"})), [at("/watermarkColumn required")]);
    assert_eq!(target(json!({"watermarkColumn": "a"})), [at("/watermarkColumn contradiction")]);
}

#[test]
fn no_fault_of_a_config_hides_another() {
    let rule = |id: &str, rest: Value| {
        let mut rule = json!({"id": id, "field": "x", "rule": "regex"});
        rule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        rule
    };
    let rules = [rule("a", json!({"rule": "regexx"})), rule("b", json!({"params": {"pattern": "("}, "foo": 1}))];
    assert_eq!(
        node("validate", json!({"rules": rules})),
        ["/rules/0/rule unknown", "/rules/1/foo unknown_field", "/rules/1/params/pattern format"]
    );
    let order = json!([{"field": "b"}, {"feild": "b"}, {"field": "b"}]);
    assert_eq!(
        node("deduplicate", json!({"keys": ["a", 1, "a"], "keep": "frist", "orderBy": order})),
        [
            "/keep unknown",
            "/keys/1 type",
            "/keys/2 duplicate",
            "/orderBy/1/feild unknown_field",
            "/orderBy/1/field required",
            "/orderBy/2/field duplicate"
        ]
    );
    let pair = json!({"left": "a", "right": "a"});
    assert_eq!(
        node("transform", json!({"ops": [{"op": "select", "fields": ["a", "a"], "foo": 1}, {"op": "csat"}]})),
        ["/ops/0/fields/1 duplicate", "/ops/0/foo unknown_field", "/ops/1/op unknown"]
    );
    let lookup = json!({"op": "lookup", "connectorId": "c", "on": [pair, pair], "select": ["a"], "foo": 1});
    assert_eq!(op(lookup), ["/foo unknown_field", "/on/1 duplicate"]);
    assert_eq!(
        node("unpivot", json!({"index": ["a"], "columns": ["a", "b", 5], "nameTo": "a", "valueTo": 7})),
        ["/columns/0 contradiction", "/columns/2 type", "/nameTo duplicate", "/valueTo type"]
    );
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"tabel": "t", "table": "t", "query": "SELECT 1"}},
        {"id": "r", "nodeType": "source", "config": {"options": {"delimeter": ";", "escape": "\n"}}},
        {"id": "j", "nodeType": "join", "config": {"type": "iner", "on": [pair, {"left": 1, "right": "b"}, pair]}},
        {"id": "t", "nodeType": "target", "config": {}}
    ]);
    let edges = json!([
        {"source": "s", "target": "j", "label": "left"}, {"source": "r", "target": "j", "label": "right"},
        {"source": "j", "target": "t"}
    ]);
    assert_eq!(
        created(small(json!({"nodes": nodes, "edges": edges}))),
        [
            "/nodes/0/config/query contradiction",
            "/nodes/0/config/tabel unknown_field",
            "/nodes/1/config/options/delimeter unknown_field",
            "/nodes/1/config/options/escape format",
            "/nodes/2/config/on/1/left type",
            "/nodes/2/config/on/2 duplicate",
            "/nodes/2/config/type unknown"
        ]
    );
    let retry = json!({"initialDelaySeconds": 100, "maxDelaySeconds": 10, "foo": 1});
    assert_eq!(
        created(small(json!({"executionConfig": {"retry": retry}}))),
        ["/executionConfig/retry/foo unknown_field", "/executionConfig/retry/maxDelaySeconds contradiction"]
    );
}

#[test]
fn a_slip_and_a_wrong_shape_bring_no_faults_that_follow_from_them() {
    let target = |config: Value| {
        let nodes = json!([{"id": "s", "nodeType": "source", "config": {}}, {"id": "t", "nodeType": "target", "config": config}]);
        created(small(json!({"nodes": nodes, "edges": [{"source": "s", "target": "t"}]})))
    };
    let at = |rest: &str| format!("/nodes/1/config{rest}");
    assert_eq!(
        target(json!({"lodeMode": "upsert", "upsertKey": ["a", "a"]})),
        [at("/lodeMode unknown_field"), at("/upsertKey/1 duplicate")]
    );
    assert_eq!(target(json!({"loadMode": 5, "upsertKey": ["a"]})), [at("/loadMode type")]);
    let watermark = |key: &str, column: Value| target(json!({"loadMode": "incremental_watermark", key: column}));
    assert_eq!(watermark("watermarkColum", json!("a")), [at("/watermarkColum unknown_field")]);
    assert_eq!(watermark("watermarkColumn", json!(1)), [at("/watermarkColumn type")]);
    let rule = |rest: Value| {
        let mut rule = json!({"id": "a", "field": "x", "rule": "regex"});
        rule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        node("validate", json!({"rules": [rule]}))
    };
    assert_eq!(rule(json!({"parms": {"pattern": "a"}})), ["/rules/0/parms unknown_field"]);
    assert_eq!(rule(json!({"params": 5})), ["/rules/0/params type"]);
    assert_eq!(
        node("aggregate", json!({"groupBy": [], "measure": [], "measures": "x"})),
        ["/measure unknown_field", "/measures type"]
    );
    assert_eq!(node("pivot", json!({"index": ["a"], "columns": "k", "values": "*", "fn": 5})), ["/fn type"]);
}

#[test]
fn pivots_and_unpivots_name_each_column_once() {
    let pivot = |extra: Value| {
        let mut config = json!({"index": ["a"], "columns": "k", "values": "v", "fn": "sum"});
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        node("pivot", config)
    };
    assert!(pivot(json!({"pivotValues": ["x", 1, 1.5, true, null, "${y}"]})).is_empty());
    assert_eq!(pivot(json!({"index": ["a", "a"], "columns": "a"})), ["/columns contradiction", "/index/1 duplicate"]);
    assert_eq!(pivot(json!({"values": "*"})), ["/values contradiction"]);
    assert!(pivot(json!({"values": "*", "fn": "count"})).is_empty());
    assert_eq!(
        pivot(json!({"pivotValues": ["x", "x", "a", [], "", "null", null]})),
        [
            "/pivotValues/1 duplicate",
            "/pivotValues/2 duplicate",
            "/pivotValues/3 type",
            "/pivotValues/4 format",
            "/pivotValues/6 duplicate",
        ]
    );
    assert_eq!(pivot(json!({"pivotValues": []})), ["/pivotValues length"]);
    assert_eq!(
        pivot(json!({"index": [], "fn": "mode", "idnex": 1})),
        ["/fn unknown", "/idnex unknown_field", "/index length"]
    );
    let unpivot = |index: Value, columns: Value, name: &str, value: &str| {
        node("unpivot", json!({"index": index, "columns": columns, "nameTo": name, "valueTo": value}))
    };
    assert!(unpivot(json!([]), json!(["a", "b"]), "n", "v").is_empty());
    assert!(unpivot(json!(["i"]), json!(["a", "b"]), "a", "b").is_empty());
    assert_eq!(
        unpivot(json!(["a", "i", "i"]), json!(["a", "b", "b"]), "i", "i"),
        [
            "/columns/0 contradiction",
            "/columns/2 duplicate",
            "/index/2 duplicate",
            "/nameTo duplicate",
            "/valueTo duplicate"
        ]
    );
}

#[test]
fn file_options_fit_the_format() {
    let source = |config: Value| {
        let nodes = json!([{"id": "s", "nodeType": "source", "config": config}, {"id": "t", "nodeType": "target", "config": {}}]);
        let found = created(small(json!({"nodes": nodes, "edges": [{"source": "s", "target": "t"}]})));
        found
            .into_iter()
            .map(|line| line.strip_prefix("/nodes/0/config").map(str::to_owned).unwrap_or(line))
            .collect::<Vec<_>>()
    };
    assert!(
        source(json!({"format": "json", "options": {"nullValues": ["-"], "skipRows": 1, "encoding": "latin1"}}))
            .is_empty()
    );
    assert_eq!(
        source(json!({"format": "jsonl", "options": {"header": true, "escape": "\\"}})),
        ["/options/escape contradiction", "/options/header contradiction"]
    );
    assert_eq!(
        source(json!({"format": "parquet", "options": {"skipRows": 1, "encoding": "utf-8"}})),
        ["/options/encoding contradiction", "/options/skipRows contradiction"]
    );
    assert_eq!(source(json!({"options": {"delimiter": "\""}})), ["/options/delimiter contradiction"]);
    assert_eq!(
        source(json!({"options": {"delimiter": "\n", "quote": "é", "escape": "\n"}})),
        [
            "/options/delimiter format",
            "/options/escape contradiction",
            "/options/escape format",
            "/options/quote format",
        ]
    );
    assert_eq!(source(json!({"path": "a/../b.avro.gz", "format": "avro"})), ["/path format"]);
    assert!(source(json!({"path": "b.avro.gz", "format": "avro"})).is_empty());
    assert_eq!(
        source(json!({"path": "", "query": "x", "options": {"columns": {"": "text", "a": "txt"}}})),
        ["/options/columns/a unknown", "/path length"]
    );
}
