//! What a run needs, read from the store: its pipeline's version, connectors with their secrets, schema, ancestors.

use crate::engine::job::{Connector, Earlier, Job, TableSchema};
use crate::engine::parameters;
use crate::error::{Kind, RunError};
use crate::life::Worker;
use crate::settle::Silent;
use serde_json::{Map, Value};
use shared::models::node::{self, LoadMode, NodeConfig, NodeType, TargetConfig};
use shared::models::pipeline::{Edge, Node, Pipeline};
use shared::models::run::{Run, RunStatus};
use shared::models::schema::Schema;
use shared::store::keys;
use shared::{canonical, receipt};
use std::collections::HashMap;

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
        table_name: run.table_name.clone().unwrap_or_else(|| schema.name.clone()),
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
        table_name: schema.name.clone(),
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
    let mut schemas = Vec::new();
    for (node, id) in table_ids(pipeline) {
        schemas.push((node, table_schema(worker, &pipeline.tenant_id, &id).await?));
    }
    Ok(schemas)
}

/// The same for whoever asks what a run has done there: a table is still in the lake when its schema was deleted. Such a
/// schema is without fields, and has its id for a name.
pub(crate) async fn ever_written(worker: &Worker, pipeline: &Pipeline) -> Result<Vec<(String, TableSchema)>, RunError> {
    let mut schemas = Vec::new();
    for (node, id) in table_ids(pipeline) {
        schemas.push((node, schema_that_was(worker, &pipeline.tenant_id, id).await?));
    }
    Ok(schemas)
}

/// The schema beside whose table the rejected rows are kept of what goes to databases: the pipeline's, which no target need
/// write. None where no target is in a database.
pub(crate) async fn of_databases(worker: &Worker, pipeline: &Pipeline) -> Result<Option<TableSchema>, RunError> {
    let is_in_one = |node: &Node| {
        node.node_type == NodeType::Target && node.config.get("connectorId").and_then(Value::as_str).is_some()
    };
    let (nodes, _) = graph(pipeline);
    if !nodes.iter().any(is_in_one) {
        return Ok(None);
    }
    schema_that_was(worker, &pipeline.tenant_id, pipeline.schema_id.clone()).await.map(Some)
}

/// The same schema; none also where its table is one of those that are written.
pub(crate) async fn beside_databases(worker: &Worker, pipeline: &Pipeline) -> Result<Option<TableSchema>, RunError> {
    if table_ids(pipeline).iter().any(|(_, id)| *id == pipeline.schema_id) {
        return Ok(None);
    }
    of_databases(worker, pipeline).await
}

/// The schema; one that was deleted is without fields, and has its id for a name.
async fn schema_that_was(worker: &Worker, tenant: &str, id: String) -> Result<TableSchema, RunError> {
    match table_schema(worker, tenant, &id).await {
        Err(error) if error.kind == Kind::Definition => Ok(TableSchema { name: id.clone(), id, fields: Vec::new() }),
        other => other,
    }
}

/// The ids of the schemas of the tables that targets write, each once, with the ids of the nodes.
fn table_ids(pipeline: &Pipeline) -> Vec<(String, String)> {
    let mut ids: Vec<(String, String)> = Vec::new();
    let (nodes, _) = graph(pipeline);
    for node in nodes.iter().filter(|node| node.node_type == NodeType::Target) {
        let text = |key: &str| node.config.get(key).and_then(Value::as_str);
        if text("connectorId").is_some() {
            continue;
        }
        let id = text("table").and_then(|name| pipeline.tables.0.get(name)).unwrap_or(&pipeline.schema_id);
        if ids.iter().all(|(_, known)| known != id) {
            ids.push((node.id.clone(), id.clone()));
        }
    }
    ids
}

/// A table of a database that a target writes.
pub(crate) struct Database {
    /// The target's node.
    pub(crate) node: String,
    pub(crate) connector: Connector,
    pub(crate) table: String,
    pub(crate) mode: LoadMode,
}

impl Database {
    /// The table, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{} in {}", self.table, self.connector.name)
    }
}

/// The tables of databases that a run's targets write; and those of which nobody can ask any more, since what leads to them
/// was deleted, in words. So are those whose secret cannot be opened, where such are left out.
pub(crate) async fn databases(
    worker: &Worker,
    run: &Run,
    pipeline: &Pipeline,
    silent: Silent,
) -> Result<(Vec<Database>, Vec<String>), RunError> {
    let configs: Vec<_> = pipeline.nodes.0.iter().filter_map(|node| in_database(node, run)).collect();
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    if configs.is_empty() {
        return Ok((found, gone));
    }
    let mut ids: Vec<&str> = configs.iter().map(|(_, id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let stored = worker.services.store.connectors(&pipeline.tenant_id, &ids).await.map_err(away)?;
    let name = table_name(worker, run, pipeline).await?;
    for (node, id, config) in configs {
        let table = config.table.as_ref().or(name.as_ref());
        let (Some(connector), Some(table)) = (stored.get(&id), table) else {
            let table = table.map_or_else(|| "a table".to_owned(), |name| format!("the table {name:?}"));
            let what = if stored.contains_key(&id) { &pipeline.schema_id } else { &id };
            gone.push(format!("{table} of a database, which was reached by {what}: that was deleted"));
            continue;
        };
        match open(worker, connector).await {
            Err(error) if silent == Silent::LeftOut => gone.push(format!("the table {table:?}: {}", error.message)),
            connector => {
                let (connector, table) = (connector?, table.clone());
                found.push(Database { node, connector, table, mode: config.load_mode.unwrap_or_default() });
            }
        }
    }
    Ok((found, gone))
}

/// A target that writes a database, with the run's parameters in it, and the ids of its node and its connector; none of any
/// other node.
fn in_database(node: &Node, run: &Run) -> Option<(String, String, TargetConfig)> {
    if node.node_type != NodeType::Target {
        return None;
    }
    let config = parameters::fill_config(node.name(), &node.config, &run.parameters.0).ok()?;
    let Ok(NodeConfig::Target(config)) = node::typed(node.node_type, &config) else { return None };
    Some((node.id.clone(), config.connector_id.clone()?, config))
}

/// What a database's table is called that a run's target does not name; none where it is called as a schema that was deleted.
async fn table_name(worker: &Worker, run: &Run, pipeline: &Pipeline) -> Result<Option<String>, RunError> {
    if run.table_name.is_some() {
        return Ok(run.table_name.clone());
    }
    match table_schema(worker, &pipeline.tenant_id, &pipeline.schema_id).await {
        Err(error) if error.kind == Kind::Definition => Ok(None),
        other => other.map(|schema| Some(schema.name)),
    }
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

/// The runs that a run retries and that may have written something, newest first. All of them, however many there are: rows
/// of one that is forgotten would come in twice.
pub(crate) async fn earlier(worker: &Worker, run: &Run) -> Result<Vec<Earlier>, RunError> {
    let mut earlier = Vec::new();
    let mut next = run.retry_of.clone();
    while let Some(id) = next.take() {
        let found = worker.services.store.find_run(&run.tenant_id, &run.pipeline_id, &id).await.map_err(away)?;
        let Some(before) = found else { break };
        // One that is final and never came to its commit has not written, and cannot any more.
        if before.committing {
            earlier.push(Earlier { run_id: id, replace: before.status == RunStatus::CompletedWithErrors });
        }
        next = before.retry_of;
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
