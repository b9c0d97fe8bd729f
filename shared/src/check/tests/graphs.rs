//! The rules that nodes and edges keep together.

use super::*;
use crate::check::pipeline::create;
use crate::check::references;

/// A pipeline of nodes `id:type` and edges `source>target` or `source>target:label`.
fn graph(nodes: &[&str], edges: &[&str]) -> Vec<Fault> {
    let config = |kind: &str| match kind {
        "filter" => json!({"condition": "true"}),
        "join" => json!({"type": "inner", "on": [{"left": "a", "right": "a"}]}),
        "sort" => json!({"by": [{"field": "a"}]}),
        _ => json!({}),
    };
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|text| {
            let (id, kind) = text.split_once(':').unwrap();
            json!({"id": id, "nodeType": kind, "config": config(kind)})
        })
        .collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|text| {
            let (source, rest) = text.split_once('>').unwrap();
            let (target, label) = rest.split_once(':').map_or((rest, None), |(t, l)| (t, Some(l)));
            json!({"source": source, "target": target, "label": label})
        })
        .collect();
    create(&body(json!({"name": "n", "connectorId": "c", "schemaId": "s", "nodes": nodes, "edges": edges}))).1
}

#[test]
fn sound_graphs_have_no_faults() {
    let none: [&str; 0] = [];
    assert_eq!(lines(graph(&[], &[])), none);
    assert_eq!(lines(graph(&["s:source", "t:target"], &["s>t"])), none);
    assert_eq!(lines(graph(&["s:source", "j:join", "t:target"], &["s>j:left", "s>j:right", "j>t"])), none);
    let diamond = ["s:source", "a:filter", "b:filter", "u:union", "t:target"];
    assert_eq!(lines(graph(&diamond, &["s>a", "s>b", "a>u", "b>u", "u>t"])), none);
}

#[test]
fn the_later_of_two_equal_ids_is_the_fault() {
    assert_eq!(lines(graph(&["s:source", "t:target", "s:source"], &["s>t"])), ["/nodes/2/id duplicate"]);
}

#[test]
fn edges_meet_nodes_of_the_same_body() {
    let faults = graph(&["source:source", "target:target"], &["source>target", "suorce>target", "source>x", "y>z"]);
    assert!(faults.iter().any(|f| f.detail.contains("did you mean \"source\"?")), "{faults:?}");
    assert_eq!(
        lines(faults),
        [
            "/edges/1/source not_found",
            "/edges/1/target inputs",
            "/edges/2/target not_found",
            "/edges/3/source not_found",
            "/edges/3/target not_found",
        ]
    );
}

#[test]
fn an_edge_is_there_once() {
    let found = lines(graph(&["s:source", "u:union", "t:target"], &["s>u", "s>u:other", "u>t"]));
    assert_eq!(found, ["/edges/1 duplicate"]);
}

#[test]
fn a_cycle_is_named_by_its_nodes_at_the_edge_that_closes_it() {
    let nodes = ["s:source", "u:union", "f:filter", "g:filter", "t:target"];
    let faults = graph(&nodes, &["s>u", "u>f", "f>g", "g>u", "g>t"]);
    assert!(faults[0].detail.contains("\"u\" → \"f\" → \"g\" → \"u\""), "{}", faults[0].detail);
    assert_eq!(lines(faults), ["/edges/3 cycle"]);
    let faults = graph(&["s:source", "u:union", "t:target"], &["s>u", "u>u", "u>t"]);
    assert!(faults[0].detail.contains("feeds itself"));
    assert_eq!(lines(faults), ["/edges/1 cycle"]);
}

#[test]
fn two_cycles_are_two_faults() {
    let nodes = ["s:source", "u:union", "v:union", "t:target"];
    assert_eq!(lines(graph(&nodes, &["s>u", "u>u", "u>v", "v>v", "v>t"])), ["/edges/1 cycle", "/edges/3 cycle"]);
}

#[test]
fn a_cycle_apart_from_all_sources_is_one_fault() {
    let nodes = ["s:source", "t:target", "f:filter", "g:filter"];
    assert_eq!(lines(graph(&nodes, &["s>t", "f>g", "g>f"])), ["/edges/2 cycle"]);
}

#[test]
fn a_graph_needs_a_source_and_a_target() {
    assert_eq!(lines(graph(&["t:target"], &[])), ["/nodes no_source", "/nodes/0 inputs"]);
    assert_eq!(lines(graph(&["s:source"], &[])), ["/nodes no_target"]);
    assert_eq!(lines(graph(&["f:filter"], &[])), ["/nodes no_source", "/nodes no_target", "/nodes/0 inputs"]);
}

#[test]
fn every_node_is_reached_and_leads_somewhere() {
    let nodes = ["s:source", "t:target", "f:filter", "g:filter"];
    assert_eq!(
        lines(graph(&nodes, &["s>t", "s>f"])),
        ["/nodes/2 leads_nowhere", "/nodes/3 inputs", "/nodes/3 leads_nowhere"]
    );
    assert_eq!(lines(graph(&["s:source", "r:source", "t:target"], &["s>t"])), ["/nodes/1 leads_nowhere"]);
}

#[test]
fn sources_take_nothing_and_targets_give_nothing() {
    let nodes = ["s:source", "r:source", "u:union", "t:target"];
    let faults = lines(graph(&nodes, &["s>u", "r>u", "s>r", "u>t", "t>u"]));
    assert_eq!(faults, ["/edges/2/target inputs", "/edges/4 cycle", "/edges/4/source outputs"]);
}

#[test]
fn most_nodes_take_one_input() {
    let nodes = ["s:source", "r:source", "f:filter", "t:target"];
    assert_eq!(lines(graph(&nodes, &["s>f", "r>f", "f>t"])), ["/edges/1/target inputs"]);
    assert_eq!(lines(graph(&nodes, &["s>f", "r>t", "f>t"])), ["/edges/2/target inputs"]);
}

#[test]
fn a_join_takes_one_left_and_one_right() {
    let nodes = ["s:source", "r:source", "j:join", "t:target"];
    assert_eq!(lines(graph(&nodes, &["s>j", "r>j:right", "j>t"])), ["/edges/0/label required"]);
    assert_eq!(lines(graph(&nodes, &["s>j:left", "r>j:rigth", "j>t"])), ["/edges/1/label unknown"]);
    assert_eq!(lines(graph(&nodes, &["s>j:left", "r>j:left", "j>t"])), ["/edges/1/label duplicate", "/nodes/2 inputs"]);
    assert_eq!(lines(graph(&["s:source", "j:join", "t:target"], &["s>j:left", "j>t"])), ["/nodes/1 inputs"]);
    let three = ["s:source", "r:source", "q:source", "j:join", "t:target"];
    assert_eq!(lines(graph(&three, &["s>j:left", "r>j:right", "q>j:left", "j>t"])), ["/edges/2/label duplicate"]);
}

#[test]
fn two_targets_may_not_write_one_table() {
    assert_eq!(lines(graph(&["s:source", "t:target", "u:target"], &["s>t", "s>u"])), ["/nodes/2 duplicate_target"]);
}

#[test]
fn a_pipeline_has_a_hundred_nodes_and_thirty_connectors_at_most() {
    let many: Vec<Value> =
        (0..101).map(|n| json!({"id": format!("s{n}"), "nodeType": "source", "config": {}})).collect();
    let pipeline = |nodes: Value, edges: Value| json!({"name": "n", "connectorId": "c", "schemaId": "s", "nodes": nodes, "edges": edges});
    assert!(lines(create(&body(pipeline(json!(many), json!([])))).1).contains(&"/nodes length".to_owned()));

    let mut nodes: Vec<Value> = (0..30)
        .map(|n| json!({"id": format!("s{n}"), "nodeType": "source", "config": {"connectorId": format!("c{n}")}}))
        .collect();
    nodes.push(json!({"id": "u", "nodeType": "union", "config": {}}));
    nodes.push(json!({"id": "t", "nodeType": "target", "config": {}}));
    let mut edges: Vec<Value> = (0..30).map(|n| json!({"source": format!("s{n}"), "target": "u"})).collect();
    edges.push(json!({"source": "u", "target": "t"}));
    // The pipeline's own connector is the first of 31.
    let sent = body(pipeline(json!(nodes), json!(edges)));
    assert_eq!(lines(create(&sent).1), Vec::<String>::new());
    assert_eq!(lines(references::too_many(&sent, None)), ["/nodes/29/config/connectorId too_many"]);
}

#[test]
fn a_pipeline_names_forty_connectors_and_tables_at_most() {
    let mut nodes: Vec<Value> = (1..30)
        .map(|n| json!({"id": format!("s{n}"), "nodeType": "source", "config": {"connectorId": format!("c{n}")}}))
        .collect();
    nodes.extend(
        (0..11).map(|n| json!({"id": format!("t{n}"), "nodeType": "target", "config": {"table": format!("t{n}")}})),
    );
    // A database's table is none of a schema.
    nodes.push(json!({"id": "d", "nodeType": "target", "config": {"connectorId": "c1", "table": "t99"}}));
    let sent = json!({"name": "n", "connectorId": "c0", "schemaId": "s", "nodes": nodes});
    let faults = references::too_many(&body(sent.clone()), None);
    // 30 connectors, the schema and nine tables fit.
    assert_eq!(lines(faults), ["/nodes/38/config/table too_many", "/nodes/39/config/table too_many"]);
}

#[test]
fn a_change_is_counted_together_with_what_it_leaves_as_it_is() {
    let node =
        |n: usize| json!({"id": format!("s{n}"), "nodeType": "source", "config": {"connectorId": format!("c{n}")}});
    let stored = stored("c0", &(1..30).map(node).collect::<Vec<_>>());
    let told = |sent: Value| lines(references::too_many(&body(sent), Some(&stored)));
    assert_eq!(told(json!({"name": "n"})), Vec::<String>::new());
    // Its own is the first of 31, also where the body does not say it again.
    let nodes: Vec<Value> = (1..31).map(node).collect();
    assert_eq!(told(json!({"nodes": nodes})), ["/nodes/29/config/connectorId too_many"]);
    assert_eq!(told(json!({"nodes": nodes, "connectorId": "c1"})), Vec::<String>::new());
    // Another own one for nodes that stay is one in the place of the old one.
    assert_eq!(told(json!({"connectorId": "c99"})), Vec::<String>::new());
}

fn stored(connector: &str, nodes: &[Value]) -> crate::models::pipeline::Pipeline {
    let now = "2026-01-15T09:00:00.000Z";
    serde_json::from_value(json!({
        "id": "pipe_1", "tenantId": "acme", "name": "n", "version": 1, "timezone": "UTC", "enabled": true,
        "connectorId": connector, "schemaId": "schema_1", "executionConfig": "{}", "nodes": json!(nodes).to_string(),
        "edges": "[]", "createdAt": now, "updatedAt": now
    }))
    .unwrap()
}

#[test]
fn what_cannot_be_judged_is_not_guessed() {
    // Without the filter's type nobody knows whether it may be a source.
    assert_eq!(lines(graph(&["a:flter", "t:target"], &["a>t"])), ["/nodes/0/nodeType unknown"]);
    // Nor which routes a branch has whose config cannot be read.
    assert_eq!(
        lines(graph(&["s:source", "b:branch", "t:target"], &["s>b", "b>t:x"])),
        ["/nodes/1/config/routes required"]
    );
}

#[test]
fn a_far_too_long_array_is_told_with_its_length() {
    let many = vec![json!(1); 5000];
    let faults = create(&body(json!({"name": "n", "connectorId": "c", "schemaId": "s", "nodes": many}))).1;
    let length = faults.iter().find(|f| f.pointer == "/nodes" && f.code == "length").unwrap();
    assert_eq!(length.detail, "must have at most 100 entries, has 5000");
}
