//! Pipelines that are tried out before they are saved or run: all that is wrong with them, and what a sample becomes.

use crate::deadline::{Deadline, in_time};
use crate::engine::check::{Checked, Column};
use crate::engine::job::Job;
use crate::engine::preview::{Ask, NodeSample};
use crate::engine::{check, preview, survey};
use crate::error::RunError;
use crate::job;
use crate::life::Worker;
use crate::room::{ANSWER, BESIDE, Room};
use serde_json::{Value, json};
use shared::check::pipeline::{Graph, NodeInput};
use shared::check::trial::Trial;
use shared::check::{self as bodies, Body};
use shared::context::Context;
use shared::http::{Request, Response};
use shared::models::pipeline::{Edge, Node, Pipeline};
use shared::models::time::JsonText;
use shared::store::keys::Kind;
use shared::{Error, Fault, Result, pipelines};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The note of a node that has no room in a preview's answer for all that stands beside its rows.
const CUT: &str = "Not all of its columns and rejected rows are shown, since the answer would be too large; `nodeId` asks for one node alone.";

/// What is asked for.
pub(crate) struct Input {
    pipeline: String,
    body: Body,
}

/// Reads either request.
pub(crate) fn read(request: &Request) -> Result<Input> {
    Ok(Input { pipeline: request.param("id").to_owned(), body: request.optional_json()? })
}

/// What is tried out: a job, and the faults that were found on the way to it.
struct Ready {
    job: Job,
    /// Whether the pipeline has no nodes of its own.
    copies: bool,
    /// The ids of stored edges, in their order.
    edges: Vec<Option<String>>,
    faults: Vec<RunError>,
    trial: Trial,
}

/// `POST /api/v1/pipelines/{id}/validate`.
pub(crate) async fn validate(
    worker: Arc<Worker>,
    context: Context,
    input: Input,
    longest: Duration,
) -> Result<Response> {
    let deadline = Deadline::new(&context, longest).end;
    let ready = ready(&worker, &context, &input, bodies::trial::validate(&input.body));
    let ready = by(deadline, ready).await?;
    let mut checked = check::check(&ready.job, &worker.settings, context.clock.clone(), deadline).await;
    let mut faults = ready.faults.clone();
    faults.append(&mut checked.faults);
    let valid = faults.is_empty();
    let mut room = Room::new(ANSWER);
    let faults = told(&ready, faults, &mut room);
    let nodes = nodes(&ready, &checked, &mut room);
    let edges = edges(&ready, &checked, &mut room);
    Response::ok(&json!({
        "valid": valid,
        "faults": faults,
        "nodes": nodes,
        "edges": edges,
        "shortened": room.has_refused(),
    }))
}

/// `POST /api/v1/pipelines/{id}/preview`.
pub(crate) async fn preview(
    worker: Arc<Worker>,
    context: Context,
    input: Input,
    longest: Duration,
) -> Result<Response> {
    // What is at work then comes to an end of its own.
    let deadline = Deadline::new(&context, longest).early;
    let ready = ready(&worker, &context, &input, bodies::trial::sample(&input.body));
    let ready = by(deadline, ready).await?;
    let node = ready.trial.node_id.as_deref().map(|id| named(&ready.job, id)).transpose()?;
    let ask = Ask { rows: ready.trial.limit, node, deadline };
    let preview = preview::preview(&ready.job, &worker.settings, context.clock.clone(), &ask).await;
    let preview = preview.map_err(|error| Error::Unavailable { what: "the preview", source: error.into() })?;
    let mut faults = ready.faults.clone();
    faults.extend(preview.faults);
    let mut room = Room::new(BESIDE);
    let faults = told(&ready, faults, &mut room);
    let in_order = ready.job.nodes.iter().filter_map(|node| preview.nodes.iter().find(|sample| sample.id == node.id));
    let nodes: Vec<Value> = in_order.map(|sample| shown(&ready.job, sample, &mut room)).collect();
    Response::ok(&json!({"nodes": nodes, "faults": faults, "shortened": room.has_refused()}))
}

/// What is tried out, if all of it is read by then.
async fn by(deadline: Instant, ready: impl Future<Output = Result<Ready>>) -> Result<Ready> {
    let late = || Err(Error::TimedOut("reading what the pipeline names took too long; ask again".to_owned()));
    in_time(deadline, ready).await.unwrap_or_else(late)
}

/// The pipeline as it is stored, with what the body puts in the place of it, after the checks of a save.
async fn ready(
    worker: &Worker,
    context: &Context,
    input: &Input,
    (trial, mut faults): (Option<Trial>, Vec<Fault>),
) -> Result<Ready> {
    let stored = pipelines::if_there(context.store.pipeline(context.tenant(), &input.pipeline).await)?;
    let (tables, named) = pipelines::check(context, &bodies::trial::change(&input.body), stored.as_ref()).await?;
    faults.extend(named);
    let trial = bodies::finish(trial, faults)?;
    let stored = stored.ok_or_else(|| Error::not_found(Kind::Pipeline.name(), input.pipeline.as_str()))?;
    let mut pipeline = tried(stored, &trial);
    pipeline.tables = JsonText(tables);
    let edges = match &trial.graph {
        Some(_) => trial.edge_ids.clone(),
        None => pipeline.edges.0.iter().map(|edge| Some(edge.id.clone())).collect(),
    };
    let copies = pipeline.nodes.0.is_empty();
    let (job, faults) = job::trial(worker, pipeline, trial.parameters.clone())
        .await
        .map_err(|error| Error::Unavailable { what: "the store", source: error.into() })?;
    Ok(Ready { job, copies, edges, faults, trial })
}

fn tried(mut pipeline: Pipeline, trial: &Trial) -> Pipeline {
    if let Some(id) = &trial.connector_id {
        pipeline.connector_id.clone_from(id);
    }
    if let Some(id) = &trial.schema_id {
        pipeline.schema_id.clone_from(id);
    }
    if let Some(Graph { nodes, edges }) = &trial.graph {
        let edges = edges.iter().map(|edge| Edge {
            id: String::new(),
            source: edge.source.clone(),
            target: edge.target.clone(),
            label: edge.label.clone(),
        });
        let nodes = nodes.iter().map(|node| unsaved(node, &pipeline.nodes.0)).collect();
        (pipeline.nodes, pipeline.edges) = (JsonText(nodes), JsonText(edges.collect()));
    }
    pipeline
}

/// A node under the id that it was sent with, by which the sender knows it.
fn unsaved(node: &NodeInput, stored: &[Node]) -> Node {
    let before = stored.iter().find(|stored| stored.id == node.id);
    Node {
        id: node.id.clone(),
        client_id: before.map_or_else(|| Some(node.id.clone()), |stored| stored.client_id.clone()),
        node_type: node.node_type,
        label: node.label.clone(),
        config: node.config.clone(),
        position: node.position,
    }
}

/// The id of the node that a caller means.
fn named(job: &Job, id: &str) -> Result<String> {
    let by_id = job.nodes.iter().find(|node| node.id == id);
    let found = by_id.or_else(|| job.nodes.iter().find(|node| node.client_id.as_deref() == Some(id)));
    found.map(|node| node.id.clone()).ok_or_else(|| {
        let known: Vec<&str> = job.nodes.iter().map(|node| node.client_id.as_deref().unwrap_or(&node.id)).collect();
        let near = shared::error::nearest(id, known.iter().copied());
        let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        Error::fault("/nodeId", "not_found", format!("the pipeline has no node {id:?}{hint}"))
    })
}

/// The first faults, as many as there is room for.
fn told(ready: &Ready, faults: Vec<RunError>, room: &mut Room) -> Vec<Value> {
    let told = survey::told(&ready.job, ready.copies, faults);
    let value = |fault: survey::Told| json!({"pointer": fault.pointer, "code": fault.code, "detail": fault.detail, "nodeId": fault.node});
    told.into_iter().map(value).take_while(|fault| room.take(fault)).collect()
}

fn nodes(ready: &Ready, checked: &Checked, room: &mut Room) -> Vec<Value> {
    let columns = checked.nodes.iter().map(Option::as_deref).chain(std::iter::repeat(None));
    let nodes = ready.job.nodes.iter().zip(columns);
    nodes
        .map(|(node, columns)| {
            let columns = with_room(columns, room);
            json!({"id": node.id, "clientId": node.client_id, "columns": columns})
        })
        .collect()
}

fn edges(ready: &Ready, checked: &Checked, room: &mut Room) -> Vec<Value> {
    let columns = checked.edges.iter().map(Option::as_deref).chain(std::iter::repeat(None));
    let ids = ready.edges.iter().cloned().chain(std::iter::repeat(None));
    let edges = ready.job.edges.iter().zip(ids).zip(columns);
    edges
        .map(|((edge, id), columns)| {
            let columns = with_room(columns, room);
            json!({"id": id, "source": edge.source, "target": edge.target, "label": edge.label, "columns": columns})
        })
        .collect()
}

/// The columns, where there is room for all of them: some would be taken for all.
fn with_room<'c>(columns: Option<&'c [Column]>, room: &mut Room) -> Option<&'c [Column]> {
    columns.filter(|columns| room.take(columns))
}

fn shown(job: &Job, sample: &NodeSample, room: &mut Room) -> Value {
    let client_id = job.nodes.iter().find(|node| node.id == sample.id).and_then(|node| node.client_id.as_deref());
    let columns = with_room(Some(sample.columns.as_slice()), room).unwrap_or_default();
    let rejected = sample.rejected.iter();
    let rejected: Vec<Value> = rejected
        .map(|row| json!({"row": row.row, "column": row.column, "value": row.value, "error": row.error}))
        .take_while(|row| room.take(row))
        .collect();
    let is_cut = columns.len() < sample.columns.len() || rejected.len() < sample.rejected.len();
    let notes: Vec<&str> = sample.note.as_deref().into_iter().chain(is_cut.then_some(CUT)).collect();
    let note = (!notes.is_empty()).then(|| notes.join(" "));
    json!({
        "id": sample.id,
        "clientId": client_id,
        "columns": columns,
        "rows": sample.rows,
        "rowsIn": sample.rows_in,
        "rowsOut": sample.rows_out,
        "rejected": rejected,
        "sampled": true,
        "note": note,
    })
}
