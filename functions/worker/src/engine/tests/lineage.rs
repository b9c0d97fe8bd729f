//! When a source may leave out rows that the target would leave out.

use super::*;
use crate::engine::graph::Graph;
use crate::engine::lineage::unchanged;

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
