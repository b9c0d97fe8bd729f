//! Previews: what each node gives of a sample, with nothing written.

use super::{Bench, fields};
use crate::engine::preview::{Ask, NodeSample, Preview, preview};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;
use tokio::time::Instant;

async fn previewed(bench: &Bench, rows: usize, node: Option<&str>) -> Preview {
    let deadline = Instant::now() + Duration::from_secs(30);
    let ask = Ask { rows, node: node.map(str::to_owned), deadline };
    preview(&bench.job(), &bench.settings(), shared::clock::Clock::default(), &ask).await.unwrap()
}

fn node<'a>(preview: &'a Preview, id: &str) -> &'a NodeSample {
    preview.nodes.iter().find(|node| node.id == id).unwrap_or_else(|| panic!("{id} is not in {preview:?}"))
}

fn rows(node: &NodeSample) -> Vec<Value> {
    node.rows.iter().cloned().map(Value::Object).collect()
}

fn numbers(count: usize) -> String {
    let mut text = String::from("n,name\n");
    for n in 1..=count {
        writeln!(text, "{n},row {n}").unwrap();
    }
    text
}

#[tokio::test]
async fn every_node_shows_its_first_rows_and_counts() {
    let steps = [
        json!({"nodeType": "filter", "config": {"condition": "n % 2 = 0"}}),
        json!({"nodeType": "transform", "config": {"ops": [{"op": "cast", "field": "name", "type": "integer"}]}}),
    ];
    let text = numbers(4).replace("row 2", "7");
    let bench = Bench::chain(fields(&[("n", "smallint"), ("name", "integer")]), &text, &steps);
    let preview = previewed(&bench, 20, None).await;
    assert!(preview.faults.is_empty(), "{:?}", preview.faults);
    assert_eq!(preview.nodes.len(), 4);
    assert_eq!(rows(node(&preview, "source")).len(), 4);
    assert_eq!(rows(node(&preview, "step1")), [json!({"n": 2, "name": "7"}), json!({"n": 4, "name": "row 4"})]);
    let step = node(&preview, "step2");
    assert_eq!((step.rows_in, step.rows_out, rows(step)), (2, 1, vec![json!({"n": 2, "name": 7})]));
    assert_eq!((step.rejected[0].row, step.rejected[0].value.as_deref()), (Some(4), Some("row 4")));
    assert_eq!(rows(node(&preview, "target")), [json!({"n": 2, "name": 7})]);
    assert!(!bench.dir.path().join("lake").exists(), "no table is made");
    let left: Vec<_> = std::fs::read_dir(bench.settings().scratch).unwrap().collect();
    assert!(left.is_empty(), "nothing is left in the scratch folder: {left:?}");
}

#[tokio::test]
async fn a_preview_reads_the_first_thousand_rows_in_their_order() {
    let sort = json!({"nodeType": "sort", "config": {"by": [{"field": "n", "direction": "desc"}]}});
    let bench = Bench::chain(fields(&[("n", "integer")]), &numbers(50_000), &[sort]);
    let preview = previewed(&bench, 2, None).await;
    let source = node(&preview, "source");
    assert_eq!((source.rows_in, source.rows_out), (1000, 1000));
    assert_eq!(rows(source), [json!({"n": 1, "name": "row 1"}), json!({"n": 2, "name": "row 2"})]);
    assert_eq!(rows(node(&preview, "step1"))[0], json!({"n": 1000, "name": "row 1000"}));
}

#[tokio::test]
async fn one_node_may_be_asked_for() {
    let steps = [
        json!({"nodeType": "filter", "config": {"condition": "n > 2"}}),
        json!({"nodeType": "sort", "config": {"by": [{"field": "n"}]}}),
    ];
    let bench = Bench::chain(fields(&[("n", "integer")]), &numbers(5), &steps);
    let preview = previewed(&bench, 5, Some("step1")).await;
    assert_eq!(preview.nodes.len(), 1);
    assert_eq!(rows(node(&preview, "step1")).len(), 3);
}

#[tokio::test]
async fn what_is_before_a_fault_is_shown_and_what_is_behind_it_is_not() {
    let steps = [
        json!({"nodeType": "filter", "config": {"condition": "n > 2"}}),
        json!({"nodeType": "filter", "config": {"condition": "nope > 2"}}),
    ];
    let bench = Bench::chain(fields(&[("n", "integer")]), &numbers(5), &steps);
    let preview = previewed(&bench, 5, None).await;
    let shown: Vec<_> = preview.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(shown, ["source", "step1"]);
    assert_eq!(preview.faults.len(), 1, "{:?}", preview.faults);
}

#[tokio::test]
async fn a_target_shows_rows_as_they_would_be_written() {
    let fields = json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true},
        {"name": "amount", "dataType": "decimal", "precision": 8, "scale": 2},
        {"name": "at", "dataType": "timestamptz"},
        {"name": "note", "dataType": "varchar", "length": 3}
    ]);
    let text = "id,amount,at,note,extra\n1,2.5,2026-01-15T09:00:00Z,abc,x\n1,3,2026-01-15T10:00:00+01:00,de,x\n2,x,2026-01-15,a,x\n3,1,2026-01-15T09:00:00Z,long,x\n";
    let mut bench = Bench::chain(fields, text, &[]);
    bench.job["nodes"][1]["config"] = json!({"loadMode": "upsert"});
    let preview = previewed(&bench, 10, None).await;
    assert!(preview.faults.is_empty(), "{:?}", preview.faults);
    let target = node(&preview, "target");
    assert_eq!(
        rows(target),
        [json!({"id": 1, "amount": "3.00", "at": "2026-01-15T09:00:00.000Z", "note": "de"})],
        "the later row of a key replaces the earlier one"
    );
    let rejected: Vec<_> =
        preview.nodes.iter().flat_map(|node| &node.rejected).map(|row| (row.row, row.column.as_str())).collect();
    assert_eq!(rejected, [(Some(3), "amount"), (Some(4), "note")]);
}

#[tokio::test]
async fn joins_aggregates_and_nodes_with_two_consumers_are_worked_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "sum", "nodeType": "aggregate", "config": {"groupBy": ["name"], "measures": [{"fn": "count", "field": "*", "as": "c"}]}},
        {"id": "j", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "name", "right": "name"}]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("s", "sum", None), ("s", "j", Some("left")), ("sum", "j", Some("right")), ("j", "target", None)];
    let bench = Bench::new(fields(&[("n", "integer"), ("c", "bigint")]), nodes, &edges)
        .file("in.csv", "n,name\n1,a\n2,a\n3,b\n");
    let preview = previewed(&bench, 10, None).await;
    assert!(preview.faults.is_empty(), "{:?}", preview.faults);
    assert_eq!(node(&preview, "s").rows_out, 3);
    let join = node(&preview, "j");
    assert_eq!((join.rows_in, join.rows_out), (5, 3));
    let mut rows = rows(node(&preview, "target"));
    rows.sort_by_key(Value::to_string);
    assert_eq!(rows, [json!({"n": 1, "c": 2}), json!({"n": 2, "c": 2}), json!({"n": 3, "c": 1})]);
}

#[tokio::test]
async fn long_texts_are_cut_and_lists_are_lists() {
    let steps = [json!({"nodeType": "aggregate", "config": {"groupBy": [], "measures": [
        {"fn": "array_agg", "field": "n", "as": "all"}, {"fn": "max", "field": "name", "as": "name"}
    ]}})];
    let text = format!("n,name\n1,{}\n2,b\n", "é".repeat(3000));
    let bench = Bench::chain(fields(&[("name", "text")]), &text, &steps);
    let preview = previewed(&bench, 10, None).await;
    let step = node(&preview, "step1");
    assert_eq!(step.rows[0]["all"], json!([1, 2]));
    assert_eq!(step.rows[0]["name"].as_str().unwrap().chars().count(), 1001);
}

#[tokio::test]
async fn samples_that_do_not_meet_say_so() {
    let nodes = json!([
        {"id": "l", "nodeType": "source", "config": {"path": "l.csv"}},
        {"id": "r", "nodeType": "source", "config": {"path": "r.csv"}},
        {"id": "j", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "n", "right": "m"}]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("l", "j", Some("left")), ("r", "j", Some("right")), ("j", "target", None)];
    let bench = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("l.csv", "n\n1\n").file("r.csv", "m\n2\n");
    let preview = previewed(&bench, 10, None).await;
    assert!(node(&preview, "j").note.as_deref().unwrap().contains("samples"), "{preview:?}");
}

#[tokio::test]
async fn a_time_limit_is_a_fault_and_what_was_done_is_shown() {
    let bench = Bench::chain(fields(&[("n", "integer")]), &numbers(5), &[]);
    let ask = Ask { rows: 1, node: None, deadline: Instant::now() };
    let preview = preview(&bench.job(), &bench.settings(), shared::clock::Clock::default(), &ask).await.unwrap();
    assert_eq!(preview.faults[0].kind, crate::error::Kind::Timeout);
}

#[tokio::test]
async fn a_branch_shows_the_rows_of_all_its_routes_and_counts_them_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "b", "nodeType": "branch", "config": {"routes": [{"label": "low", "condition": "n < 3"}], "else": "high"}},
        {"id": "f", "nodeType": "filter", "config": {"condition": "n > 1"}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges =
        [("s", "b", None), ("b", "f", Some("low")), ("f", "u", None), ("b", "u", Some("high")), ("u", "target", None)];
    let bench = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("in.csv", &numbers(5));
    let preview = previewed(&bench, 10, None).await;
    assert!(preview.faults.is_empty(), "{:?}", preview.faults);
    let branch = node(&preview, "b");
    assert_eq!((branch.rows_in, branch.rows_out, branch.rows.len()), (5, 5, 5));
    assert_eq!(rows(node(&preview, "f")), [json!({"n": 2, "name": "row 2"})]);
    assert_eq!(node(&preview, "target").rows_out, 4);
}

#[tokio::test]
async fn pivots_lookups_and_queries_are_sampled_too() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "l", "nodeType": "transform", "config": {"ops": [
            {"op": "lookup", "connectorId": "conn_1", "path": "names.csv", "on": [{"left": "k", "right": "k"}], "select": ["title"]}
        ]}},
        {"id": "q", "nodeType": "sql", "config": {"query": "SELECT id, title, v FROM input WHERE v > 0"}},
        {"id": "p", "nodeType": "pivot", "config": {"index": ["id"], "columns": "title", "values": "v", "fn": "sum"}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("s", "l", None), ("l", "q", None), ("q", "p", None), ("p", "target", None)];
    let bench = Bench::new(fields(&[("id", "integer"), ("One", "bigint"), ("Two", "bigint")]), nodes, &edges)
        .file("in.csv", "id,k,v\n1,a,10\n1,b,20\n2,a,0\n2,b,5\n")
        .file("names.csv", "k,title\na,One\nb,Two\n");
    let preview = previewed(&bench, 10, None).await;
    assert!(preview.faults.is_empty(), "{:?}", preview.faults);
    assert!(node(&preview, "l").note.as_deref().unwrap().contains("10,000"));
    assert_eq!(node(&preview, "q").rows_out, 3);
    let mut written = rows(node(&preview, "target"));
    written.sort_by_key(Value::to_string);
    assert_eq!(written, [json!({"id": 1, "One": 10, "Two": 20}), json!({"id": 2, "One": null, "Two": 5})]);
}
