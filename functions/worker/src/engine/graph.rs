//! The graph of a run: typed nodes with their inputs, counters, and the parameters in their configs.

use super::parameters;
use crate::engine::job::Job;
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::{Kind, RunError};
use shared::models::node::{self, NodeConfig, NodeType};
use std::collections::HashMap;
use std::sync::Arc;

/// How often all nodes together may be compiled; a node is compiled once a consumer, which multiplies.
const MAX_COPIES: u64 = 1_000;

/// A node of a run.
#[derive(Debug)]
pub struct GraphNode {
    pub id: String,
    /// What people call it.
    pub name: String,
    pub node_type: NodeType,
    pub config: NodeConfig,
    /// Whose rows come in, in the order of the edges.
    pub inputs: Vec<Input>,
    pub counters: Arc<NodeCounters>,
}

impl GraphNode {
    /// An error of the pipeline's definition at this node.
    pub fn fault(&self, message: impl AsRef<str>) -> RunError {
        RunError::new(Kind::Definition, format!("node {:?}: {}", self.name, message.as_ref())).at(&self.id)
    }
}

/// An edge, seen from its target.
#[derive(Debug, Clone)]
pub struct Input {
    /// The index of the node that the rows come from.
    pub node: usize,
    pub label: Option<String>,
}

/// All nodes of a run, each after those that its rows come from.
#[derive(Debug)]
pub struct Graph {
    pub nodes: Vec<GraphNode>,
}

impl Graph {
    /// The graph of `job`. Its nodes are counted in `progress` from now on.
    ///
    /// # Errors
    /// `Kind::Definition`, with all faults that were found in one message.
    pub fn new(job: &Job, progress: &Progress) -> Result<Self, RunError> {
        let order = sorted(job)?;
        let place: HashMap<&str, usize> = order.iter().enumerate().map(|(i, n)| (job.nodes[*n].id.as_str(), i)).collect();
        let mut nodes = Vec::with_capacity(order.len());
        let mut faults = Vec::new();
        for index in &order {
            let Some(node) = job.nodes.get(*index) else { continue };
            let config = parameters::fill_config(node.name(), &node.config, &job.parameters).and_then(|config| {
                node::typed(node.node_type, &config)
                    .map_err(|e| RunError::new(Kind::Definition, format!("node {:?}: {e}", node.name())))
            });
            let config = match config {
                Ok(config) => config,
                Err(fault) => {
                    faults.push(fault.at(&node.id));
                    continue;
                }
            };
            let inputs = job.edges.iter().filter(|edge| edge.target == node.id).filter_map(|edge| {
                Some(Input { node: *place.get(edge.source.as_str())?, label: edge.label.clone() })
            });
            nodes.push(GraphNode {
                id: node.id.clone(),
                name: node.name().to_owned(),
                node_type: node.node_type,
                config,
                inputs: inputs.collect(),
                counters: NodeCounters::new(&node.id, node.name(), node.node_type),
            });
        }
        all_of(faults)?;
        let graph = Self { nodes };
        graph.check()?;
        for node in &graph.nodes {
            progress.add_node(node.counters.clone());
        }
        Ok(graph)
    }

    /// The indices of the targets.
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|i| self.nodes.get(*i).is_some_and(|n| n.node_type == NodeType::Target))
    }

    fn check(&self) -> Result<(), RunError> {
        let mut faults = Vec::new();
        for node in &self.nodes {
            let wanted = match node.node_type {
                NodeType::Source => (0, 0),
                NodeType::Join => (2, 2),
                NodeType::Union => (1, usize::MAX),
                _ => (1, 1),
            };
            let count = node.inputs.len();
            if count < wanted.0 || count > wanted.1 {
                let wanted = match wanted {
                    (0, _) => "takes no input".to_owned(),
                    (n, m) if n == m => format!("takes {n} input(s)"),
                    (n, _) => format!("takes at least {n} input"),
                };
                faults.push(node.fault(format!("it has {count} inputs, but a {:?} {wanted}", node.node_type).to_lowercase()));
            }
        }
        if self.targets().next().is_none() {
            faults.push(RunError::new(Kind::Definition, "the pipeline has no target node, so there is nowhere to write to"));
        }
        let copies = self.copies();
        if copies > MAX_COPIES {
            faults.push(RunError::new(
                Kind::Definition,
                format!("the graph divides and meets again so often that its nodes would be worked {copies} times; at most {MAX_COPIES} are allowed"),
            ));
        }
        all_of(faults)
    }

    /// How many times nodes are compiled in all.
    fn copies(&self) -> u64 {
        let mut copies = vec![0_u64; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if node.node_type == NodeType::Target {
                copies[index] = 1;
            }
            let mine = copies[index];
            for input in &node.inputs {
                copies[input.node] = copies[input.node].saturating_add(mine);
            }
        }
        copies.iter().fold(0, |sum, c| sum.saturating_add(*c))
    }
}

/// The indices of the job's nodes, each after those that its rows come from.
fn sorted(job: &Job) -> Result<Vec<usize>, RunError> {
    let place: HashMap<&str, usize> = job.nodes.iter().enumerate().map(|(i, n)| (n.id.as_str(), i)).collect();
    let mut waiting = vec![0_usize; job.nodes.len()];
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); job.nodes.len()];
    for edge in &job.edges {
        let (Some(source), Some(target)) = (place.get(edge.source.as_str()), place.get(edge.target.as_str())) else {
            return Err(RunError::new(
                Kind::Definition,
                format!("the edge from {:?} to {:?} meets a node that is not there", edge.source, edge.target),
            ));
        };
        waiting[*target] += 1;
        next[*source].push(*target);
    }
    let mut ready: std::collections::VecDeque<usize> = (0..job.nodes.len()).filter(|i| waiting[*i] == 0).collect();
    let mut order = Vec::with_capacity(job.nodes.len());
    while let Some(index) = ready.pop_front() {
        order.push(index);
        for target in &next[index] {
            waiting[*target] -= 1;
            if waiting[*target] == 0 {
                ready.push_back(*target);
            }
        }
    }
    if order.len() < job.nodes.len() {
        return Err(RunError::new(Kind::Definition, "the nodes go round in a circle, so none of them can be first"));
    }
    Ok(order)
}

/// All faults as one error, at the first one's node.
pub fn all_of(mut faults: Vec<RunError>) -> Result<(), RunError> {
    if faults.len() < 2 {
        return faults.pop().map_or(Ok(()), Err);
    }
    // What is wrong outside of the pipeline decides over what is wrong with it.
    let first = faults.iter().find(|f| f.kind != Kind::Definition).or(faults.first()).cloned();
    let mut messages: Vec<String> = faults.into_iter().map(|f| f.message).collect();
    messages.dedup();
    match first {
        Some(first) => Err(RunError { message: messages.join("; "), ..first }),
        None => Ok(()),
    }
}
