//! What leaves a branch, and what comes into joins and queries from it.

use super::*;
use crate::check::pipeline::create;

fn route(label: &str) -> Value {
    json!({"label": label, "condition": "true"})
}

fn faults(nodes: Value, edges: Value) -> Vec<Fault> {
    create(&body(json!({"name": "n", "connectorId": "c", "schemaId": "s", "nodes": nodes, "edges": edges}))).1
}

/// A source, a branch `b` with these routes and `else`, a union and a target; edges from the branch to the union.
fn branch(routes: Value, otherwise: Value, labels: &[Value]) -> Vec<Fault> {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "b", "nodeType": "branch", "config": {"routes": routes, "else": otherwise}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "t", "nodeType": "target", "config": {}}
    ]);
    let mut edges = vec![json!({"source": "s", "target": "b"}), json!({"source": "u", "target": "t"})];
    edges.extend(labels.iter().map(|label| json!({"source": "b", "target": "u", "label": label})));
    faults(nodes, json!(edges))
}

#[test]
fn every_route_goes_on_and_every_edge_goes_a_route() {
    let two = || json!([route("large"), route("small")]);
    assert_eq!(branch(two(), Value::Null, &[json!("large"), json!("small")]), []);
    assert_eq!(branch(two(), json!("rest"), &[json!("large"), json!("small"), json!("rest")]), []);
    assert_eq!(
        lines(branch(two(), json!("rest"), &[json!("large")])),
        ["/nodes/1/config/else outputs", "/nodes/1/config/routes/1/label outputs"]
    );
    let found = branch(two(), Value::Null, &[json!("lagre"), json!("small"), Value::Null]);
    assert!(
        found[0].detail.contains("no route \"lagre\"; did you mean \"large\"?; its routes: \"large\", \"small\""),
        "{found:?}"
    );
    assert_eq!(
        lines(found),
        ["/edges/2/label unknown", "/edges/4/label required", "/nodes/1/config/routes/0/label outputs"]
    );
    assert_eq!(
        lines(branch(two(), Value::Null, &[json!("large"), json!("large"), json!("small")])),
        ["/edges/3 duplicate"]
    );
}

#[test]
fn labels_and_conditions_of_routes_are_sound() {
    let labels = [json!("a"), json!("b")];
    let found = branch(json!([route("a"), route("b"), route("a")]), json!("b"), &labels);
    assert_eq!(lines(found), ["/nodes/1/config/else duplicate", "/nodes/1/config/routes/2/label duplicate"]);
    let odd = json!([{"label": "a", "condition": "x >"}, {"label": "b", "condition": "sum(x) > 1"}]);
    let found = lines(branch(odd, Value::Null, &labels));
    assert_eq!(found, ["/nodes/1/config/routes/0/condition format", "/nodes/1/config/routes/1/condition format"]);
    assert_eq!(
        lines(branch(json!([]), Value::Null, &[])),
        ["/nodes/0 leads_nowhere", "/nodes/1 leads_nowhere", "/nodes/1/config/routes length", "/nodes/2 inputs"]
    );
}

fn into(kind: &str, config: Value, edges: &[(&str, Value)]) -> Vec<String> {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "o", "nodeType": "source", "config": {}},
        {"id": "b", "nodeType": "branch", "config": {"routes": [route("left"), route("x")]}},
        {"id": "n", "nodeType": kind, "config": config},
        {"id": "t", "nodeType": "target", "config": {}},
        {"id": "u", "nodeType": "union", "config": {}}
    ]);
    let mut all = vec![
        json!({"source": "s", "target": "b"}),
        json!({"source": "n", "target": "u"}),
        json!({"source": "o", "target": "u"}),
        json!({"source": "u", "target": "t"}),
    ];
    all.extend(edges.iter().map(|(source, label)| json!({"source": source, "target": "n", "label": label})));
    lines(faults(nodes, json!(all)))
}

#[test]
fn an_edge_from_a_branch_takes_the_side_of_a_join_that_is_left_over() {
    let join =
        |edges: &[(&str, Value)]| into("join", json!({"type": "inner", "on": [{"left": "a", "right": "a"}]}), edges);
    let none: [&str; 0] = [];
    assert_eq!(join(&[("b", json!("left")), ("b", json!("x"))]), none);
    let unused = "/nodes/2/config/routes/1/label outputs";
    assert_eq!(join(&[("b", json!("left")), ("o", json!("left"))]), [unused]);
    assert_eq!(join(&[("b", json!("left")), ("o", json!("right"))]), [unused]);
    assert_eq!(join(&[("b", json!("left")), ("b", json!("x")), ("o", json!("left"))]), ["/edges/5/target inputs"]);
    assert_eq!(join(&[("b", json!("left"))]), [unused, "/nodes/3 inputs"]);
}

#[test]
fn the_inputs_of_a_query_are_named_once_and_all_are_read() {
    let sql = |query: &str, edges: &[(&str, Value)]| into("sql", json!({ "query": query }), edges);
    let none: [&str; 0] = [];
    let routes = [("b", json!("left")), ("b", json!("x"))];
    assert_eq!(sql("SELECT * FROM \"left\" JOIN x USING (id)", &routes), none);
    let mut with_input = routes.to_vec();
    with_input.push(("o", Value::Null));
    assert_eq!(
        sql("SELECT id FROM \"left\" UNION SELECT id FROM x WHERE id IN (SELECT id FROM input)", &with_input),
        none
    );
    assert_eq!(
        sql("WITH y AS (SELECT * FROM \"left\") SELECT * FROM y, xx", &routes),
        ["/edges/5 unused", "/nodes/3/config/query not_found"]
    );
    let mut twice = routes.to_vec();
    twice.push(("o", json!("x")));
    assert_eq!(sql("SELECT * FROM \"left\", x", &twice), ["/edges/6/label duplicate"]);
    let mut unnamed = with_input.clone();
    unnamed.push(("s", Value::Null));
    assert_eq!(sql("SELECT * FROM \"left\", x, input", &unnamed), ["/edges/7/label required"]);
    assert_eq!(sql("SELECT * FROM x", &[]).iter().filter(|line| line.as_str() == "/nodes/3 inputs").count(), 1);
}

#[test]
fn an_unknown_table_names_the_nearest_input() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "n", "nodeType": "sql", "config": {"query": "SELECT * FROM Input"}},
        {"id": "t", "nodeType": "target", "config": {}}
    ]);
    let found = faults(nodes, json!([{"source": "s", "target": "n"}, {"source": "n", "target": "t"}]));
    assert!(
        found
            .iter()
            .any(|f| f.detail == "there is no input \"Input\"; did you mean \"input\"?; the inputs are \"input\""),
        "{found:?}"
    );
}
