//! What goes into each node of a graph, by the node's type.

use super::graph::Graph;
use super::{pointer, verdict};
use crate::Fault;
use crate::models::node::NodeType;
use std::collections::HashSet;

/// How many inputs each node has, and which; gives the nodes that miss one.
pub(super) fn check(graph: &Graph<'_>, faults: &mut Vec<Fault>) -> HashSet<usize> {
    let mut starved = HashSet::new();
    // An edge whose target cannot be read may be the one that is missed elsewhere.
    let lost = graph.edges.iter().any(|e| e.target.is_none());
    for node in 0..graph.nodes.len() {
        let Some(kind) = graph.nodes.get(node).filter(|n| n.first).and_then(|n| n.kind) else {
            continue;
        };
        let into: Vec<(usize, Option<&str>)> =
            graph.edges.iter().enumerate().filter(|(_, e)| e.target == Some(node)).map(|(i, e)| (i, e.label)).collect();
        let missing = match kind {
            NodeType::Source => continue,
            NodeType::Join => join_inputs(graph, node, &into, faults),
            NodeType::Union => into.is_empty().then(|| "at least one input, has none".to_owned()),
            _ => {
                for (index, _) in into.iter().skip(1) {
                    let detail =
                        format!("the node {} takes one input; put a union or a join before it", graph.name(node));
                    faults.push(Fault::new(format!("/edges/{index}/target"), "inputs", detail));
                }
                into.is_empty().then(|| "one input, has none".to_owned())
            }
        };
        if let Some(missing) = missing {
            starved.insert(node);
            if !lost {
                let detail = format!("the node {} needs {missing}", graph.name(node));
                faults.push(Fault::new(pointer::at("/nodes", node), "inputs", detail));
            }
        }
    }
    starved
}

/// A join's inputs are one `left` and one `right`; what it misses.
fn join_inputs(
    graph: &Graph<'_>,
    node: usize,
    into: &[(usize, Option<&str>)],
    faults: &mut Vec<Fault>,
) -> Option<String> {
    let mut sides: Vec<&str> = Vec::new();
    let mut odd = false;
    for (index, label) in into {
        let at = format!("/edges/{index}/label");
        match label {
            Some(side @ ("left" | "right")) if !sides.contains(side) => sides.push(side),
            Some(side @ ("left" | "right")) => {
                let detail = format!("the join {} has a {side} input already", graph.name(node));
                faults.push(Fault::new(at, "duplicate", detail));
            }
            other => {
                odd = true;
                let code = if other.is_some() { "unknown" } else { "required" };
                let found = other.map(|label| format!(", found {}", verdict::quote(label))).unwrap_or_default();
                let detail = format!("the edges into the join {} are labelled left and right{found}", graph.name(node));
                faults.push(Fault::new(at, code, detail));
            }
        }
    }
    let missing: Vec<&str> = ["left", "right"].into_iter().filter(|side| !sides.contains(side)).collect();
    // An edge with another label is a fault of its own, and most likely the one that is missed.
    if missing.is_empty() || odd && into.len() >= 2 {
        return None;
    }
    let has = match into.len() {
        0 => "none",
        1 => "one",
        _ => "others",
    };
    Some(format!("two inputs, labelled left and right, has {has}: {} is missing", missing.join(" and ")))
}
