//! The bodies that try a pipeline out.

use super::*;
use crate::check::trial;

#[test]
fn nothing_has_to_be_said() {
    let (trial, faults) = trial::validate(&body(json!({})));
    assert_eq!(faults, Vec::new());
    let trial = trial.unwrap();
    assert!(trial.graph.is_none() && trial.parameters.is_empty());
    assert_eq!(trial::sample(&body(json!({}))).0.unwrap().limit, 20);
}

#[test]
fn a_graph_is_checked_as_at_save() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "f", "nodeType": "filter", "config": {"conditon": "a > 1"}},
        {"id": "t", "nodeType": "target", "config": {}}
    ]);
    let edges = json!([{"source": "s", "target": "f"}, {"source": "f", "target": "x"}]);
    let sent = json!({"nodes": nodes, "edges": edges, "parameters": {"a b": 1}, "limit": 0});
    let (_, faults) = trial::sample(&body(sent));
    let told = lines(faults);
    for line in [
        "/edges/1/target not_found",
        "/limit range",
        "/nodes/1/config/condition required",
        "/nodes/1/config/conditon unknown_field",
        "/parameters/a b pattern",
    ] {
        assert!(told.contains(&line.to_owned()), "{line} is not in {told:#?}");
    }
    assert_eq!(lines(trial::validate(&body(json!({"limit": 5}))).1), ["/limit unknown_field"]);
    assert_eq!(lines(trial::validate(&body(json!({"edges": []}))).1), ["/edges contradiction"]);
}

#[test]
fn what_was_read_may_be_sent_and_edges_keep_their_ids() {
    let nodes = json!([
        {"id": "node_1", "clientId": "s", "nodeType": "source", "label": null, "config": {}, "position": null},
        {"id": "node_2", "clientId": "t", "nodeType": "target", "label": null, "config": {}, "position": null}
    ]);
    let edges = json!([{"id": "edge_1", "source": "node_1", "target": "node_2", "label": null}]);
    let (trial, faults) = trial::validate(&body(json!({"nodes": nodes, "edges": edges, "connectorId": null})));
    assert_eq!(faults, Vec::new());
    assert_eq!(trial.unwrap().edge_ids, [Some("edge_1".to_owned())]);
}
