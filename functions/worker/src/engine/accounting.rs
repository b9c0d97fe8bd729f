//! Whether the counts of all nodes add up: a run fails rather than report numbers that are not true.

use super::graph::{Graph, GraphNode};
use crate::error::{Kind, RunError};
use shared::models::node::{NodeConfig, NodeType};
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

/// Completes the counts of the nodes `ran`, and checks them.
///
/// # Errors
/// `Kind::Internal` that names the node whose rows do not add up.
pub fn close(graph: &Graph, ran: &HashSet<usize>) -> Result<(), RunError> {
    for (index, node) in graph.nodes.iter().enumerate() {
        if !ran.contains(&index) {
            continue;
        }
        complete(node);
        check_node(node)?;
        let given: u64 = node
            .inputs
            .iter()
            .filter_map(|input| Some((input, &graph.nodes.get(input.node)?.counters)))
            .map(|(input, given)| match &input.route {
                Some(label) => given.routes.of(label),
                None => given.rows_out.load(Relaxed),
            })
            .sum();
        let taken = node.counters.rows_in.load(Relaxed);
        if node.node_type != NodeType::Source && given != taken {
            return Err(RunError::new(
                Kind::Internal,
                format!(
                    "node {:?} took {taken} rows, but the nodes before it gave {given}; nothing was written",
                    node.name
                ),
            )
            .at(&node.id));
        }
    }
    Ok(())
}

/// What can only be told at the end: rows that a limit or a distinct union left out.
fn complete(node: &GraphNode) {
    let c = &node.counters;
    let left_out = c.rows_in.load(Relaxed).saturating_sub(c.rows_out.load(Relaxed));
    match &node.config {
        NodeConfig::Sort(config) if config.limit.is_some() => c.filtered.store(left_out, Relaxed),
        NodeConfig::Union(config) if config.distinct == Some(true) => c.deduplicated.store(left_out, Relaxed),
        _ => {}
    }
}

fn check_node(node: &GraphNode) -> Result<(), RunError> {
    let makes_rows = [NodeType::Join, NodeType::Aggregate, NodeType::Pivot, NodeType::Unpivot, NodeType::Sql];
    if makes_rows.contains(&node.node_type) {
        return Ok(());
    }
    let c = &node.counters;
    let [rows_in, rows_out, filtered, rejected, deduplicated] =
        [&c.rows_in, &c.rows_out, &c.filtered, &c.rejected, &c.deduplicated].map(|count| count.load(Relaxed));
    if rows_in == rows_out + filtered + rejected + deduplicated {
        return Ok(());
    }
    Err(RunError::new(
        Kind::Internal,
        format!(
            "the rows of node {:?} do not add up: {rows_in} came in, {rows_out} went out, {filtered} were filtered, \
             {rejected} rejected and {deduplicated} deduplicated; nothing was written",
            node.name
        ),
    )
    .at(&node.id))
}

/// Rows that the sources gave.
pub fn rows_in(graph: &Graph) -> u64 {
    let sources = graph.nodes.iter().filter(|node| node.node_type == NodeType::Source);
    sources.map(|node| node.counters.rows_in.load(Relaxed)).sum()
}

/// Whether fewer rows are rejected than the pipeline allows. Those of what lookups read count on neither side: they are
/// no rows of the run.
///
/// # Errors
/// `Kind::Data` where their share is larger than `maxErrorRate`.
pub fn check_rate(graph: &Graph, max_rate: Option<f64>) -> Result<(), RunError> {
    let rows_in = rows_in(graph);
    let rejected: u64 = graph.nodes.iter().map(|node| node.counters.rejected.load(Relaxed)).sum();
    let Some(max) = max_rate.filter(|_| rejected > 0) else { return Ok(()) };
    let rate = rejected as f64 / rows_in.max(1) as f64;
    if rate <= max {
        return Ok(());
    }
    Err(RunError::new(
        Kind::Data,
        format!(
            "{rejected} of {rows_in} rows are rejected, {:.2} %, which is more than errorHandling.maxErrorRate allows ({:.2} %); nothing was written",
            rate * 100.0,
            max * 100.0
        ),
    ))
}
