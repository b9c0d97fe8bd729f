//! Checks of a job before it runs: columns, types, and all faults at their places.

use super::{Bench, fields};
use crate::engine::check::{Checked, check};
use crate::engine::survey::told;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

async fn checked(bench: &Bench) -> Checked {
    let deadline = Instant::now() + Duration::from_secs(30);
    check(&bench.job(), &bench.settings(), shared::clock::Clock::default(), deadline).await
}

/// Pointer and code of each fault.
async fn faults(bench: &Bench) -> Vec<(String, &'static str, String)> {
    let checked = checked(bench).await;
    told(&bench.job(), false, checked.faults).into_iter().map(|t| (t.pointer, t.code, t.detail)).collect()
}

async fn places(bench: &Bench) -> Vec<String> {
    faults(bench).await.into_iter().map(|(pointer, code, _)| format!("{pointer} {code}")).collect()
}

/// `name type` of columns.
fn columns(columns: &Option<Vec<crate::engine::check::Column>>) -> Vec<String> {
    columns.iter().flatten().map(|c| format!("{} {}", c.name, c.r#type)).collect()
}

fn orders() -> Bench {
    let nodes = json!([
        {"id": "orders", "nodeType": "source", "config": {"path": "orders.csv"}},
        {"id": "customers", "nodeType": "source", "config": {"path": "customers.csv"}},
        {"id": "cast", "nodeType": "transform", "config": {"ops": [
            {"op": "cast", "field": "amount", "type": "decimal", "precision": 10, "scale": 2},
            {"op": "expression", "field": "double", "expr": "amount * 2"}
        ]}},
        {"id": "join", "nodeType": "join", "config": {"type": "left", "on": [{"left": "customer", "right": "id"}]}},
        {"id": "sum", "nodeType": "aggregate", "config": {"groupBy": ["name"], "measures": [
            {"fn": "sum", "field": "amount", "as": "total"}, {"fn": "count", "field": "*", "as": "orders"}
        ]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("orders", "cast", None),
        ("cast", "join", Some("left")),
        ("customers", "join", Some("right")),
        ("join", "sum", None),
        ("sum", "target", None),
    ];
    let fields = fields(&[("name", "text"), ("total", "decimal"), ("orders", "bigint")]);
    Bench::new(fields, nodes, &edges)
        .file("orders.csv", "id,customer,amount\n1,1,2.50\n2,2,4\n")
        .file("customers.csv", "id,name\n1,Ada\n2,Grace\n")
}

#[tokio::test]
async fn columns_and_types_are_told_on_every_edge() {
    let checked = checked(&orders()).await;
    assert!(checked.faults.is_empty(), "{:?}", checked.faults);
    let edges: Vec<Vec<String>> = checked.edges.iter().map(columns).collect();
    assert_eq!(edges[0], ["id bigint", "customer bigint", "amount double"]);
    assert_eq!(edges[1][2], "amount decimal(10,2)");
    assert!(edges[1][3].starts_with("double decimal("), "{:?}", edges[1]);
    assert_eq!(edges[2], ["id bigint", "name text"]);
    assert_eq!(edges[3][4..], ["id_right bigint", "name text"]);
    assert_eq!(edges[4][0], "name text");
    assert!(edges[4][1].starts_with("total decimal(") && edges[4][2] == "orders bigint", "{:?}", edges[4]);
    assert_eq!(columns(&checked.nodes[5]), ["name text", "total decimal(38,10)", "orders bigint"]);
}

#[tokio::test]
async fn a_check_touches_no_table() {
    let bench = orders();
    checked(&bench).await;
    assert!(!bench.dir.path().join("lake").exists());
}

#[tokio::test]
async fn several_faulty_ops_are_told_at_once_and_each_only_once() {
    let ops = json!([
        {"op": "cast", "field": "agee", "type": "integer"},
        {"op": "expression", "field": "x", "expr": "nmae || 'a'"},
        {"op": "expression", "field": "y", "expr": "upper(x)"},
        {"op": "trim", "fields": ["name", "gone"]},
        {"op": "rename", "mappings": [{"from": "name", "to": "who"}]},
        {"op": "drop", "fields": ["name"]}
    ]);
    let bench = Bench::chain(
        fields(&[("who", "text")]),
        "name,age\nAda,36\n",
        &[
            json!({"nodeType": "transform", "config": {"ops": ops}}),
            json!({"nodeType": "filter", "config": {"condition": "x = y AND agee > 3 AND who"}}),
        ],
    );
    let all = faults(&bench).await;
    let told: Vec<String> = all.iter().map(|(pointer, code, _)| format!("{pointer} {code}")).collect();
    assert_eq!(
        told,
        [
            "/nodes/1/config/ops/0/field not_found",
            "/nodes/1/config/ops/1/expr not_found",
            "/nodes/1/config/ops/3/fields/1 not_found",
            "/nodes/1/config/ops/5/fields/0 not_found",
        ],
        "{all:#?}"
    );
    assert!(all[0].2.contains("op 1 (cast)") && all[0].2.contains("did you mean \"age\"?"), "{}", all[0].2);
}

#[tokio::test]
async fn faults_behind_a_faulty_node_are_told_too() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "f", "nodeType": "filter", "config": {"condition": "nope > 1"}},
        {"id": "a", "nodeType": "aggregate", "config": {"groupBy": ["id", "gone"], "measures": [
            {"fn": "avg", "field": "name", "as": "x"}, {"fn": "sum", "field": "lost", "as": "y"}
        ]}},
        {"id": "o", "nodeType": "sort", "config": {"by": [{"field": "id"}, {"field": "x"}, {"field": "mist"}]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("s", "f", None), ("f", "a", None), ("a", "o", None), ("o", "target", None)];
    let bench = Bench::new(fields(&[("id", "integer")]), nodes, &edges).file("in.csv", "id,name\n1,a\n");
    assert_eq!(
        places(&bench).await,
        [
            "/nodes/1/config/condition not_found",
            "/nodes/2/config/groupBy/1 not_found",
            "/nodes/2/config/measures/0/field invalid",
            "/nodes/2/config/measures/1/field not_found",
            "/nodes/3/config/by/2/field not_found",
        ]
    );
}

#[tokio::test]
async fn every_source_that_cannot_be_opened_is_a_fault_of_its_own() {
    let mut bench = orders();
    bench.job["nodes"][0]["config"]["path"] = json!("missing.csv");
    bench.job["nodes"][1]["config"]["path"] = json!("other.csv");
    assert_eq!(places(&bench).await, ["/nodes/0/config/path source", "/nodes/1/config/path source"]);
    let checked = checked(&bench).await;
    assert!(checked.nodes[0].is_none() && checked.edges[3].is_none(), "what cannot be told is not told");
}

#[tokio::test]
async fn a_target_tells_its_keys_and_all_fields_that_nothing_fills() {
    let required = |name: &str| json!({"name": name, "dataType": "text", "isNullable": false});
    let fields = json!([{"name": "id", "dataType": "integer"}, required("a"), required("b")]);
    let mut bench = Bench::chain(fields, "id\n1\n", &[]);
    bench.job["nodes"][1]["config"] = json!({"loadMode": "upsert", "upsertKey": ["idd", "id"]});
    let all = faults(&bench).await;
    assert_eq!(all.len(), 3, "{all:#?}");
    assert_eq!((all[0].0.as_str(), all[0].1), ("/nodes/1/config/upsertKey/0", "invalid"));
    assert!(all[1].2.contains("\"a\" must not be null") && all[2].2.contains("\"b\" must not be null"), "{all:#?}");
}

#[tokio::test]
async fn a_parameter_that_is_missing_is_told_at_its_place_beside_other_faults() {
    let ops = json!([{"op": "hash", "field": "name", "algorithm": "sha256", "salt": "${pepper}"}]);
    let steps = [
        json!({"nodeType": "filter", "config": {"condition": "id > ${least} AND gone = 1"}}),
        json!({"nodeType": "transform", "config": {"ops": ops}}),
    ];
    let bench = Bench::chain(fields(&[("id", "integer")]), "id,name\n1,a\n", &steps);
    let told = places(&bench).await;
    assert_eq!(told, ["/nodes/1/config/condition invalid", "/nodes/2/config/ops/0/salt invalid"]);
    let bench = bench.parameters(json!({"least": 1, "pepper": "x"}));
    assert_eq!(places(&bench).await, ["/nodes/1/config/condition not_found"]);
}

#[tokio::test]
async fn a_run_fails_with_the_sentences_of_the_check() {
    let steps = [
        json!({"nodeType": "filter", "config": {"condition": "nope > 1"}}),
        json!({"nodeType": "sort", "config": {"by": [{"field": "gone"}]}}),
    ];
    let bench = Bench::chain(fields(&[("id", "integer")]), "id\n1\n", &steps);
    let told: Vec<String> = faults(&bench).await.into_iter().map(|(.., detail)| detail).collect();
    assert_eq!(told.len(), 2);
    assert_eq!(bench.fault().await.message, told.join("; "));
}

#[tokio::test]
async fn join_keys_and_union_columns_are_all_looked_at() {
    let nodes = json!([
        {"id": "l", "nodeType": "source", "config": {"path": "l.csv"}},
        {"id": "r", "nodeType": "source", "config": {"path": "r.csv"}},
        {"id": "j", "nodeType": "join", "config": {"type": "inner", "on": [
            {"left": "n", "right": "t"}, {"left": "idd", "right": "tt"}
        ]}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("l", "j", Some("left")),
        ("r", "j", Some("right")),
        ("j", "u", None),
        ("r", "u", None),
        ("u", "target", None),
    ];
    let bench =
        Bench::new(fields(&[("t", "text")]), nodes, &edges).file("l.csv", "id,n\n1,2\n").file("r.csv", "t,id\nx,y\n");
    let told = places(&bench).await;
    assert_eq!(
        told,
        [
            "/nodes/2/config/on/0 invalid",
            "/nodes/2/config/on/1/left not_found",
            "/nodes/2/config/on/1/right not_found",
            "/nodes/3/config invalid"
        ]
        .map(|line: &str| line.replace("/nodes/3/config ", "/nodes/3 ")),
    );
    let value: Value = json!(checked(&bench).await.nodes[3]);
    assert_eq!(value[0], json!({"name": "id", "type": "unknown", "nullable": true}));
}

#[tokio::test]
async fn branches_lookups_and_queries_tell_their_faults_with_the_others() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "b", "nodeType": "branch", "config": {"routes": [
            {"label": "one", "condition": "nn = 1"}, {"label": "two", "condition": "m = 1"}
        ]}},
        {"id": "l", "nodeType": "transform", "config": {"ops": [
            {"op": "lookup", "connectorId": "conn_1", "path": "gone.csv", "on": [{"left": "k", "right": "k"}], "select": ["title"]},
            {"op": "expression", "field": "x", "expr": "upper(title) || lost"}
        ]}},
        {"id": "q", "nodeType": "sql", "config": {"query": "SELECT n, missing FROM two"}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "b", None),
        ("b", "l", Some("one")),
        ("b", "q", Some("two")),
        ("l", "u", None),
        ("q", "u", None),
        ("u", "target", None),
    ];
    let bench = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("in.csv", "n,k\n1,a\n");
    let told = places(&bench).await;
    assert_eq!(
        told,
        [
            "/nodes/1/config/routes/0/condition not_found",
            "/nodes/1/config/routes/1/condition not_found",
            "/nodes/2/config/ops/0 source",
            "/nodes/2/config/ops/1/expr not_found",
            "/nodes/3/config/query invalid",
        ],
        "{:#?}",
        faults(&bench).await
    );
}
