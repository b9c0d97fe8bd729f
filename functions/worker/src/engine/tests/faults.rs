//! Faults that are found while planning: all at once, with the node, the column and what would be right.

use super::{Bench, fields};
use crate::error::Kind;
use serde_json::json;

fn id() -> serde_json::Value {
    fields(&[("id", "integer")])
}

#[tokio::test]
async fn a_missing_column_names_the_node_the_nearest_name_and_the_columns() {
    let filter = json!({"nodeType": "filter", "label": "Big", "config": {"condition": "amuont > 1"}});
    let fault = Bench::chain(id(), "id,amount\n1,2\n", &[filter]).fault().await;
    assert_eq!(fault.kind, Kind::Definition);
    assert_eq!(fault.node.as_deref(), Some("step1"));
    assert_eq!(
        fault.message,
        "node \"Big\": condition \"amuont > 1\": there is no column \"amuont\"; did you mean \"amount\"? There are: id, amount"
    );
}

#[tokio::test]
async fn names_are_case_sensitive_also_unquoted() {
    let filter = |condition: &str| json!({"nodeType": "filter", "config": {"condition": condition}});
    let file = "id,Amount\n1,2\n";
    assert!(
        Bench::chain(id(), file, &[filter("amount > 1")]).fault().await.message.contains("did you mean \"Amount\"?")
    );
    assert_eq!(Bench::chain(id(), file, &[filter("Amount > 1")]).rows().await.len(), 1);
    assert_eq!(Bench::chain(id(), file, &[filter("\"Amount\" > 1")]).rows().await.len(), 1);
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "f", "nodeType": "filter", "config": {"condition": "nope > 1"}},
        {"id": "t", "nodeType": "sort", "config": {"by": [{"field": "gone"}]}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("s", "f", None), ("s", "t", None), ("f", "u", None), ("t", "u", None), ("u", "target", None)];
    let fault = Bench::new(id(), nodes, &edges).file("in.csv", "id\n1\n").fault().await;
    assert!(fault.message.contains("\"nope\"") && fault.message.contains("\"gone\""), "{fault}");
}

#[tokio::test]
async fn columns_that_meet_no_field_are_a_fault() {
    let fault = Bench::chain(id(), "a,b\n1,2\n", &[]).fault().await;
    assert!(fault.message.contains("none of the columns that come in (a, b) is a field of the schema (id)"), "{fault}");
}

#[tokio::test]
async fn hidden_names_are_refused_everywhere() {
    for op in [
        json!({"op": "drop", "fields": ["__flowgate_row"]}),
        json!({"op": "rename", "mappings": [{"from": "id", "to": "__flowgate_row"}]}),
        json!({"op": "expression", "field": "x", "expr": "__flowgate_row"}),
        json!({"op": "expression", "field": "__flowgate_row", "expr": "1"}),
        json!({"op": "add_field", "field": "__flowgate_x", "type": "text", "value": "1"}),
    ] {
        let fault =
            Bench::chain(id(), "id\n1\n", &[json!({"nodeType": "transform", "config": {"ops": [op]}})]).fault().await;
        assert_eq!(fault.kind, Kind::Definition, "{fault}");
    }
    let fault = Bench::chain(id(), "id,__flowgate_row\n1,2\n", &[]).fault().await;
    assert!(fault.message.contains("__flowgate_row"), "{fault}");
}

#[tokio::test]
async fn keys_that_cannot_be_equal_say_their_types() {
    let nodes = json!([
        {"id": "l", "nodeType": "source", "config": {"path": "l.csv"}},
        {"id": "r", "nodeType": "source", "config": {"path": "r.csv"}},
        {"id": "j", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "n", "right": "t"}]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("l", "j", Some("left")), ("r", "j", Some("right")), ("j", "target", None)];
    let fault = Bench::new(id(), nodes, &edges).file("l.csv", "id,n\n1,2\n").file("r.csv", "t\nx\n").fault().await;
    assert!(fault.message.contains("left key \"n\" is of type bigint and right key \"t\" of type text"), "{fault}");
}

#[tokio::test]
async fn a_graph_that_multiplies_without_end_is_refused() {
    let mut nodes = vec![json!({"id": "n0", "nodeType": "source", "config": {"path": "in.csv"}})];
    let mut edges = Vec::new();
    for i in 0..20 {
        nodes.push(json!({"id": format!("n{}", i + 1), "nodeType": "union", "config": {}}));
        edges.push((format!("n{i}"), format!("n{}", i + 1)));
        edges.push((format!("n{i}"), format!("n{}", i + 1)));
    }
    nodes.push(json!({"id": "target", "nodeType": "target", "config": {}}));
    edges.push(("n20".to_owned(), "target".to_owned()));
    let edges: Vec<_> = edges.iter().map(|(a, b)| (a.as_str(), b.as_str(), None)).collect();
    let fault = Bench::new(id(), json!(nodes), &edges).file("in.csv", "id\n1\n").fault().await;
    assert!(fault.message.contains("divides and meets again"), "{fault}");
}

#[tokio::test]
async fn two_targets_of_one_table_are_refused() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "one", "nodeType": "target", "config": {}},
        {"id": "two", "nodeType": "target", "config": {}}
    ]);
    let fault =
        Bench::new(id(), nodes, &[("s", "one", None), ("s", "two", None)]).file("in.csv", "id\n1\n").fault().await;
    assert!(fault.message.contains("another target writes the same table"), "{fault}");
}
