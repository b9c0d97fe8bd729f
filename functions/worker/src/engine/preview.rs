//! Runs a job over the first records of its sources, node by node, and shows what each node gives. Nothing is written.

use super::check::{Column, SAMPLE_ROWS, place, too_slow};
use super::compile::{Compiler, Flow, Opened};
use super::expressions::Expressions;
use super::graph::{Graph, GraphNode, Input};
use super::job::{Job, Settings};
use super::plan::{Planner, as_their_schemas_are};
use super::progress::{Progress, RowError, Spooled};
use super::session;
use super::shown::Budget;
use crate::deadline::in_time;
use crate::error::{Kind, RunError};
use crate::nodes::tap::drain;
use crate::targets;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use serde_json::{Map, Value};
use shared::models::node::{NodeConfig, NodeType, TransformOp};
use shared::models::pipeline::{ErrorHandling, Partitioning};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most rows of a node that are kept for those behind it.
const KEPT_ROWS: usize = 10_000;
/// Bytes of a node's rows, beyond which no more are kept.
const KEPT_BYTES: usize = 16 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The most rows shown of a node.
    pub rows: usize,
    /// The id of the only node that is wanted; all where none is given.
    pub node: Option<String>,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// What a node gives.
#[derive(Debug)]
pub struct NodeSample {
    pub id: String,
    pub columns: Vec<Column>,
    /// The first rows, as objects by column.
    pub rows: Vec<Map<String, Value>>,
    pub rows_in: u64,
    pub rows_out: u64,
    /// The first rejected rows.
    pub rejected: Vec<RowError>,
    /// What this sample does not show.
    pub note: Option<String>,
}

/// What came of a preview.
#[derive(Debug, Default)]
pub struct Preview {
    /// The nodes that could be worked, in the graph's order.
    pub nodes: Vec<NodeSample>,
    pub faults: Vec<RunError>,
}

/// Runs `job` over samples of its sources.
///
/// # Errors
/// `Kind::Resources` where the scratch folder cannot be used. What is wrong with the job is in the answer's faults.
pub async fn preview(
    job: &Job,
    settings: &Settings,
    clock: shared::clock::Clock,
    ask: &Ask,
) -> Result<Preview, RunError> {
    let spool = settings.scratch.join(format!("preview-{}.rejected", uuid::Uuid::new_v4().simple()));
    let progress = Progress::new(ErrorHandling::default(), spool.clone(), clock);
    let result = sampled(job, settings, &progress, ask).await;
    let _ = tokio::fs::remove_file(&spool).await;
    result
}

async fn sampled(job: &Job, settings: &Settings, progress: &Arc<Progress>, ask: &Ask) -> Result<Preview, RunError> {
    let (graph, faults) = match Graph::read(job, progress) {
        Ok(read) => read,
        Err(fault) => return Ok(Preview { faults: vec![fault], ..Preview::default() }),
    };
    let mut preview = Preview { nodes: Vec::new(), faults };
    let expressions = session::expressions(job, settings);
    let targets = as_their_schemas_are(&graph, job);
    let planner = Planner::new(&graph, job, settings, progress).sampling(SAMPLE_ROWS);
    let Some((opened, survey)) = in_time(ask.deadline, planner.look(&targets, &expressions)).await else {
        preview.faults.push(too_slow());
        return Ok(preview);
    };
    preview.faults.extend(survey.faults);
    let mut small = job.clone();
    small.execution.parallelism = Some(1);
    small.execution.batch_size = Some(SAMPLE_ROWS as u32);
    let mut session = session::open(&small, settings, false, 0)?;
    session.execution_props_mut().query_execution_start_time = expressions.now();
    let mut sampler = Sampler {
        job,
        graph: &graph,
        opened: &opened,
        expressions: &expressions,
        progress,
        session,
        known: HashMap::new(),
        budget: Budget::default(),
        ask,
    };
    sampler.work(&mut preview).await;
    let rejected = rejected(progress)?;
    for node in &mut preview.nodes {
        node.rejected = rejected.iter().filter(|row| row.node == node.id).take(ask.rows).cloned().collect();
    }
    Ok(preview)
}

/// Works the nodes one after the other, each over the kept rows of those before it.
struct Sampler<'a> {
    job: &'a Job,
    graph: &'a Graph,
    opened: &'a Opened,
    expressions: &'a Arc<Expressions>,
    progress: &'a Arc<Progress>,
    session: SessionState,
    /// What edges gave.
    known: HashMap<Input, Kept>,
    budget: Budget,
    ask: &'a Ask,
}

/// The rows that an edge gave.
#[derive(Clone)]
struct Kept {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Whether there were more.
    cut: bool,
}

impl Sampler<'_> {
    async fn work(&mut self, preview: &mut Preview) {
        let only = self.ask.node.as_deref().and_then(|id| place(self.graph, id));
        let wanted: Vec<usize> = only.map_or_else(|| (0..self.graph.nodes.len()).collect(), |index| vec![index]);
        let needed: HashSet<usize> = self.graph.before(&wanted).into_iter().collect();
        for (index, node) in self.graph.nodes.iter().enumerate().filter(|(index, _)| needed.contains(index)) {
            match in_time(self.ask.deadline, self.node(index, node)).await {
                Some(Ok(Some(sample))) if only.is_none_or(|only| only == index) => preview.nodes.push(sample),
                Some(Ok(_)) => {}
                // Faults of the definition have all been told before.
                Some(Err(fault)) if fault.kind == Kind::Definition && !preview.faults.is_empty() => {}
                Some(Err(fault)) => preview.faults.push(fault.at(&node.id)),
                None => {
                    let why = format!(
                        "node {:?}: the preview came to its time limit here; nodes behind it are not shown",
                        node.name
                    );
                    preview.faults.push(RunError::new(Kind::Timeout, why).at(&node.id));
                    return;
                }
            }
            self.forget(index, &needed);
        }
    }

    /// Drops rows that nobody behind `done` needs.
    fn forget(&mut self, done: usize, needed: &HashSet<usize>) {
        let graph = self.graph;
        self.known.retain(|input, _| {
            let later = graph.nodes.iter().enumerate().skip(done + 1).filter(|(index, _)| needed.contains(index));
            later.flat_map(|(_, node)| &node.inputs).any(|wanted| wanted == input)
        });
    }

    /// What a node gives; none where something before it is faulty.
    async fn node(&mut self, index: usize, node: &GraphNode) -> Result<Option<NodeSample>, RunError> {
        if node.broken || node.inputs.iter().any(|input| !self.known.contains_key(input)) {
            return Ok(None);
        }
        if let NodeConfig::Target(config) = &node.config {
            let Some(kept) = node.inputs.first().and_then(|input| self.known.get(input)) else { return Ok(None) };
            let coming = targets::Sample { schema: &kept.schema, batches: &kept.batches };
            let reporting = (Arc::clone(&node.counters), Arc::clone(self.progress));
            let pool = self.session.runtime_env().memory_pool.clone();
            let rows = targets::sample(self.job, config, &coming, reporting, &pool)?;
            let mut sample = self.shown(node, &rows.schema(), &[rows], false)?;
            sample.columns = targets::fields(self.job, config);
            return Ok(Some(sample));
        }
        let mut all: Option<Kept> = None;
        for (nth, route) in self.routes(index).into_iter().enumerate() {
            let mut compiler = self.compiler()?;
            // The first way that counts counts the rows of all of them.
            let way = Input { node: index, label: None, route: route.clone() };
            let Some(flow) = compiler.flow(&way, nth == 0) else {
                return RunError::all(compiler.faults).map_or(Ok(None), Err);
            };
            let kept = self.execute(&flow.plan).await?;
            match &mut all {
                None => all = Some(kept.clone()),
                Some(all) => {
                    all.batches.extend(kept.batches.iter().cloned());
                    all.cut |= kept.cut;
                }
            }
            self.keep(index, route.as_deref(), &kept);
        }
        let Some(kept) = all else { return Ok(None) };
        self.shown(node, &kept.schema, &kept.batches, kept.cut).map(Some)
    }

    /// The routes over which rows leave a node: none by name, or those of a branch that edges name.
    fn routes(&self, index: usize) -> Vec<Option<String>> {
        let mut routes: Vec<Option<String>> = Vec::new();
        for input in self.leaving(index) {
            if !routes.contains(&input.route) {
                routes.push(input.route.clone());
            }
        }
        if routes.is_empty() { vec![None] } else { routes }
    }

    /// The edges that leave a node.
    fn leaving(&self, index: usize) -> impl Iterator<Item = &Input> {
        self.graph.nodes.iter().flat_map(|node| &node.inputs).filter(move |input| input.node == index)
    }

    fn keep(&mut self, index: usize, route: Option<&str>, kept: &Kept) {
        let inputs: Vec<Input> = self.leaving(index).filter(|input| input.route.as_deref() == route).cloned().collect();
        self.known.extend(inputs.into_iter().map(|input| (input, kept.clone())));
    }

    /// A compiler to which the nodes before are tables of what they gave.
    fn compiler(&self) -> Result<Compiler<'_>, RunError> {
        let mut compiler =
            Compiler::new(self.graph, self.opened, self.expressions, self.progress, Partitioning::None, 1);
        for (input, kept) in &self.known {
            let plan = scanned(input, kept)?;
            let bytes = kept.batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
            compiler.known.insert(input.clone(), Some(Flow { plan, bytes: Some(bytes as u64) }));
        }
        Ok(compiler)
    }

    async fn execute(&self, plan: &LogicalPlan) -> Result<Kept, RunError> {
        let plan = session::physical(&self.session, plan).await?;
        let context = self.session.task_ctx();
        let mut kept = Kept { schema: plan.schema(), batches: Vec::new(), rows: 0, cut: false };
        let mut bytes = 0;
        let mut stream = execute_stream(plan.clone(), context.clone())?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if kept.rows >= KEPT_ROWS || bytes >= KEPT_BYTES {
                kept.cut = true;
                return Ok(kept);
            }
            let batch = batch.slice(0, batch.num_rows().min(KEPT_ROWS - kept.rows));
            bytes += batch.get_array_memory_size();
            kept.rows += batch.num_rows();
            kept.batches.push(batch);
        }
        drop(stream);
        // Where an operator stopped early, the counts of its inputs are completed.
        drain(&plan, &context, &CancellationToken::new()).await?;
        Ok(kept)
    }

    fn shown(
        &mut self,
        node: &GraphNode,
        schema: &SchemaRef,
        batches: &[RecordBatch],
        cut: bool,
    ) -> Result<NodeSample, RunError> {
        let rows = self.budget.rows(schema, batches, self.ask.rows);
        let rows = rows.map_err(|e| RunError::new(Kind::Internal, format!("a row cannot be shown: {e}")))?;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let (rows_in, rows_out) = (count(&node.counters.rows_in), count(&node.counters.rows_out));
        let there_are: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let note = if cut {
            Some(format!("The rows are cut at {there_are}; there were more."))
        } else if rows.len() < there_are.min(self.ask.rows) {
            Some("Not all of these rows are shown, since the answer would be too large.".to_owned())
        } else if node.node_type == NodeType::Join && rows_in > 0 && rows_out == 0 {
            Some("No rows of the two samples meet; those of the whole sources may.".to_owned())
        } else if looks_up(node) {
            Some("It looks things up among the first 10,000 rows of what it reads.".to_owned())
        } else if matches!(&node.config, NodeConfig::Pivot(config) if config.pivot_values.is_none()) {
            Some("Its columns are the values of the sample; a run reads all of them.".to_owned())
        } else {
            None
        };
        let fields = schema.fields().iter().filter(|field| field.name() != super::progress::ROW_COLUMN);
        let columns = fields.map(Column::from).collect();
        Ok(NodeSample { id: node.id.clone(), columns, rows, rows_in, rows_out, rejected: Vec::new(), note })
    }
}

fn looks_up(node: &GraphNode) -> bool {
    match &node.config {
        NodeConfig::Transform(config) => config.ops.iter().any(|op| matches!(op, TransformOp::Lookup { .. })),
        _ => false,
    }
}

/// The rows of an edge as a table; its columns have plain names.
fn scanned(input: &Input, kept: &Kept) -> Result<LogicalPlan, RunError> {
    // Operators differ in what they say about nulls, and a table insists on what was said.
    let fields = kept.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches = kept.batches.iter().map(|batch| {
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&schema), batch.columns().to_vec(), &rows)
    });
    let batches = batches.collect::<Result<Vec<_>, _>>().map_err(|e| {
        RunError::new(Kind::Internal, format!("the rows of a sample do not have the columns that were planned: {e}"))
    })?;
    let table = MemTable::try_new(schema, vec![batches])?;
    let name = format!("sample_{}", input.node);
    let plan = LogicalPlanBuilder::scan(name.as_str(), provider_as_source(Arc::new(table)), None)?;
    let columns = kept.schema.fields().iter().map(|field| {
        let qualified = datafusion::common::Column::new(Some(name.as_str()), field.name());
        datafusion::logical_expr::Expr::Column(qualified).alias(field.name())
    });
    Ok(plan.project(columns.collect::<Vec<_>>())?.build()?)
}

/// All rejected rows.
fn rejected(progress: &Progress) -> Result<Vec<RowError>, RunError> {
    let Some(path) = progress.finish_errors()? else { return Ok(Vec::new()) };
    read(&path).map_err(|e| RunError::new(Kind::Resources, format!("the rejected rows cannot be read again: {e}")))
}

fn read(path: &Path) -> std::io::Result<Vec<RowError>> {
    let text = std::fs::read_to_string(path)?;
    let rows = text.lines().map(|line| serde_json::from_str(line).map_err(std::io::Error::other));
    let mut rows: Vec<Spooled> = rows.collect::<std::io::Result<_>>()?;
    rows.sort_by_key(Spooled::place);
    Ok(rows.into_iter().map(|row| row.error).collect())
}
