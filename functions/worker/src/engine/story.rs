//! The sentences of a run's log.

use super::graph::{Graph, GraphNode};
use super::progress::ROW_COLUMN;
use datafusion::arrow::datatypes::Schema;
use shared::models::node::NodeType;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// `1 row`, `1,234 rows`.
pub fn rows(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "row" } else { "rows" })
}

/// A number with commas between its thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3 ms`, `1.2 s`, `4 min 10 s`.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// A source was opened.
pub fn opened(node: &GraphNode, connector: &str, schema: &Schema, time: Duration) -> String {
    let columns: Vec<_> =
        schema.fields().iter().map(|f| f.name().as_str()).filter(|name| *name != ROW_COLUMN).collect();
    let shown = columns.iter().take(12).copied().collect::<Vec<_>>().join(", ");
    let more = if columns.len() > 12 { format!(" and {} more", columns.len() - 12) } else { String::new() };
    format!(
        "Source {:?} reads {} columns from {connector:?} ({shown}{more}); opened in {}.",
        node.name,
        columns.len(),
        duration(time)
    )
}

/// The values of a pivot were read.
pub fn pivoted(node: &GraphNode, column: &str, values: usize, time: Duration) -> String {
    let values = if values == 1 { "1 value".to_owned() } else { format!("{} values", grouped(values as u64)) };
    format!("Pivot {:?} makes columns of {values} of {column:?}; read in {}.", node.name, duration(time))
}

/// What rules that only warn have found, a sentence each.
pub fn warned(graph: &Graph, ran: &HashSet<usize>) -> Vec<String> {
    let nodes = graph.nodes.iter().enumerate().filter(|(index, _)| ran.contains(index));
    nodes
        .flat_map(|(_, node)| {
            node.counters.warnings.all().into_iter().map(|(rule, count)| {
                let broke = if count == 1 { "breaks it and goes on" } else { "break it and go on" };
                format!("Rule {rule:?} of {:?} warns: {} {broke}.", node.name, rows(count))
            })
        })
        .collect()
}

/// Everything was planned.
pub fn planned(graph: &Graph, parallelism: usize, spilling_joins: bool, time: Duration) -> String {
    let joins = if spilling_joins { ", with joins that sort and spill since their inputs are large" } else { "" };
    format!(
        "Planned {} nodes for {parallelism} partition(s) at once{joins}; took {}.",
        graph.nodes.len(),
        duration(time)
    )
}

/// Reading begins.
pub fn reading(graph: &Graph, ran: &HashSet<usize>) -> String {
    let sources =
        graph.nodes.iter().enumerate().filter(|(i, node)| ran.contains(i) && node.node_type == NodeType::Source);
    let names: Vec<_> = sources.map(|(_, node)| format!("{:?}", node.name)).collect();
    format!("Reading {}.", names.join(", "))
}

/// All rows of a target were written into files that nobody sees yet.
pub fn staged(node: &GraphNode, time: Duration) -> String {
    let count = |counter: &AtomicU64| rows(counter.load(Relaxed));
    format!(
        "Target {:?} took {} and staged {} in {}.",
        node.name,
        count(&node.counters.rows_in),
        count(&node.counters.rows_out),
        duration(time)
    )
}

/// The counts of all nodes add up.
pub fn counted(graph: &Graph, ran: &HashSet<usize>, rejected: u64) -> String {
    let nodes: Vec<_> = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(index, _)| ran.contains(index))
        .map(|(_, node)| {
            let c = &node.counters;
            format!(
                "{:?} {} in, {} out",
                node.name,
                grouped(c.rows_in.load(Relaxed)),
                grouped(c.rows_out.load(Relaxed))
            )
        })
        .collect();
    format!("The counts add up ({}); {} rejected.", nodes.join("; "), rows(rejected))
}

/// A target was committed, or had been before.
pub fn committed(node: &GraphNode, schema: &str, count: u64, version: u64, now: bool, time: Duration) -> String {
    match now {
        true => {
            // The table of a database has no versions; the lake's begin with an empty one.
            let version = if version > 0 { format!(" as version {version}") } else { String::new() };
            let (name, rows, time) = (&node.name, rows(count), duration(time));
            format!("Target {name:?} committed {rows} to the table of {schema:?}{version} in {time}.")
        }
        false => format!("Target {:?} had its {} in the table of {schema:?} already.", node.name, rows(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_written_for_people() {
        assert_eq!(rows(1), "1 row");
        assert_eq!(rows(1_234_567), "1,234,567 rows");
        assert_eq!(rows(100), "100 rows");
        assert_eq!(duration(Duration::from_millis(12)), "12 ms");
        assert_eq!(duration(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(250)), "4 min 10 s");
    }
}
