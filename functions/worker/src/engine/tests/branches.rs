//! Branches: each row goes one way, and all ways together are what came in.

use super::{Bench, fields, named};
use serde_json::{Value, json};

fn split(otherwise: Option<&str>) -> Value {
    json!({"id": "b", "nodeType": "branch", "config": {
        "routes": [{"label": "large", "condition": "n >= 10"}, {"label": "even", "condition": "n % 2 = 0"}],
        "else": otherwise}})
}

fn add(id: &str, way: &str) -> Value {
    json!({"id": id, "nodeType": "transform", "config": {"ops": [{"op": "add_field", "field": "way", "type": "text", "value": way}]}})
}

const ROWS: &str = "n\n1\n2\n10\n11\n\n3\n4\n12\n";

/// Source → branch → one transform a route → union → target.
fn three_ways() -> Bench {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        split(Some("rest")), add("l", "L"), add("e", "E"), add("r", "R"),
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "b", None),
        ("b", "l", Some("large")),
        ("b", "e", Some("even")),
        ("b", "r", Some("rest")),
        ("l", "u", None),
        ("e", "u", None),
        ("r", "u", None),
        ("u", "target", None),
    ];
    Bench::new(fields(&[("n", "integer"), ("way", "text")]), nodes, &edges)
}

#[tokio::test]
async fn each_row_goes_over_the_first_route_that_is_true() {
    let ran = three_ways().file("in.csv", "n,x\n1,a\n2,a\n10,a\n11,a\n,a\n3,a\n4,a\n12,a\n").run().await;
    let rows = ran.rows();
    let of = |way: &str| rows.iter().filter(|r| r["way"] == way).map(|r| r["n"].clone()).collect::<Vec<_>>();
    assert_eq!(of("L"), [json!(10), json!(11), json!(12)]);
    assert_eq!(of("E"), [json!(2), json!(4)]);
    assert_eq!(of("R"), [json!(1), json!(3), Value::Null]);
    assert_eq!(ran.counts("b"), [8, 8, 0, 0, 0]);
    assert_eq!((ran.counts("l")[0], ran.counts("e")[0], ran.counts("r")[0]), (3, 2, 3));
    assert_eq!(ran.outcome().rows_in, 8);
}

#[tokio::test]
async fn a_branch_without_rows_gives_none_on_every_route() {
    let ran = three_ways().file("in.csv", "n\n").run().await;
    assert_eq!(ran.rows(), Vec::<Value>::new());
    assert_eq!(ran.counts("b"), [0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn rows_without_a_route_are_filtered_where_there_is_no_else() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        split(None),
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("s", "b", None), ("b", "u", Some("large")), ("b", "u", Some("even")), ("u", "target", None)];
    let ran = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("in.csv", ROWS).run().await;
    assert_eq!(ran.rows().len(), 5);
    // The empty line is a row of null, for which no condition is true.
    assert_eq!(ran.counts("b"), [8, 5, 3, 0, 0]);
}

#[tokio::test]
async fn a_condition_that_fails_rejects_the_row_unless_an_earlier_route_has_taken_it() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "b", "nodeType": "branch", "config": {"routes": [
            {"label": "negative", "condition": "n < 0"}, {"label": "tenth", "condition": "10 / (n - n / 2 * 2) > 0"}], "else": "rest"}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "b", None),
        ("b", "u", Some("negative")),
        ("b", "u", Some("tenth")),
        ("b", "u", Some("rest")),
        ("u", "target", None),
    ];
    let bench = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("in.csv", "n\n-2\n1\n2\n3\n");
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"n": -2}), json!({"n": 1}), json!({"n": 3})]);
    assert_eq!(ran.counts("b"), [4, 3, 0, 1, 0]);
    let errors = ran.errors();
    assert_eq!((errors.len(), errors[0].row, errors[0].node.as_str()), (1, Some(3), "b"));
    assert!(errors[0].error.contains("condition of route \"tenth\" fails"), "{}", errors[0].error);
}

#[tokio::test]
async fn one_route_may_have_several_consumers() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        split(Some("rest")), add("x", "X"), add("y", "Y"), add("z", "Z"), add("q", "Q"),
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "b", None),
        ("b", "x", Some("large")),
        ("b", "y", Some("large")),
        ("b", "z", Some("even")),
        ("b", "q", Some("rest")),
        ("x", "u", None),
        ("y", "u", None),
        ("z", "u", None),
        ("q", "u", None),
        ("u", "target", None),
    ];
    let ran = Bench::new(fields(&[("n", "integer"), ("way", "text")]), nodes, &edges).file("in.csv", ROWS).run().await;
    assert_eq!(ran.counts("s"), [8, 8, 0, 0, 0]);
    assert_eq!(ran.counts("b"), [8, 8, 0, 0, 0]);
    assert_eq!((ran.counts("x")[0], ran.counts("y")[0], ran.counts("z")[0], ran.counts("q")[0]), (3, 3, 2, 3));
    assert_eq!(ran.rows().len(), 11);
}

#[tokio::test]
async fn an_edge_from_a_branch_takes_the_side_of_a_join_that_is_left_over() {
    let join = |kind: &str| json!({"id": "j", "nodeType": "join", "config": {"type": kind, "on": [{"left": "n", "right": "n"}]}});
    let source = |id: &str| json!({"id": id, "nodeType": "source", "config": {"path": format!("{id}.csv")}});
    let branch = json!({"id": "b", "nodeType": "branch", "config": {"routes": [{"label": "right", "condition": "n > 1"}], "else": "left"}});
    let target = json!({"id": "target", "nodeType": "target", "config": {}});
    // The other edge is the right one, so the branch's is the left one, whatever its route is called.
    let nodes = json!([source("a"), source("o"), branch, join("left"), {"id": "sort", "nodeType": "sort", "config": {"by": [{"field": "n"}]}}, target]);
    let edges = [
        ("a", "b", None),
        ("o", "j", Some("right")),
        ("b", "j", Some("right")),
        ("b", "sort", Some("left")),
        ("j", "target", None),
    ];
    let mut bench = Bench::new(fields(&[("n", "integer"), ("o", "text")]), nodes, &edges)
        .file("a.csv", "n\n1\n2\n3\n")
        .file("o.csv", "n,o\n1,x\n2,y\n");
    bench.job["nodes"].as_array_mut().unwrap().remove(4);
    bench.job["edges"].as_array_mut().unwrap().remove(3);
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"n": 2, "o": "y"}), json!({"n": 3, "o": null})]);
    assert_eq!(ran.counts("j"), [4, 2, 0, 0, 0]);
    // Both from one branch: the order of the edges decides.
    let nodes = json!([source("a"), branch, join("left"), target]);
    let edges = [("a", "b", None), ("b", "j", Some("right")), ("b", "j", Some("left")), ("j", "target", None)];
    let ran = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("a.csv", "n\n1\n2\n3\n").run().await;
    assert_eq!(ran.rows(), [json!({"n": 2}), json!({"n": 3})]);
    assert_eq!((ran.counts("b"), ran.counts("j")), ([3, 3, 0, 0, 0], [3, 2, 0, 0, 0]));
}

#[tokio::test]
async fn an_edge_without_a_route_and_a_condition_that_is_none_are_faults() {
    let mut bench = three_ways().file("in.csv", ROWS);
    bench.job["edges"][1]["label"] = json!("lagre");
    let fault = bench.fault().await;
    assert!(fault.message.contains("no route \"lagre\"; did you mean \"large\"?"), "{fault}");
    let mut bench = three_ways().file("in.csv", ROWS);
    bench.job["nodes"][1]["config"]["routes"][0]["condition"] = json!("n + 1");
    let fault = bench.fault().await;
    assert!(fault.message.contains("condition of route \"large\" \"n + 1\" is of type bigint"), "{fault}");
}

#[tokio::test]
async fn two_routes_to_targets_that_take_a_column_by_different_types_both_get_its_values() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "b", "nodeType": "branch", "config": {"routes": [{"label": "good", "condition": "kind = 'g'"}], "else": "rest"}},
        {"id": "target", "nodeType": "target", "config": {}},
        {"id": "raw", "nodeType": "target", "config": {"table": "raw"}}
    ]);
    let edges = [("s", "b", None), ("b", "target", Some("good")), ("b", "raw", Some("rest"))];
    let mut bench =
        Bench::new(fields(&[("code", "integer")]), nodes, &edges).file("in.csv", "kind,code\ng,1\nr,007\nr,x1\n");
    bench.job["tables"] = json!({"raw": fields(&[("code", "text")])});
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"code": 1})]);
    let raw = named("raw", fields(&[("code", "text")]));
    assert_eq!(bench.read(&raw).await, [json!({"code": "007"}), json!({"code": "x1"})]);
    assert_eq!(ran.counts("s"), [3, 3, 0, 0, 0]);
}
