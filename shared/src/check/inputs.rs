//! What goes into each node of a graph, by the node's type.

use super::graph::Graph;
use super::{pointer, query, verdict};
use crate::Fault;
use crate::models::node::NodeType;
use serde_json::Value;
use std::collections::HashSet;

/// Most inputs of an sql node.
const MAX_SQL_INPUTS: usize = 10;
/// What the input of an sql node is called whose edge has no label.
const ONLY_INPUT: &str = "input";

/// An edge into a node.
struct Into<'v> {
    edge: usize,
    label: Option<&'v str>,
    /// Whether its label is that of a branch's route, and says nothing about the node that it goes into.
    route: bool,
}

/// How many inputs each node has, and which; gives the nodes that miss one.
pub(super) fn check(graph: &Graph<'_>, faults: &mut Vec<Fault>) -> HashSet<usize> {
    let mut starved = HashSet::new();
    // An edge whose target cannot be read may be the one that is missed elsewhere.
    let lost = graph.edges.iter().any(|e| e.target.is_none());
    for node in 0..graph.nodes.len() {
        let Some(kind) = graph.nodes.get(node).filter(|n| n.first).and_then(|n| n.kind) else {
            continue;
        };
        let into: Vec<Into> = graph
            .edges
            .iter()
            .enumerate()
            .filter(|(_, e)| e.target == Some(node))
            .map(|(edge, e)| Into {
                edge,
                label: e.label,
                route: e.source.is_some_and(|source| graph.kind(source) == Some(NodeType::Branch)),
            })
            .collect();
        let missing = match kind {
            NodeType::Source => continue,
            NodeType::Join => join_inputs(graph, node, &into, faults),
            NodeType::Union => into.is_empty().then(|| "at least one input, has none".to_owned()),
            NodeType::Sql => {
                sql_inputs(graph, node, &into, lost, faults);
                into.is_empty().then(|| "at least one input, has none".to_owned())
            }
            _ => {
                for Into { edge, .. } in into.iter().skip(1) {
                    let detail =
                        format!("the node {} takes one input; put a union or a join before it", graph.name(node));
                    faults.push(Fault::new(format!("/edges/{edge}/target"), "inputs", detail));
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

/// A join's inputs are one `left` and one `right`; what it misses. An edge from a branch has the label of its route, and
/// takes the side that is left over.
fn join_inputs(graph: &Graph<'_>, node: usize, into: &[Into<'_>], faults: &mut Vec<Fault>) -> Option<String> {
    let mut sides: Vec<&str> = Vec::new();
    let mut odd = false;
    for Into { edge, label, .. } in into.iter().filter(|into| !into.route) {
        let at = format!("/edges/{edge}/label");
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
    let mut missing: Vec<&str> = ["left", "right"].into_iter().filter(|side| !sides.contains(side)).collect();
    for Into { edge, .. } in into.iter().filter(|into| into.route) {
        if missing.is_empty() {
            let detail = format!("the join {} has a left and a right input already", graph.name(node));
            faults.push(Fault::new(format!("/edges/{edge}/target"), "inputs", detail));
        } else {
            missing.remove(0);
        }
    }
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

/// The inputs of an sql node are the tables of its query, each by the label of its edge. Where edges are `lost`, a table
/// may be the input that one of them brings.
fn sql_inputs(graph: &Graph<'_>, node: usize, into: &[Into<'_>], lost: bool, faults: &mut Vec<Fault>) {
    let mut names: Vec<&str> = Vec::with_capacity(into.len());
    for Into { edge, label, .. } in into {
        let name = label.unwrap_or(ONLY_INPUT);
        if names.contains(&name) {
            let (code, detail) = match label {
                None => {
                    ("required", "an sql node takes one input without a label, which is called input; label this one")
                }
                Some(_) => ("duplicate", "another input has this name; the tables of a query need names of their own"),
            };
            faults.push(Fault::new(format!("/edges/{edge}/label"), code, format!("{} ({})", detail, graph.name(node))));
        }
        names.push(name);
        if names.len() > MAX_SQL_INPUTS {
            let detail = format!("the node {} takes {MAX_SQL_INPUTS} inputs at most", graph.name(node));
            faults.push(Fault::new(format!("/edges/{edge}/target"), "inputs", detail));
        }
    }
    let query = graph.nodes.get(node).and_then(|n| n.config).and_then(|c| c.get("query")).and_then(Value::as_str);
    let Some(tables) = query.and_then(query::tables).filter(|_| !into.is_empty() && !lost) else { return };
    let at = format!("{}/config/query", pointer::at("/nodes", node));
    let inputs = names.iter().map(|name| verdict::quote(name)).collect::<Vec<_>>().join(", ");
    for table in tables.read.iter().filter(|t| !tables.own.contains(*t) && !names.contains(&t.as_str())) {
        let near = verdict::near(table, names.iter().copied());
        let detail = format!("there is no input {}{near}; the inputs are {inputs}", verdict::quote(table));
        faults.push(Fault::new(&at, "not_found", detail));
    }
    for (into, name) in into.iter().zip(&names) {
        if !tables.read.iter().any(|table| table == name) {
            let detail = format!("the query of {} does not read the input {}", graph.name(node), verdict::quote(name));
            faults.push(Fault::new(pointer::at("/edges", into.edge), "unused", detail));
        }
    }
}
