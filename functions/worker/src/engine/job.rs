//! What the engine is given, and what it gives back.

use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use serde_json::{Map, Value};
use shared::hosts::AllowedHost;
use shared::models::connector::ConnectorType;
use shared::models::node::TargetConfig;
use shared::models::pipeline::{Edge, ExecutionConfig, Node};
use shared::models::schema::Field;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the deployment gives the engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that `local_fs` may read; `None` turns that connector off.
    pub files_root: Option<PathBuf>,
    /// Hosts that connectors may reach by HTTP although their addresses are private.
    pub http_allowed_hosts: Vec<AllowedHost>,
    /// Where the tables lie.
    pub lake: Lake,
    /// Bytes for the operators of one run, beyond which they spill; 1 GiB unless the deployment says otherwise.
    pub memory_bytes: usize,
    /// Where operators spill and rejects are kept until the run ends; emptied when the worker starts.
    pub scratch: PathBuf,
    /// Partitions worked at once where the pipeline does not say.
    pub cores: usize,
}

/// The root of all tables.
#[derive(Debug, Clone)]
pub struct Lake {
    /// `file:///…` or `s3://bucket/prefix`, without a slash at the end.
    pub url: String,
    /// Options of `object_store` by their names, such as `aws_endpoint`.
    pub options: HashMap<String, String>,
}

/// A connector with its secret in the clear.
#[derive(Clone)]
pub struct Connector {
    pub id: String,
    pub name: String,
    pub kind: ConnectorType,
    /// Of the kind's config type.
    pub config: Map<String, Value>,
    /// Of the auth method's type; never printed.
    pub auth: Option<Map<String, Value>>,
}

/// The schema of a target table.
#[derive(Debug, Clone)]
pub struct TableSchema {
    /// `schema_…`; the table lies at `<lake>/<tenant>/<schema id>`.
    pub id: String,
    /// Its name, for messages.
    pub name: String,
    pub fields: Vec<Field>,
}

/// One run, with everything that it needs resolved.
#[derive(Clone)]
pub struct Job {
    pub tenant_id: String,
    pub run_id: String,
    /// The attempt at it, from 1.
    pub attempt: u32,
    /// The hash of what is run, for the receipt.
    pub definition_hash: String,
    /// Runs that this one is a retry of, newest first.
    pub earlier: Vec<Earlier>,
    /// Never empty: a pipeline without nodes is resolved to source → target.
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    /// The pipeline's connector, for sources that name none.
    pub connector_id: String,
    /// All connectors that the nodes name, and the pipeline's, by id.
    pub connectors: HashMap<String, Connector>,
    /// The pipeline's schema: that of targets that name no other.
    pub schema: TableSchema,
    /// The schemas whose tables targets name, by the name that the target has for it.
    pub tables: HashMap<String, TableSchema>,
    /// What a database's table is called that its target does not name: as the schema, or as it was when the run, or one
    /// that it retries, came to its commit.
    pub table_name: String,
    /// What `${name}` in configs reads.
    pub parameters: Map<String, Value>,
    pub execution: ExecutionConfig,
}

impl Job {
    /// The schema whose fields a target has: a database's table has those of the pipeline's.
    ///
    /// # Errors
    /// `Kind::Definition` where it names one that is not there any more.
    pub fn schema_of(&self, target: &TargetConfig) -> Result<&TableSchema, RunError> {
        match &target.table {
            Some(name) if target.connector_id.is_none() => self.tables.get(name).ok_or_else(|| {
                RunError::new(
                    Kind::Definition,
                    format!("the schema {name:?}, whose table is written, does not exist any more"),
                )
            }),
            _ => Ok(&self.schema),
        }
    }

    /// The name of the table that a target of a database writes.
    pub fn table_of<'a>(&'a self, target: &'a TargetConfig) -> &'a str {
        target.table.as_deref().unwrap_or(&self.table_name)
    }
}

/// A run that a retry comes after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    pub run_id: String,
    /// Whether it ended `completed_with_errors`, so that its rows are to be replaced; otherwise a table that
    /// already has its rows is left as it is.
    pub replace: bool,
}

/// How the engine and the one who called it speak while a run runs.
#[derive(Clone)]
pub struct Hooks {
    /// Counted up while it runs; read by the heartbeat.
    pub progress: Arc<Progress>,
    /// Set when the run must stop: cancelled, timed out, or its lease lost. The engine then answers
    /// `Kind::Cancelled` and has written nothing.
    pub stop: CancellationToken,
    /// Asked once, after all rows are staged, or where all are in, and before the first commit.
    pub gate: Arc<dyn CommitGate>,
}

/// The last question before a commit.
#[async_trait::async_trait]
pub trait CommitGate: Send + Sync {
    /// Moves the run to the stage `committing`.
    ///
    /// # Errors
    /// `Kind::Superseded` or `Kind::Cancelled`: nothing may be committed.
    async fn enter(&self) -> Result<(), RunError>;

    /// The same for a run whose rows are in all its targets already, so that it has counted nothing.
    ///
    /// # Errors
    /// As [`CommitGate::enter`]: the run is not to end as one that came through.
    async fn pass(&self) -> Result<(), RunError>;
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Rows that the sources gave.
    pub rows_in: u64,
    /// Rows that the targets took.
    pub rows_out: u64,
    /// Rejected rows.
    pub failed_rows: u64,
    /// Rows that a load mode left out.
    pub skipped_rows: u64,
    /// What each table took, for the receipt.
    pub targets: Vec<shared::models::receipt::Target>,
    /// Rejected rows as JSON lines of [`crate::engine::progress::RowError`], to be read and removed by the caller.
    pub errors: Option<PathBuf>,
}
