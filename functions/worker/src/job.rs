//! What a run needs, read from the store: its pipeline's version, connectors with their secrets, schema, ancestors.

use crate::engine::job::{Connector, Earlier, Job, TableSchema};
use crate::error::{Kind, RunError};
use crate::life::Worker;
use serde_json::{Map, Value};
use shared::models::node::{NodeConfig, NodeType, TargetConfig};
use shared::models::pipeline::{Edge, Node, Pipeline};
use shared::models::run::{Run, RunStatus};
use shared::models::schema::Schema;
use shared::store::keys;
use shared::{canonical, receipt};
use std::collections::HashMap;

/// The most retries of retries that are looked at.
const ANCESTORS: usize = 50;

/// Everything that a run needs.
pub(crate) async fn resolve(worker: &Worker, run: &Run) -> Result<Job, RunError> {
    let store = &worker.services.store;
    let version = store.pipeline_version(&run.tenant_id, &run.pipeline_id, run.pipeline_version).await;
    let pipeline = version.map_err(away)?.ok_or_else(|| {
        RunError::new(
            Kind::Definition,
            format!("version {} of the pipeline is not there any more", run.pipeline_version),
        )
    })?;
    let schema = table_schema(worker, &run.tenant_id, &pipeline.schema_id).await?;
    let tables = tables(worker, &pipeline).await?;
    let connectors = connectors(worker, &pipeline).await?;
    let earlier = earlier(worker, run).await?;
    let (nodes, edges) = graph(&pipeline);
    Ok(Job {
        tenant_id: run.tenant_id.clone(),
        run_id: run.id.clone(),
        attempt: run.attempt,
        definition_hash: canonical::hash(&receipt::definition(&pipeline)),
        earlier,
        nodes,
        edges,
        connector_id: pipeline.connector_id.clone(),
        connectors,
        schema,
        tables,
        parameters: run.parameters.0.clone(),
        execution: pipeline.execution_config.0,
    })
}

/// What a check or a preview of `pipeline` needs, and what of it cannot be had: a connector that is gone, or whose
/// secret cannot be opened.
pub(crate) async fn trial(
    worker: &Worker,
    pipeline: Pipeline,
    parameters: Map<String, Value>,
) -> Result<(Job, Vec<RunError>), RunError> {
    let schema = table_schema(worker, &pipeline.tenant_id, &pipeline.schema_id).await?;
    let tables = tables(worker, &pipeline).await?;
    let (nodes, edges) = graph(&pipeline);
    let ids = pipeline.connectors();
    let stored = worker.services.store.connectors(&pipeline.tenant_id, &ids).await.map_err(away)?;
    let (mut connectors, mut faults) = (HashMap::with_capacity(ids.len()), Vec::new());
    for (id, connector) in &stored {
        match open(worker, connector).await {
            Ok(connector) => {
                connectors.insert(id.clone(), connector);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let job = Job {
        tenant_id: pipeline.tenant_id.clone(),
        run_id: String::new(),
        attempt: 0,
        definition_hash: String::new(),
        earlier: Vec::new(),
        nodes,
        edges,
        connector_id: pipeline.connector_id.clone(),
        connectors,
        schema,
        tables,
        parameters,
        execution: pipeline.execution_config.0.clone(),
    };
    Ok((job, faults))
}

fn away(error: shared::Error) -> RunError {
    tracing::warn!(%error, "what the run needs cannot be read");
    RunError::new(Kind::Internal, "what the run needs could not be read from the store")
}

/// The schema of a run's target.
pub(crate) async fn table_schema(worker: &Worker, tenant: &str, id: &str) -> Result<TableSchema, RunError> {
    let schema: Schema =
        worker.services.store.resource(tenant, keys::Kind::Schema, id).await.map_err(|error| match error {
            shared::Error::NotFound { .. } => {
                RunError::new(Kind::Definition, format!("the schema {id} of the pipeline does not exist any more"))
            }
            other => away(other),
        })?;
    Ok(TableSchema { id: schema.id, name: schema.name, fields: schema.fields.0 })
}

/// The schemas whose tables targets name.
async fn tables(worker: &Worker, pipeline: &Pipeline) -> Result<HashMap<String, TableSchema>, RunError> {
    let mut found = HashMap::new();
    for (name, id) in &pipeline.tables.0 {
        found.insert(name.clone(), table_schema(worker, &pipeline.tenant_id, id).await?);
    }
    Ok(found)
}

/// The tables of the lake that the targets of a pipeline write, each once, with the ids of the nodes.
pub(crate) async fn written(worker: &Worker, pipeline: &Pipeline) -> Result<Vec<(String, TableSchema)>, RunError> {
    let mut ids: Vec<(&str, &str)> = Vec::new();
    let (nodes, _) = graph(pipeline);
    for node in nodes.iter().filter(|node| node.node_type == NodeType::Target) {
        let text = |key: &str| node.config.get(key).and_then(Value::as_str);
        if text("connectorId").is_some() {
            continue;
        }
        let id = text("table").and_then(|name| pipeline.tables.0.get(name)).unwrap_or(&pipeline.schema_id);
        if ids.iter().all(|(_, known)| known != id) {
            ids.push((&node.id, id));
        }
    }
    let mut schemas = Vec::with_capacity(ids.len());
    for (node, id) in ids {
        schemas.push((node.to_owned(), table_schema(worker, &pipeline.tenant_id, id).await?));
    }
    Ok(schemas)
}

/// The databases that a pipeline's targets write, each with its target's node and config.
pub(crate) async fn databases(
    worker: &Worker,
    pipeline: &Pipeline,
) -> Result<Vec<(String, Connector, TargetConfig)>, RunError> {
    let targets = pipeline.nodes.0.iter().filter(|node| node.node_type == NodeType::Target);
    let configs = targets.filter_map(|node| match node.typed() {
        Ok(NodeConfig::Target(config)) if config.connector_id.is_some() => Some((node.id.clone(), config)),
        _ => None,
    });
    let configs: Vec<(String, TargetConfig)> = configs.collect();
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let connectors = connectors(worker, pipeline).await?;
    let found = configs.into_iter().filter_map(|(node, config)| {
        let connector = connectors.get(config.connector_id.as_deref()?)?.clone();
        Some((node, connector, config))
    });
    Ok(found.collect())
}

async fn connectors(worker: &Worker, pipeline: &Pipeline) -> Result<HashMap<String, Connector>, RunError> {
    let ids = pipeline.connectors();
    let stored = worker.services.store.connectors(&pipeline.tenant_id, &ids).await.map_err(away)?;
    let mut found = HashMap::with_capacity(ids.len());
    for id in ids {
        let Some(connector) = stored.get(id) else {
            return Err(RunError::new(Kind::Definition, format!("the connector {id} does not exist any more")));
        };
        found.insert(id.to_owned(), open(worker, connector).await?);
    }
    Ok(found)
}

/// A connector with its secret in the clear.
pub(crate) async fn open(worker: &Worker, c: &shared::models::connector::Connector) -> Result<Connector, RunError> {
    let unreadable = |error: &dyn std::error::Error| {
        tracing::error!(connector = c.id, %error, "a connector's secret cannot be opened");
        RunError::new(Kind::Internal, format!("the secret of the connector {:?} cannot be opened", c.name))
    };
    let auth: Option<Map<String, Value>> = match &c.secret {
        None => None,
        Some(sealed) => {
            let secret = worker.opener.open(&c.tenant_id, &c.id, &sealed.0).await.map_err(|e| unreadable(&e))?;
            Some(serde_json::from_slice(secret.expose()).map_err(|e| unreadable(&e))?)
        }
    };
    Ok(Connector { id: c.id.clone(), name: c.name.clone(), kind: c.r#type, config: c.config.0.clone(), auth })
}

/// The runs that a run retries, newest first.
pub(crate) async fn earlier(worker: &Worker, run: &Run) -> Result<Vec<Earlier>, RunError> {
    let mut earlier = Vec::new();
    let mut next = run.retry_of.clone();
    while let Some(id) = next.take() {
        let found = worker.services.store.find_run(&run.tenant_id, &run.pipeline_id, &id).await.map_err(away)?;
        let Some(before) = found else { break };
        earlier.push(Earlier { run_id: id, replace: before.status == RunStatus::CompletedWithErrors });
        if earlier.len() < ANCESTORS {
            next = before.retry_of;
        }
    }
    Ok(earlier)
}

/// The graph; without nodes it copies the connector's data into the schema, column by column by name.
fn graph(pipeline: &Pipeline) -> (Vec<Node>, Vec<Edge>) {
    if !pipeline.nodes.0.is_empty() {
        return (pipeline.nodes.0.clone(), pipeline.edges.0.clone());
    }
    let node = |id: &str, node_type| Node {
        id: id.to_owned(),
        client_id: None,
        node_type,
        label: None,
        config: Map::new(),
        position: None,
    };
    let edge = Edge { id: "copy".to_owned(), source: "source".to_owned(), target: "target".to_owned(), label: None };
    (vec![node("source", NodeType::Source), node("target", NodeType::Target)], vec![edge])
}
