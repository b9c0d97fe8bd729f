//! What a run, a check and a preview plan alike: what is opened, in which order, and what is wrong before a row is read.

use super::compile::{Compiler, Opened};
use super::expressions::Expressions;
use super::graph::{Graph, GraphNode};
use super::job::{Job, Settings};
use super::progress::{NodeCounters, Progress};
use super::session::{self, parallelism};
use super::survey::Survey;
use super::{inputs, lineage, pivots, story};
use crate::error::RunError;
use crate::sources::{self, Past, Source, SourceRequest};
use datafusion::execution::session_state::SessionState;
use shared::models::connector::ConnectorType;
use shared::models::node::{NodeConfig, SourceConfig, TransformOp};
use shared::models::pipeline::Partitioning;
use shared::models::receipt::Input;
use shared::models::schema::Field;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// How much larger the rows of a join's smaller side may become in memory than their files are, with their hash table.
const GROWTH: u64 = 4;
/// How many times as many records a lookup reads as a source where both are sampled: it is of use where most keys are
/// there.
const LOOKED_UP: usize = 10;

/// Targets by the index of their node, with the fields of their tables.
type Targets<'t> = &'t [(usize, &'t [Field])];

/// Plans one job.
pub struct Planner<'a> {
    graph: &'a Graph,
    job: &'a Job,
    settings: &'a Settings,
    progress: &'a Arc<Progress>,
    /// The most records that each source reads, from its beginning; all where none is given.
    most_rows: Option<usize>,
    /// Rows that are left out, by the index of their source.
    past: HashMap<usize, Past>,
    /// All targets, also those that nothing is opened for; only these where it is empty.
    all: Vec<(usize, &'a [Field])>,
}

impl<'a> Planner<'a> {
    /// A planner of `job`, whose graph is `graph`.
    pub fn new(graph: &'a Graph, job: &'a Job, settings: &'a Settings, progress: &'a Arc<Progress>) -> Self {
        Self { graph, job, settings, progress, most_rows: None, past: HashMap::new(), all: Vec::new() }
    }

    /// The same, which reads the first `rows` records of each source only.
    #[must_use]
    pub fn sampling(mut self, rows: usize) -> Self {
        self.most_rows = Some(rows);
        self
    }

    /// The same, which leaves out these rows of sources, by the index of their node.
    #[must_use]
    pub fn past(mut self, past: HashMap<usize, Past>) -> Self {
        self.past = past;
        self
    }

    /// The same, where these are all targets: the types of a source's columns do not depend on which of them have their
    /// rows already.
    #[must_use]
    pub fn among(mut self, all: Vec<(usize, &'a [Field])>) -> Self {
        self.all = all;
        self
    }

    /// Opens what `targets` need and looks over the graph. What is wrong is all in the survey.
    pub async fn look(&self, targets: Targets<'_>, expressions: &Arc<Expressions>) -> (Opened, Survey) {
        let (mut opened, mut faults) = self.open_sources(targets, expressions).await;
        let mut survey = self.compiler(&opened, expressions).survey(self.job);
        // Where it takes reading all rows, pivots are read only if nothing else is wrong.
        if self.most_rows.is_some() || (faults.is_empty() && survey.faults.is_empty()) {
            match self.read_pivots(targets, &mut opened, expressions).await {
                Ok(0) => {}
                Ok(_) => survey = self.compiler(&opened, expressions).survey(self.job),
                Err(fault) => faults.push(fault),
            }
        }
        faults.append(&mut survey.faults);
        survey.faults = faults;
        (opened, survey)
    }

    /// A compiler over what is open.
    pub fn compiler<'c>(&'c self, opened: &'c Opened, expressions: &'c Arc<Expressions>) -> Compiler<'c> {
        let partitioning = self.job.execution.partitioning.clone().unwrap_or(Partitioning::None);
        let parallelism = parallelism(self.job, self.settings);
        Compiler::new(self.graph, opened, expressions, self.progress, partitioning, parallelism)
    }

    /// A session whose joins fit what is opened, and whether they spill.
    ///
    /// # Errors
    /// `Kind::Resources` where the scratch folder cannot be used.
    pub fn session(&self, opened: &Opened, expressions: &Arc<Expressions>) -> Result<(SessionState, bool), RunError> {
        let mut compiler = self.compiler(opened, expressions);
        let (largest, row_bytes) = (compiler.largest_build_side(), compiler.widest_row());
        let spilling = largest.saturating_mul(GROWTH) > self.settings.memory_bytes as u64;
        let mut session = session::open(self.job, self.settings, spilling, row_bytes)?;
        // One instant for all of a run.
        session.execution_props_mut().query_execution_start_time = expressions.now();
        Ok((session, spilling))
    }

    /// Reads the values that become columns, of pivots that do not give them, each after the pivots before it; answers
    /// how many pivots were read. Those that cannot be planned are left out.
    async fn read_pivots(
        &self,
        targets: Targets<'_>,
        opened: &mut Opened,
        expressions: &Arc<Expressions>,
    ) -> Result<usize, RunError> {
        let mut count = 0;
        for index in self.graph.before(&nodes(targets)) {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            let NodeConfig::Pivot(config) = &node.config else { continue };
            let plan = self.compiler(opened, expressions).pivot_values(index, config);
            let Some(plan) = plan.filter(|_| config.pivot_values.is_none()) else { continue };
            let begun = Instant::now();
            let (session, _) = self.session(opened, expressions)?;
            let values = pivots::values(node, config, &plan, &session).await.map_err(|e| e.at(&node.id))?;
            self.progress.log("planning", story::pivoted(node, &config.columns, values.len(), begun.elapsed()));
            opened.pivots.insert(index, values);
            count += 1;
        }
        Ok(count)
    }

    /// Opens the sources and lookups that `targets` need, the left inputs of joins before the right ones, since the
    /// columns of the left decide what those of the right are called.
    async fn open_sources(&self, targets: Targets<'_>, expressions: &Arc<Expressions>) -> (Opened, Vec<RunError>) {
        let (mut opened, mut faults) = (Opened::default(), Vec::new());
        for index in self.graph.before(&nodes(targets)) {
            let Some(node) = self.graph.nodes.get(index).filter(|node| !node.broken) else { continue };
            match &node.config {
                NodeConfig::Source(config) => {
                    let expected = self.expected(targets, (index, None), config, (&opened, expressions));
                    match self
                        .open_source(node, config, &expected, (self.most_rows, self.past.get(&index).cloned()))
                        .await
                    {
                        Ok(source) => {
                            self.note(node, None, config, &source);
                            opened.sources.insert(index, source);
                        }
                        Err(fault) => faults.push(fault.at(&node.id)),
                    }
                }
                NodeConfig::Transform(config) => {
                    for (op, config) in config.ops.iter().enumerate().filter_map(|(at, op)| Some((at, looked_up(op)?)))
                    {
                        let expected = self.expected(targets, (index, Some(op)), &config, (&opened, expressions));
                        match self.open_lookup(node, op, &config, &expected).await {
                            Ok(lookup) => drop(opened.lookups.insert((index, op), lookup)),
                            Err(fault) => faults.push(fault.at(&node.id).within(format!("/config/ops/{op}"))),
                        }
                    }
                }
                _ => {}
            }
        }
        (opened, faults)
    }

    /// What the columns of a source, or of what a lookup reads, are known to become.
    fn expected(
        &self,
        targets: Targets<'_>,
        reader: (usize, Option<usize>),
        config: &SourceConfig,
        (opened, expressions): (&Opened, &Arc<Expressions>),
    ) -> lineage::Wanted {
        let targets = if self.all.is_empty() { targets } else { self.all.as_slice() };
        let id = config.connector_id.as_deref().unwrap_or(&self.job.connector_id);
        let join = match self.job.connectors.get(id).map(|connector| connector.kind) {
            Some(ConnectorType::Mysql) => lineage::both_of_mysql,
            _ => lineage::both,
        };
        let compiler = RefCell::new(self.compiler(opened, expressions));
        let columns = |node: usize| compiler.borrow_mut().columns(node);
        lineage::expected(self.graph, targets, reader, &columns, join)
    }

    /// Opens what a lookup reads. Its rows count as no rows of the run.
    async fn open_lookup(
        &self,
        node: &GraphNode,
        op: usize,
        config: &SourceConfig,
        expected: &lineage::Wanted,
    ) -> Result<(Source, Arc<NodeCounters>), RunError> {
        let total = &self.progress.total_rows;
        let before = total.load(Relaxed);
        let most_rows = self.most_rows.map(|rows| rows * LOOKED_UP);
        let source = self.open_source(node, config, expected, (most_rows, None)).await.map_err(|e| {
            let what = format!("op {} (lookup): ", op + 1);
            RunError { message: format!("{what}{}", e.message), ..e }
        })?;
        total.store(before, Relaxed);
        self.note(node, Some(op), config, &source);
        Ok((source, NodeCounters::new(&node.id, &node.name, node.node_type)))
    }

    /// Notes what was opened for the run's receipt.
    fn note(&self, node: &GraphNode, op: Option<usize>, config: &SourceConfig, source: &Source) {
        let id = config.connector_id.as_deref().unwrap_or(&self.job.connector_id);
        let Some(connector) = self.job.connectors.get(id) else { return };
        let (files, mut database, api, pages) = source.reads().parts();
        // As it is defined: the values of parameters may be secret.
        let defined = self.job.nodes.iter().find(|defined| defined.id == node.id);
        let query = defined.and_then(|defined| defined.config.get("query")?.as_str());
        if let (Some(database), Some(query)) = (&mut database, query) {
            database.query = Some(sources::receipt::short(query));
        }
        let input = Input {
            node_id: node.id.clone(),
            op: op.and_then(|op| u32::try_from(op).ok()),
            attempt: self.job.attempt,
            connector_id: connector.id.clone(),
            connector_type: connector.kind,
            opened_at: self.progress.now(),
            rows: None,
            files,
            database,
            api,
        };
        // The rows of a lookup count as no rows of the run.
        let rows = op.is_none().then(|| Arc::clone(&node.counters));
        self.progress.inputs.add(inputs::Opened { input, rows, pages });
    }

    async fn open_source(
        &self,
        node: &GraphNode,
        config: &SourceConfig,
        expected: &lineage::Wanted,
        (most_rows, past): (Option<usize>, Option<Past>),
    ) -> Result<Source, RunError> {
        let begun = Instant::now();
        let id = config.connector_id.as_deref().unwrap_or(&self.job.connector_id);
        let Some(connector) = self.job.connectors.get(id) else {
            return Err(node.fault(format!("the connector {id:?} does not exist any more")));
        };
        // A lookup reads all of its rows, however those of the sources are divided; a sample reads the first.
        let partitioning = match (&node.config, &self.job.execution.partitioning) {
            (NodeConfig::Source(_), Some(partitioning)) if most_rows.is_none() => partitioning,
            _ => &Partitioning::None,
        };
        let request = SourceRequest {
            node: &node.id,
            connector,
            config,
            expected,
            past,
            parallelism: parallelism(self.job, self.settings),
            batch_size: self.job.execution.batch_size(),
            batch_bytes: session::batch_bytes(self.job, self.settings),
            most_rows,
            partitioning,
        };
        let source = sources::open(request, self.settings, self.progress).await?;
        self.progress.log("planning", story::opened(node, &connector.name, &source.schema(), begun.elapsed()));
        Ok(source)
    }
}

/// What a lookup reads, as a source's config says it; none of another op.
fn looked_up(op: &TransformOp) -> Option<SourceConfig> {
    match op {
        TransformOp::Lookup { connector_id, table, path, .. } => Some(SourceConfig {
            connector_id: Some(connector_id.clone()),
            table: table.clone(),
            path: path.clone(),
            ..SourceConfig::default()
        }),
        _ => None,
    }
}

fn nodes(targets: Targets<'_>) -> Vec<usize> {
    targets.iter().map(|(node, _)| *node).collect()
}

/// All targets of a graph with the fields that their schemas have. Those whose schema is gone are a fault of the graph.
pub fn as_their_schemas_are<'j>(graph: &Graph, job: &'j Job) -> Vec<(usize, &'j [Field])> {
    let targets = graph.targets().filter_map(|index| match &graph.nodes.get(index)?.config {
        NodeConfig::Target(config) => Some((index, job.schema_of(config).ok()?.fields.as_slice())),
        _ => None,
    });
    targets.collect()
}
