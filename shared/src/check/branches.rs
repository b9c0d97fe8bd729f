//! What leaves the branch nodes of a graph: every edge goes one route, and every route goes on.

use super::graph::Graph;
use super::{pointer, verdict};
use crate::Fault;
use crate::models::node::NodeType;
use serde_json::Value;

/// Adds the faults of the edges that leave branches.
pub(super) fn check(graph: &Graph<'_>, faults: &mut Vec<Fault>) {
    for (index, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.first && n.kind == Some(NodeType::Branch)) {
        let labels = labels(node.config);
        let mut used = Vec::new();
        for (edge, label) in graph.leaving(index) {
            match label {
                Some(label) if labels.iter().any(|(_, known)| *known == Some(label)) => used.push(label),
                _ if labels.iter().any(|(_, known)| known.is_none()) => {}
                other => faults.push(odd_label(graph, index, edge, other, &labels)),
            }
        }
        // An edge whose source cannot be read may be the one that is missed.
        if graph.edges.iter().any(|edge| edge.source.is_none()) {
            continue;
        }
        for (below, label) in &labels {
            if let Some(label) = label.filter(|label| !used.contains(label)) {
                let at = format!("{}/config{below}", pointer::at("/nodes", index));
                let detail = format!("no edge leaves {} with the label {}", graph.name(index), verdict::quote(label));
                faults.push(Fault::new(at, "outputs", detail));
            }
        }
    }
}

/// The labels of a branch with their pointers below its config; none where one cannot be read.
fn labels(config: Option<&Value>) -> Vec<(String, Option<&str>)> {
    let Some(config) = config else { return vec![(String::new(), None)] };
    let Some(routes) = config.get("routes").and_then(Value::as_array) else { return vec![(String::new(), None)] };
    let read = |(index, route): (usize, _)| {
        let label = Value::get(route, "label").and_then(Value::as_str);
        (format!("/routes/{index}/label"), label)
    };
    let mut labels: Vec<_> = routes.iter().take(1000).enumerate().map(read).collect();
    match config.get("else") {
        None | Some(Value::Null) => {}
        Some(label) => labels.push(("/else".to_owned(), label.as_str())),
    }
    labels
}

fn odd_label(
    graph: &Graph<'_>,
    node: usize,
    edge: usize,
    found: Option<&str>,
    labels: &[(String, Option<&str>)],
) -> Fault {
    let at = format!("/edges/{edge}/label");
    let known: Vec<&str> = labels.iter().filter_map(|(_, label)| *label).collect();
    let list = known.iter().map(|label| verdict::quote(label)).collect::<Vec<_>>().join(", ");
    let name = graph.name(node);
    match found {
        Some(label) => {
            let near = verdict::near(label, known.iter().copied());
            let detail = format!("the branch {name} has no route {}{near}; its routes: {list}", verdict::quote(label));
            Fault::new(at, "unknown", detail)
        }
        None => {
            Fault::new(at, "required", format!("an edge that leaves the branch {name} names one of its routes: {list}"))
        }
    }
}
