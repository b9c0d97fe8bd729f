//! Checks a job before it runs: the columns of all nodes and edges, and all faults at once. Nothing is written, and of
//! the sources only as much is read as tells their columns.

use super::graph::{Graph, Input};
use super::job::{Job, Settings};
use super::plan::{Planner, as_their_schemas_are};
use super::progress::Progress;
use super::session;
use super::survey::Survey;
use crate::error::{Kind, RunError};
use crate::nodes::columns::{is_unknown, type_name};
use crate::targets;
use datafusion::arrow::datatypes::FieldRef;
use serde::Serialize;
use shared::models::node::NodeConfig;
use shared::models::pipeline::ErrorHandling;
use std::path::PathBuf;
use tokio::time::Instant;

/// The most records of a source that a check or a preview reads.
pub const SAMPLE_ROWS: usize = 1_000;

/// A column, as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    pub name: String,
    /// Such as `bigint` or `decimal(10,2)`; `unknown` where a fault before hides it.
    pub r#type: String,
    pub nullable: bool,
}

impl From<&FieldRef> for Column {
    fn from(field: &FieldRef) -> Self {
        let r#type = if is_unknown(field) { "unknown".to_owned() } else { type_name(field.data_type()) };
        Self { name: field.name().clone(), r#type, nullable: field.is_nullable() }
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What each node of the job gives, in the job's order; none where it cannot be told.
    pub nodes: Vec<Option<Vec<Column>>>,
    /// What comes over each edge, in the job's order.
    pub edges: Vec<Option<Vec<Column>>>,
    pub faults: Vec<RunError>,
}

/// Checks `job` until `deadline`.
pub async fn check(job: &Job, settings: &Settings, clock: shared::clock::Clock, deadline: Instant) -> Checked {
    // Nothing is rejected where no row is read, so that the file is never made.
    let progress = Progress::new(ErrorHandling::default(), PathBuf::new(), clock);
    let (graph, mut faults) = match Graph::read(job, &progress) {
        Ok(read) => read,
        Err(fault) => return Checked { faults: vec![fault], ..Checked::default() },
    };
    let expressions = session::expressions(job, settings);
    let targets = as_their_schemas_are(&graph, job);
    let planner = Planner::new(&graph, job, settings, &progress).sampling(SAMPLE_ROWS);
    let survey = match tokio::time::timeout_at(deadline, planner.look(&targets, &expressions)).await {
        Ok((_, survey)) => survey,
        Err(_) => Survey { faults: vec![too_slow()], ..Survey::default() },
    };
    let nodes = job.nodes.iter().map(|node| given(job, &graph, &survey, &node.id)).collect();
    let edges = job.edges.iter().map(|edge| {
        let source = place(&graph, &edge.source)?;
        let target = graph.nodes.get(place(&graph, &edge.target)?)?;
        let inputs = target.inputs.iter().filter(|input| input.node == source);
        // Several edges between the same nodes are told apart by their labels.
        let labelled = |input: &Input| input.label == edge.label || input.route == edge.label;
        let input = inputs.clone().find(|input| labelled(input)).or(inputs.clone().next())?;
        survey.over(input).map(|columns| columns.iter().map(Column::from).collect())
    });
    let edges = edges.collect();
    faults.extend(survey.faults);
    Checked { nodes, edges, faults }
}

/// The sources did not answer in time.
pub(super) fn too_slow() -> RunError {
    RunError::new(Kind::Timeout, "the sources did not tell their columns in time; try again, or look at smaller ones")
}

/// The index of a node in the graph.
pub(super) fn place(graph: &Graph, id: &str) -> Option<usize> {
    graph.nodes.iter().position(|node| node.id == id)
}

/// The columns that a node gives; a target's are those of its table.
fn given(job: &Job, graph: &Graph, survey: &Survey, id: &str) -> Option<Vec<Column>> {
    let index = place(graph, id)?;
    let node = graph.nodes.get(index)?;
    if let NodeConfig::Target(config) = &node.config {
        return Some(targets::fields(job, config));
    }
    let all = Input { node: index, label: None, route: None };
    survey.over(&all).map(|columns| columns.iter().map(Column::from).collect())
}
