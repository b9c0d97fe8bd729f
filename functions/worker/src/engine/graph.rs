//! The graph of a run: typed nodes with their inputs, counters, and the parameters in their configs.

use super::parameters;
use crate::databases::{self, Dialect};
use crate::engine::job::Job;
use crate::engine::progress::{NodeCounters, Progress, RowId};
use crate::error::{Kind, RunError};
use serde_json::{Map, Value};
use shared::models::node::{self, NodeConfig, NodeType, TransformOp, UnionConfig};
use shared::models::pipeline::Node;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How often all nodes together may be compiled; a node is compiled once a consumer, which multiplies.
const MAX_COPIES: u64 = 1_000;

/// The fault of a second target of one table.
pub const SAME_TABLE: &str = "another target writes the same table; bring the rows together with a union node";

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
    /// Its config cannot be read, which is a fault that has been noted: `config` stands for it and says nothing.
    pub broken: bool,
}

impl GraphNode {
    /// The place of a join's left input among its inputs; the other one is the right.
    pub fn left(&self) -> usize {
        let is = |input: &Input, side: &str| input.label.as_deref() == Some(side);
        match self.inputs.iter().position(|input| is(input, "left")) {
            Some(left) => left,
            None => usize::from(self.inputs.first().is_some_and(|first| is(first, "right"))),
        }
    }

    /// An error of the pipeline's definition at this node.
    pub fn fault(&self, message: impl AsRef<str>) -> RunError {
        RunError::new(Kind::Definition, format!("node {:?}: {}", self.name, message.as_ref())).at(&self.id)
    }

    /// The same at a place of the node's config, such as `/by/0/field`.
    pub fn fault_in(&self, place: impl AsRef<str>, message: impl AsRef<str>) -> RunError {
        self.fault(message).within(format!("/config{}", place.as_ref()))
    }
}

/// An edge, seen from its target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Input {
    /// The index of the node that the rows come from.
    pub node: usize,
    /// Which input it is. An edge from a branch into a join has none: it takes the side that is left over.
    pub label: Option<String>,
    /// The route of the branch that the rows come from.
    pub route: Option<String>,
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
        let (graph, faults) = Self::read(job, progress)?;
        all_of(faults)?;
        Ok(graph)
    }

    /// The graph of `job` and its faults. Its nodes are counted in `progress` from now on.
    ///
    /// # Errors
    /// `Kind::Definition` where edges meet nothing or go round in a circle, which no pipeline does that was saved.
    pub fn read(job: &Job, progress: &Progress) -> Result<(Self, Vec<RunError>), RunError> {
        let order = sorted(job)?;
        let place: HashMap<&str, usize> = order
            .iter()
            .enumerate()
            .filter_map(|(place, index)| Some((job.nodes.get(*index)?.id.as_str(), place)))
            .collect();
        let mut nodes = Vec::with_capacity(order.len());
        let mut faults = Vec::new();
        for index in &order {
            let Some(node) = job.nodes.get(*index) else { continue };
            let config = typed(node, job).map_err(|fault| faults.push(fault.at(&node.id))).ok();
            let inputs = job.edges.iter().filter(|edge| edge.target == node.id).filter_map(|edge| {
                let source = *place.get(edge.source.as_str())?;
                let branch = order.get(source).and_then(|index| job.nodes.get(*index));
                let route = edge.label.clone().filter(|_| branch.is_some_and(|n| n.node_type == NodeType::Branch));
                let label = edge.label.clone().filter(|_| route.is_none() || node.node_type == NodeType::Sql);
                Some(Input { node: source, label, route })
            });
            nodes.push(GraphNode {
                id: node.id.clone(),
                name: node.name().to_owned(),
                node_type: node.node_type,
                broken: config.is_none(),
                config: config.unwrap_or(NodeConfig::Union(UnionConfig::default())),
                inputs: inputs.collect(),
                counters: NodeCounters::new(&node.id, node.name(), node.node_type),
            });
        }
        let graph = Self { nodes };
        faults.extend(graph.check(job));
        for node in &graph.nodes {
            progress.add_node(node.counters.clone());
        }
        Ok((graph, faults))
    }

    /// The indices of the targets.
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|i| self.nodes.get(*i).is_some_and(|n| n.node_type == NodeType::Target))
    }

    /// The nodes that `targets` need, in the order of a walk that goes left first and visits inputs before consumers.
    pub fn before(&self, targets: &[usize]) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<(usize, bool)> = targets.iter().rev().map(|target| (*target, false)).collect();
        while let Some((index, done)) = open.pop() {
            if done {
                order.push(index);
                continue;
            }
            let Some(node) = self.nodes.get(index).filter(|_| seen.insert(index)) else { continue };
            open.push((index, true));
            let mut inputs: Vec<_> = node.inputs.iter().map(|input| (input.node, false)).collect();
            if node.node_type == NodeType::Join && node.left() == 1 {
                inputs.reverse();
            }
            open.extend(inputs.into_iter().rev());
        }
        order
    }

    fn check(&self, job: &Job) -> Vec<RunError> {
        let mut faults = Vec::new();
        for node in &self.nodes {
            let wanted = match node.node_type {
                NodeType::Source => (0, 0),
                NodeType::Join => (2, 2),
                NodeType::Union => (1, usize::MAX),
                NodeType::Sql => (1, 10),
                _ => (1, 1),
            };
            let count = node.inputs.len();
            if count < wanted.0 || count > wanted.1 {
                let wanted = match wanted {
                    (0, _) => "takes no input".to_owned(),
                    (n, m) if n == m => format!("takes {n} input(s)"),
                    (n, _) => format!("takes at least {n} input"),
                };
                faults.push(
                    node.fault(format!("it has {count} inputs, but a {:?} {wanted}", node.node_type).to_lowercase()),
                );
            }
        }
        if self.targets().next().is_none() {
            faults.push(RunError::new(
                Kind::Definition,
                "the pipeline has no target node, so there is nowhere to write to",
            ));
        }
        let readers = self.readers();
        if readers > RowId::SOURCES {
            faults.push(RunError::new(
                Kind::Definition,
                format!(
                    "the pipeline has {readers} sources and lookups; at most {} are allowed, or it could not be told which of \
                     them a row comes from",
                    RowId::SOURCES
                ),
            ));
        }
        // A run commits a table once.
        let mut tables = HashSet::new();
        for node in self.targets().filter_map(|index| self.nodes.get(index)) {
            let NodeConfig::Target(config) = &node.config else { continue };
            match job.schema_of(config) {
                Ok(schema) => {
                    let table = if config.connector_id.is_some() { job.table_of(config) } else { schema.name.as_str() };
                    if !tables.insert((&config.connector_id, table)) {
                        faults.push(node.fault(SAME_TABLE));
                    }
                }
                Err(fault) => faults.push(node.fault(fault.message)),
            }
        }
        let copies = self.copies();
        if copies > MAX_COPIES {
            faults.push(RunError::new(
                Kind::Definition,
                format!("the graph divides and meets again so often that its nodes would be worked {copies} times; at most {MAX_COPIES} are allowed"),
            ));
        }
        faults
    }

    /// How many sources there are, those of lookups too.
    fn readers(&self) -> usize {
        let read = |node: &GraphNode| match &node.config {
            NodeConfig::Source(_) => 1,
            NodeConfig::Transform(config) => {
                config.ops.iter().filter(|op| matches!(op, TransformOp::Lookup { .. })).count()
            }
            _ => 0,
        };
        self.nodes.iter().map(read).sum()
    }

    /// How many times nodes are compiled in all.
    fn copies(&self) -> u64 {
        let mut copies: HashMap<usize, u64> = HashMap::new();
        let mut sum: u64 = 0;
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let consumed = copies.get(&index).copied().unwrap_or(0);
            let mine = if node.node_type == NodeType::Target { 1 } else { consumed };
            sum = sum.saturating_add(mine);
            for input in &node.inputs {
                let copy = copies.entry(input.node).or_default();
                *copy = copy.saturating_add(mine);
            }
        }
        sum
    }
}

/// A node's config with the run's parameters in it. Those of a `sql` node's query go into its parsed form
/// (`engine/queries.rs`).
fn filled(node: &Node, job: &Job) -> Result<Map<String, Value>, RunError> {
    let mut config = node.config.clone();
    let is_sql = matches!(node.node_type, NodeType::Sql | NodeType::Source);
    let query = if is_sql { config.remove("query") } else { None };
    let mut config = parameters::fill_config(node.name(), &config, &job.parameters)?;
    let query = match (query, dialect(&config, job)) {
        (Some(Value::String(query)), Some(dialect)) if node.node_type == NodeType::Source => {
            let filled = databases::parameters::fill(&query, dialect, &job.parameters);
            Some(Value::String(filled.map_err(|why| parameters::fault(node.name(), "/query", &why))?))
        }
        (query, _) => query,
    };
    config.extend(query.map(|query| ("query".to_owned(), query)));
    Ok(config)
}

/// The SQL of what a source reads, where that is a database.
fn dialect(config: &Map<String, Value>, job: &Job) -> Option<Dialect> {
    let id = config.get("connectorId").and_then(Value::as_str).unwrap_or(&job.connector_id);
    job.connectors.get(id).and_then(|connector| Dialect::of(connector.kind))
}

/// A node's config with the parameters in it, typed.
fn typed(node: &Node, job: &Job) -> Result<NodeConfig, RunError> {
    let config = filled(node, job)?;
    node::typed(node.node_type, &config)
        .map_err(|e| RunError::new(Kind::Definition, format!("node {:?}: {e}", node.name())).within("/config"))
}

/// The indices of the job's nodes, each after those that its rows come from.
fn sorted(job: &Job) -> Result<Vec<usize>, RunError> {
    let place: HashMap<&str, usize> = job.nodes.iter().enumerate().map(|(i, n)| (n.id.as_str(), i)).collect();
    let mut before: Vec<HashSet<usize>> = vec![HashSet::new(); job.nodes.len()];
    for edge in &job.edges {
        let (Some(source), Some(target)) = (place.get(edge.source.as_str()), place.get(edge.target.as_str())) else {
            return Err(RunError::new(
                Kind::Definition,
                format!("the edge from {:?} to {:?} meets a node that is not there", edge.source, edge.target),
            ));
        };
        if let Some(before) = before.get_mut(*target) {
            before.insert(*source);
        }
    }
    let mut order = Vec::with_capacity(job.nodes.len());
    let mut done = HashSet::new();
    loop {
        let ready: Vec<usize> = before
            .iter()
            .enumerate()
            .filter(|(index, before)| !done.contains(index) && before.is_subset(&done))
            .map(|(index, _)| index)
            .collect();
        if ready.is_empty() {
            break;
        }
        done.extend(&ready);
        order.extend(ready);
    }
    if order.len() < job.nodes.len() {
        return Err(RunError::new(Kind::Definition, "the nodes go round in a circle, so none of them can be first"));
    }
    Ok(order)
}

/// All faults as one error.
///
/// # Errors
/// Where there is one; see [`RunError::all`].
pub fn all_of(faults: Vec<RunError>) -> Result<(), RunError> {
    RunError::all(faults).map_or(Ok(()), Err)
}
