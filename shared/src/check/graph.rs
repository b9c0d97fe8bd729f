//! The rules that nodes and edges keep together. What cannot be judged because something else is wrong is not guessed.

use super::{branches, cycle, inputs, nodes, pointer, targets, verdict};
use crate::Fault;
use crate::models::node::NodeType;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Most sources and lookups together.
const MAX_READERS: usize = 120;

/// Larger graphs are not looked at.
pub(super) const MAX_NODES: usize = 200;
const MAX_EDGES: usize = 2000;

/// A node as far as it can be read.
pub(super) struct Node<'v> {
    id: Option<&'v str>,
    /// None where the type is unknown: such a node may be anything.
    pub(super) kind: Option<NodeType>,
    pub(super) config: Option<&'v Value>,
    /// Whether its id is new; edges meet the first node of an id.
    pub(super) first: bool,
}

/// An edge as far as it can be read; ends are indices of nodes.
pub(super) struct Edge<'v> {
    pub(super) source: Option<usize>,
    pub(super) target: Option<usize>,
    pub(super) label: Option<&'v str>,
}

/// Nodes and edges of a body.
pub(super) struct Graph<'v> {
    pub(super) nodes: Vec<Node<'v>>,
    pub(super) edges: Vec<Edge<'v>>,
    /// Nodes that miss an input: what follows from that is not reported again.
    starved: HashSet<usize>,
    /// Nodes that lie on a cycle, likewise.
    cyclic: HashSet<usize>,
}

/// Adds the faults of the graph.
pub(super) fn check(nodes: &[Value], edges: &[Value], faults: &mut Vec<Fault>) {
    // Their number is a fault already, and the rules below take time that grows with the product of both.
    if nodes.len() > MAX_NODES || edges.len() > MAX_EDGES {
        return;
    }
    count_readers(nodes, faults);
    let mut graph =
        Graph { nodes: read_nodes(nodes, faults), edges: Vec::new(), starved: HashSet::new(), cyclic: HashSet::new() };
    graph.edges = read_edges(&graph.nodes, edges, faults);
    repeated_edges(&graph, faults);
    ends(&graph, faults);
    graph.starved = inputs::check(&graph, faults);
    branches::check(&graph, faults);
    graph.cyclic = cycle::check(&graph.links(), &|n| graph.name(n), faults);
    flow(&graph, faults);
    one_table(&graph, nodes, faults);
}

impl Graph<'_> {
    /// Index of an edge with its ends, where both are known.
    fn links(&self) -> Vec<(usize, usize, usize)> {
        self.edges.iter().enumerate().filter_map(|(i, e)| Some((i, e.source?, e.target?))).collect()
    }

    pub(super) fn kind(&self, node: usize) -> Option<NodeType> {
        self.nodes.get(node)?.kind
    }

    /// The edges that leave a node, by index, with their labels.
    pub(super) fn leaving(&self, node: usize) -> impl Iterator<Item = (usize, Option<&str>)> {
        self.edges.iter().enumerate().filter(move |(_, e)| e.source == Some(node)).map(|(i, e)| (i, e.label))
    }

    /// A node's id in quotation marks.
    pub(super) fn name(&self, node: usize) -> String {
        verdict::quote(self.nodes.get(node).and_then(|n| n.id).unwrap_or("?"))
    }
}

/// Each source and each lookup is read by itself, and rows remember which of them they came from.
fn count_readers(nodes: &[Value], faults: &mut Vec<Fault>) {
    let mut readers = nodes.iter().filter(|node| nodes::type_of(node) == Some(NodeType::Source)).count();
    for (index, node) in nodes.iter().enumerate() {
        let ops = node.pointer("/config/ops").and_then(Value::as_array).into_iter().flatten().enumerate();
        for (op, _) in ops.filter(|(_, op)| op.get("op").and_then(Value::as_str) == Some("lookup")) {
            readers += 1;
            if readers > MAX_READERS {
                let detail =
                    format!("a pipeline has {MAX_READERS} sources and lookups at most; this is number {readers}");
                faults.push(Fault::new(format!("/nodes/{index}/config/ops/{op}"), "too_many", detail));
            }
        }
    }
}

fn read_nodes<'v>(nodes: &'v [Value], faults: &mut Vec<Fault>) -> Vec<Node<'v>> {
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let id = node.get("id").and_then(Value::as_str);
        let first = id.is_none_or(|id| seen.insert(id));
        if let Some(id) = id.filter(|_| !first) {
            faults.push(Fault::new(
                format!("/nodes/{index}/id"),
                "duplicate",
                format!("the id {} is there twice", verdict::quote(id)),
            ));
        }
        read.push(Node { id, kind: nodes::type_of(node), config: node.get("config"), first });
    }
    read
}

fn read_edges<'v>(nodes: &[Node<'v>], edges: &'v [Value], faults: &mut Vec<Fault>) -> Vec<Edge<'v>> {
    let mut by_id = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if let Some(id) = node.id {
            by_id.entry(id).or_insert(index);
        }
    }
    let complete = nodes.iter().all(|n| n.id.is_some());
    let mut end = |index: usize, edge: &'v Value, side: &str| {
        let id = edge.get(side)?.as_str()?;
        let node = by_id.get(id).copied();
        if node.is_none() {
            let near = if complete { verdict::near(id, by_id.keys().copied()) } else { String::new() };
            let detail = format!("no node of this body has the id {}{near}", verdict::quote(id));
            faults.push(Fault::new(format!("/edges/{index}/{side}"), "not_found", detail));
        }
        node
    };
    edges
        .iter()
        .enumerate()
        .map(|(index, edge)| Edge {
            source: end(index, edge, "source"),
            target: end(index, edge, "target"),
            label: edge.get("label").and_then(Value::as_str),
        })
        .collect()
}

/// Two edges between the same nodes; a join may take one node on both sides, a query read one under two names, and a
/// branch send several routes into one node.
fn repeated_edges(graph: &Graph<'_>, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, source, target) in graph.links() {
        let told_apart = matches!(graph.kind(target), Some(NodeType::Join | NodeType::Sql))
            || graph.kind(source) == Some(NodeType::Branch);
        let label = graph.edges.get(index).and_then(|e| e.label).filter(|_| told_apart);
        if !seen.insert((source, target, label)) {
            let detail = format!("an edge from {} to {} is there already", graph.name(source), graph.name(target));
            faults.push(Fault::new(pointer::at("/edges", index), "duplicate", detail));
        }
    }
}

/// Sources take nothing, targets give nothing.
fn ends(graph: &Graph<'_>, faults: &mut Vec<Fault>) {
    for (index, edge) in graph.edges.iter().enumerate() {
        if let Some(node) = edge.target.filter(|n| graph.kind(*n) == Some(NodeType::Source)) {
            let detail = format!("the node {} is a source, which takes no input", graph.name(node));
            faults.push(Fault::new(format!("/edges/{index}/target"), "inputs", detail));
        }
        if let Some(node) = edge.source.filter(|n| graph.kind(*n) == Some(NodeType::Target)) {
            let detail = format!("the node {} is a target, which gives no rows on", graph.name(node));
            faults.push(Fault::new(format!("/edges/{index}/source"), "outputs", detail));
        }
    }
}

/// Every node is reached from a source and reaches a target.
fn flow(graph: &Graph<'_>, faults: &mut Vec<Fault>) {
    if graph.nodes.is_empty() {
        return;
    }
    let anything = graph.nodes.iter().any(|n| n.kind.is_none());
    let links: Vec<(usize, usize)> = graph.links().into_iter().map(|(_, s, t)| (s, t)).collect();
    // An edge whose other end is unknown may come from or lead to anywhere.
    let fed = graph.edges.iter().filter(|e| e.source.is_none()).filter_map(|e| e.target);
    let drained = graph.edges.iter().filter(|e| e.target.is_none()).filter_map(|e| e.source);
    let all = || 0..graph.nodes.len();
    let may_be = |n: usize, kind| graph.kind(n).is_none_or(|k| k == kind) || graph.cyclic.contains(&n);

    let has = |kind| anything || graph.nodes.iter().any(|n| n.kind == Some(kind));
    let (has_source, has_target) = (has(NodeType::Source), has(NodeType::Target));
    if !has_source {
        faults.push(Fault::new("/nodes", "no_source", "a graph needs a source node at least"));
    }
    if !has_target {
        faults.push(Fault::new("/nodes", "no_target", "a graph needs a target node at least"));
    }
    let reached =
        closure(all().filter(|n| may_be(*n, NodeType::Source) || graph.starved.contains(n)).chain(fed), &links);
    let back: Vec<(usize, usize)> = links.iter().map(|(s, t)| (*t, *s)).collect();
    let reaching = closure(all().filter(|n| may_be(*n, NodeType::Target)).chain(drained), &back);
    for (index, node) in graph.nodes.iter().enumerate() {
        if !node.first || node.id.is_none() {
            continue;
        }
        if has_source && !reached.contains(&index) {
            let detail = format!("the node {} is not reached from any source", graph.name(index));
            faults.push(Fault::new(pointer::at("/nodes", index), "unreachable", detail));
        }
        if has_target && !reaching.contains(&index) {
            let detail = format!("the rows of the node {} reach no target", graph.name(index));
            faults.push(Fault::new(pointer::at("/nodes", index), "leads_nowhere", detail));
        }
    }
}

fn closure(start: impl Iterator<Item = usize>, links: &[(usize, usize)]) -> HashSet<usize> {
    let mut next: HashMap<usize, Vec<usize>> = HashMap::new();
    for (from, to) in links {
        next.entry(*from).or_default().push(*to);
    }
    let mut reached = HashSet::new();
    let mut open: Vec<usize> = start.collect();
    while let Some(node) = open.pop() {
        if reached.insert(node) {
            open.extend(next.get(&node).into_iter().flatten());
        }
    }
    reached
}

/// Two targets may not write one table; that one is named in two ways is told once the schemas are known.
fn one_table(graph: &Graph<'_>, nodes: &[Value], faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, _) in graph.nodes.iter().enumerate().filter(|(_, n)| n.kind == Some(NodeType::Target)) {
        let config = nodes.get(index).and_then(|node| node.get("config"));
        let of = |key: &str| config.and_then(|c| c.get(key)).filter(|v| !v.is_null());
        if !seen.insert((of("connectorId").map(Value::to_string), of("table").map(Value::to_string))) {
            faults.push(targets::twice(index, of("table").is_some()));
        }
    }
}
