//! When a source may leave out rows that the target would leave out, and what its columns are read as.

use super::*;
use crate::engine::graph::Graph;
use crate::engine::lineage::{both, both_of_mysql, unchanged};
use crate::engine::written::texts;
use shared::models::schema::Field;

/// The column of the source that comes to `target` as `id`, if it may be asked for less.
fn offered(bench: &Bench, target: &str) -> Option<String> {
    let job = bench.job();
    let progress = Progress::new(Default::default(), bench.dir.path().join("spool"), Default::default());
    let graph = Graph::new(&job, &progress).unwrap();
    let place = |id: &str| graph.nodes.iter().position(|node| node.id == id).unwrap();
    unchanged(&graph, place(target), &job.schema.fields[0], place("source"))
}

fn chain(steps: &[Value]) -> Option<String> {
    offered(&Bench::chain(fields(&[("id", "integer"), ("name", "text")]), "id,name\n1,a\n", steps), "target")
}

fn op(op: Value) -> Value {
    json!({"nodeType": "transform", "config": {"ops": [op]}})
}

#[test]
fn steps_that_look_at_one_row_at_a_time_and_leave_the_column_alone_let_it_through() {
    assert_eq!(chain(&[]).as_deref(), Some("id"));
    let filter = json!({"nodeType": "filter", "config": {"condition": "name <> 'x'"}});
    let upper = op(json!({"op": "expression", "field": "name", "expr": "upper(name)"}));
    assert_eq!(chain(&[filter, upper]).as_deref(), Some("id"));
}

#[test]
fn whatever_changes_the_column_or_looks_at_other_rows_does_not() {
    for step in [
        op(json!({"op": "expression", "field": "id", "expr": "id + 1"})),
        op(json!({"op": "cast", "field": "id", "type": "bigint"})),
        op(json!({"op": "fill_null", "field": "id", "value": 0})),
        op(json!({"op": "rename", "mappings": [{"from": "name", "to": "word"}]})),
        json!({"nodeType": "deduplicate", "config": {"keys": ["name"], "keep": "first"}}),
        json!({"nodeType": "sort", "config": {"by": [{"field": "id"}], "limit": 1}}),
        json!({"nodeType": "aggregate", "config": {"groupBy": ["id"], "measures": []}}),
    ] {
        assert_eq!(chain(std::slice::from_ref(&step)), None, "{step}");
    }
}

#[test]
fn a_source_that_others_read_as_well_is_read_whole() {
    let nodes = json!([
        {"id": "source", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "one", "nodeType": "target", "config": {}},
        {"id": "two", "nodeType": "target", "config": {"table": "orders"}},
    ]);
    let mut bench =
        Bench::new(fields(&[("id", "integer")]), nodes, &[("source", "one", None), ("source", "two", None)]);
    bench.job["tables"] = json!({"orders": fields(&[("id", "integer")])});
    assert_eq!(offered(&bench, "one"), None);
}

fn field(field: Value) -> Field {
    let mut field = field;
    field["name"] = json!("a");
    serde_json::from_value(field).unwrap()
}

#[test]
fn what_two_ways_want_becomes_a_type_that_holds_both_or_text_in_either_order() {
    let of = |name: &str| field(json!({"dataType": name}));
    let decimal =
        |precision: u8, scale: i8| field(json!({"dataType": "decimal", "precision": precision, "scale": scale}));
    for (one, other, joined) in [
        (of("integer"), of("integer"), of("integer")),
        (of("smallint"), of("integer"), of("integer")),
        (of("integer"), of("bigint"), of("bigint")),
        (of("real"), of("double"), of("double")),
        (of("integer"), of("text"), of("text")),
        (of("integer"), of("double"), of("text")),
        (of("date"), of("timestamp"), of("text")),
        (of("json"), of("text"), of("text")),
        (of("integer"), decimal(10, 2), decimal(12, 2)),
        (decimal(10, 2), decimal(10, 4), decimal(12, 4)),
        (decimal(38, 0), decimal(10, 2), of("text")),
    ] {
        let told = |field: &Field| {
            let digits = (field.data_type == shared::models::node::DataTypeName::Decimal).then(|| field.decimal());
            (field.data_type, digits)
        };
        assert_eq!(told(&both(one.clone(), &other)), told(&joined), "{one:?} {other:?}");
        assert_eq!(told(&both(other.clone(), &one)), told(&joined), "{other:?} {one:?}");
    }
    assert_eq!(both_of_mysql(of("text"), &of("integer")).data_type, of("integer").data_type);
    assert_eq!(both_of_mysql(of("integer"), &of("boolean")).data_type, of("integer").data_type);
}

/// The columns of the only source of a chain that are wanted as they are written.
fn written(steps: &[Value]) -> String {
    let bench = Bench::chain(fields(&[("id", "integer")]), "id\n", steps);
    let job = bench.job();
    let progress = Progress::new(Default::default(), bench.dir.path().join("spool"), Default::default());
    let graph = Graph::new(&job, &progress).unwrap();
    let place = |id: &str| graph.nodes.iter().position(|node| node.id == id).unwrap();
    let found = texts(&graph, std::iter::once(place("target")), (place("source"), None), &|_| None);
    let mut names: Vec<String> = found.into_iter().collect();
    names.sort();
    names.join(" ")
}

fn ops(ops: Value) -> Value {
    json!({"nodeType": "transform", "config": {"ops": ops}})
}

fn split(field: &str) -> Value {
    json!({"op": "split", "field": field, "separator": ".", "into": ["x", "y"]})
}

#[test]
fn what_ops_take_as_texts_is_wanted_as_it_is_written() {
    let map = json!({"op": "map_values", "field": "a", "mapping": {"1": "one"}});
    let rules = |rule: Value| json!({"nodeType": "validate", "config": {"rules": [rule]}});
    let union = json!({"nodeType": "union", "config": {}});
    for (steps, wanted) in [
        (vec![op(split("a"))], "a"),
        (vec![op(json!({"op": "merge", "fields": ["a", "b"], "separator": "", "into": "a"}))], "a b"),
        (vec![op(json!({"op": "cast", "field": "a", "type": "varchar"}))], "a"),
        (vec![op(map.clone())], "a"),
        (vec![op(map), op(split("b"))], "a b"),
        (vec![ops(json!([{"op": "rename", "mappings": [{"from": "a", "to": "b"}]}, split("b")]))], "a"),
        (vec![ops(json!([split("a"), {"op": "expression", "field": "x", "expr": "CAST(x AS INT) + b"}]))], "a"),
        (
            vec![ops(
                json!([{"op": "trim", "fields": ["a"]}, {"op": "fill_null", "field": "a", "value": 0}, split("a")]),
            )],
            "a",
        ),
        (vec![json!({"nodeType": "filter", "config": {"condition": "b > 1"}}), op(split("a"))], "a"),
        (vec![json!({"nodeType": "sort", "config": {"by": [{"field": "b"}]}}), op(split("a"))], "a"),
        (vec![rules(json!({"id": "r", "field": "a", "rule": "notNull"})), op(split("a"))], "a"),
        (vec![op(json!({"op": "cast", "field": "a", "type": "text"})), union.clone()], "a"),
        (vec![ops(json!([split("a"), {"op": "drop", "fields": ["a"]}])), union.clone()], "a"),
        (vec![ops(json!([split("a"), {"op": "select", "fields": ["x", "b"]}])), union], "a"),
    ] {
        assert_eq!(written(&steps), wanted, "{steps:?}");
    }
}

#[test]
fn what_is_looked_at_as_a_number_or_a_time_stays_one() {
    let map = json!({"op": "map_values", "field": "a", "mapping": {"1": 10}});
    for step in [
        op(json!({"op": "expression", "field": "b", "expr": "\"a\" * 2"})),
        op(json!({"op": "cast", "field": "a", "type": "integer"})),
        op(json!({"op": "cast", "field": "a", "type": "text", "format": "%Y"})),
        op(
            json!({"op": "lookup", "connectorId": "conn_1", "path": "in.csv", "on": [{"left": "a", "right": "a"}], "select": ["b"]}),
        ),
        json!({"nodeType": "filter", "config": {"condition": "a > ${low}"}}),
        json!({"nodeType": "sort", "config": {"by": [{"field": "a"}]}}),
        json!({"nodeType": "deduplicate", "config": {"keys": ["a"], "keep": "first"}}),
        json!({"nodeType": "aggregate", "config": {"groupBy": ["a"], "measures": []}}),
        json!({"nodeType": "validate", "config": {"rules": [{"id": "r", "field": "a", "rule": "range", "params": {"min": 1}}]}}),
        json!({"nodeType": "union", "config": {}}),
        json!({"nodeType": "sql", "config": {"query": "SELECT a FROM input"}}),
    ] {
        assert_eq!(written(&[step.clone(), op(split("a"))]), "", "{step}");
    }
    assert_eq!(written(&[op(split("a")), json!({"nodeType": "union", "config": {}})]), "");
    let sum = json!({"op": "expression", "field": "b", "expr": "a + 1"});
    assert_eq!(written(&[ops(json!([split("a"), sum]))]), "");
    assert_eq!(written(&[ops(json!([map, sum]))]), "");
}
