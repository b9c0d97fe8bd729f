//! One run from its job to its commits: open, plan, stage, check, commit.

use super::accounting;
use super::compile::{Compiler, Opened};
use super::expressions::Expressions;
use super::graph::{Graph, GraphNode};
use super::job::{Hooks, Job, Outcome, Settings, TableSchema};
use super::progress::NodeCounters;
use super::session::{self, parallelism};
use super::{lineage, pivots, story};
use crate::error::{Kind, RunError};
use crate::nodes::tap::{self, drain};
use crate::nodes::validate;
use crate::sources::{self, Past, Source, SourceRequest};
use crate::targets::{self, Target, rejected};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::{NodeConfig, NodeType, SourceConfig, TransformOp};
use shared::models::pipeline::Partitioning;
use shared::models::schema::Field;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// How much larger the rows of a join's smaller side may become in memory than their files are, with their hash table.
const GROWTH: u64 = 4;

/// Executes `job`: reads its sources, brings the rows through the graph, and commits what reaches the targets, each
/// atomically. Where it ends with an error nothing has become visible, unless one of several targets had been
/// committed before the error; a retry fills in the others.
///
/// # Errors
/// `Kind::Definition` with all faults of the pipeline that its columns show; `Kind::Cancelled` on `hooks.stop`; what
/// `hooks.gate` refuses with; what reading and writing end with.
pub async fn execute(job: Job, settings: &Settings, hooks: Hooks) -> Result<Outcome, RunError> {
    let graph = Graph::new(&job, &hooks.progress)?;
    let mut run = Run { graph: &graph, job: &job, settings, hooks: &hooks, targets: Vec::new(), rejected: Vec::new() };
    let result = run.go().await;
    if result.is_err() {
        for target in run.targets.iter_mut().map(|open| &mut open.target).chain(&mut run.rejected) {
            target.abort().await;
        }
    }
    result
}

struct Run<'a> {
    graph: &'a Graph,
    job: &'a Job,
    settings: &'a Settings,
    hooks: &'a Hooks,
    targets: Vec<Open>,
    /// The tables of rejected rows, which are committed before those of the targets.
    rejected: Vec<Target>,
}

/// An open target.
struct Open {
    /// The index of its node.
    node: usize,
    /// Its schema, with the types that its table has.
    schema: TableSchema,
    target: Target,
}

/// What is to be executed for one target.
struct Planned {
    /// The index in [`Run::targets`].
    target: usize,
    plan: Arc<dyn ExecutionPlan>,
}

/// What is to be executed in all.
struct Plans {
    session: SessionState,
    targets: Vec<Planned>,
    /// Inputs of queries that no target's plan reads, since they cannot matter there; read to be counted.
    left_out: Vec<Arc<dyn ExecutionPlan>>,
}

impl Run<'_> {
    async fn go(&mut self) -> Result<Outcome, RunError> {
        let stop = self.hooks.stop.clone();
        let planned = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(stopped()),
            planned = self.prepare() => planned?,
        };
        if let Some(plans) = planned {
            let session = self.stage(plans).await?;
            self.hooks.gate.enter().await?;
            return self.commit(&session).await;
        }
        self.hooks
            .progress
            .log("committing", "The rows of this run are in all its targets already; nothing is read again.");
        let session = session::open(self.job, self.settings, false)?;
        self.commit(&session).await
    }

    /// Opens everything and plans what is to be executed; none where all targets have their rows.
    async fn prepare(&mut self) -> Result<Option<Plans>, RunError> {
        let begun = Instant::now();
        for index in self.graph.targets() {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            let NodeConfig::Target(config) = &node.config else { continue };
            let target = targets::open(self.job, &node.id, config, self.settings).await.map_err(|e| e.at(&node.id))?;
            self.targets.push(Open { node: index, schema: target.schema().clone(), target });
        }
        let open: Vec<usize> =
            self.targets.iter().filter(|open| !open.target.already_committed()).map(|open| open.node).collect();
        if open.is_empty() {
            return Ok(None);
        }
        let expressions = Arc::new(Expressions::new(self.job.parameters.clone()));
        let mut opened = self.open_sources(&open, &expressions).await?;
        self.read_pivots(&open, &mut opened, &expressions).await?;
        let (session, spilling) = self.session(&opened, &expressions)?;
        let compiled = self.compiler(&opened, &expressions).targets(&self.wanted(&open))?;
        let mut targets = Vec::with_capacity(compiled.targets.len());
        let mut tapped = HashSet::new();
        for (index, plan) in open.iter().zip(compiled.targets) {
            let Some(target) = self.targets.iter().position(|open| open.node == *index) else { continue };
            let plan = session.create_physical_plan(&plan).await?;
            tracing::debug!(run = self.job.run_id, plan = %datafusion::physical_plan::displayable(plan.as_ref()).indent(false), "planned");
            tapped.extend(tap::ids(&plan));
            targets.push(Planned { target, plan });
        }
        let mut left_out = Vec::new();
        // From the last to the first, so that what comes before a query is read together with it.
        for (id, plan) in compiled.sql_inputs.into_iter().rev() {
            if !tapped.contains(&id) {
                let plan = session.create_physical_plan(&plan).await?;
                tapped.extend(tap::ids(&plan));
                left_out.push(plan);
            }
        }
        self.hooks.progress.log(
            "planning",
            story::planned(self.graph, parallelism(self.job, self.settings), spilling, begun.elapsed()),
        );
        Ok(Some(Plans { session, targets, left_out }))
    }

    /// A session whose joins fit what is opened, and whether they spill.
    fn session(&self, opened: &Opened, expressions: &Arc<Expressions>) -> Result<(SessionState, bool), RunError> {
        let largest = self.compiler(opened, expressions).largest_build_side();
        let spilling = largest.saturating_mul(GROWTH) > self.settings.memory_bytes as u64;
        let mut session = session::open(self.job, self.settings, spilling)?;
        // One instant for all of a run.
        session.execution_props_mut().query_execution_start_time = expressions.now();
        Ok((session, spilling))
    }

    /// Reads the values that become columns, of pivots that do not give them, each after the pivots before it. Where
    /// that cannot be planned, the faults are found again when all of the graph is.
    async fn read_pivots(
        &self,
        targets: &[usize],
        opened: &mut Opened,
        expressions: &Arc<Expressions>,
    ) -> Result<(), RunError> {
        for index in self.in_order(targets) {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            let NodeConfig::Pivot(config) = &node.config else { continue };
            let plan = self.compiler(opened, expressions).pivot_values(index, config);
            let Some(plan) = plan.filter(|_| config.pivot_values.is_none()) else { continue };
            let begun = Instant::now();
            let (session, _) = self.session(opened, expressions)?;
            let values = pivots::values(node, config, &plan, &session).await.map_err(|e| e.at(&node.id))?;
            self.hooks.progress.log("planning", story::pivoted(node, &config.columns, values.len(), begun.elapsed()));
            opened.pivots.insert(index, values);
        }
        Ok(())
    }

    /// The fields of these targets.
    fn wanted(&self, targets: &[usize]) -> Vec<(usize, &[Field])> {
        let open = self.targets.iter().filter(|open| targets.contains(&open.node));
        open.map(|open| (open.node, open.schema.fields.as_slice())).collect()
    }

    fn compiler<'a>(&'a self, opened: &'a Opened, expressions: &'a Arc<Expressions>) -> Compiler<'a> {
        let partitioning = self.job.execution.partitioning.clone().unwrap_or(Partitioning::None);
        let parallelism = parallelism(self.job, self.settings);
        Compiler::new(self.graph, opened, expressions, &self.hooks.progress, partitioning, parallelism)
    }

    /// Opens the sources and lookups that `targets` need, the left inputs of joins before the right ones, since the
    /// columns of the left decide what those of the right are called.
    async fn open_sources(&self, targets: &[usize], expressions: &Arc<Expressions>) -> Result<Opened, RunError> {
        let mut opened = Opened::default();
        let mut faults = Vec::new();
        for index in self.in_order(targets) {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            match &node.config {
                NodeConfig::Source(config) => {
                    let expected = self.expected(targets, (index, None), &opened, expressions);
                    match self.open_source(node, config, &expected, self.past(targets, index)).await {
                        Ok(source) => drop(opened.sources.insert(index, source)),
                        Err(fault) => faults.push(fault.at(&node.id)),
                    }
                }
                NodeConfig::Transform(config) => {
                    for (op, config) in config.ops.iter().enumerate().filter_map(|(at, op)| Some((at, looked_up(op)?)))
                    {
                        let expected = self.expected(targets, (index, Some(op)), &opened, expressions);
                        match self.open_lookup(node, op, &config, &expected).await {
                            Ok(lookup) => drop(opened.lookups.insert((index, op), lookup)),
                            Err(fault) => faults.push(fault.at(&node.id)),
                        }
                    }
                }
                _ => {}
            }
        }
        super::graph::all_of(faults)?;
        Ok(opened)
    }

    /// What the columns of a source, or of what a lookup reads, are known to become.
    fn expected(
        &self,
        targets: &[usize],
        reader: (usize, Option<usize>),
        opened: &Opened,
        expressions: &Arc<Expressions>,
    ) -> lineage::Wanted {
        let compiler = RefCell::new(self.compiler(opened, expressions));
        let columns = |node: usize| compiler.borrow_mut().columns(node);
        lineage::expected(self.graph, &self.wanted(targets), reader, &columns)
    }

    /// Opens what a lookup reads. Its rows count as no rows of the run.
    async fn open_lookup(
        &self,
        node: &GraphNode,
        op: usize,
        config: &SourceConfig,
        expected: &lineage::Wanted,
    ) -> Result<(Source, Arc<NodeCounters>), RunError> {
        let total = &self.hooks.progress.total_rows;
        let before = total.load(Relaxed);
        let source = self.open_source(node, config, expected, None).await.map_err(|e| {
            let what = format!("op {} (lookup): ", op + 1);
            RunError { message: format!("{what}{}", e.message), ..e }
        })?;
        total.store(before, Relaxed);
        Ok((source, NodeCounters::new(&node.id, &node.name, node.node_type)))
    }

    async fn open_source(
        &self,
        node: &GraphNode,
        config: &SourceConfig,
        expected: &lineage::Wanted,
        past: Option<Past>,
    ) -> Result<Source, RunError> {
        let begun = Instant::now();
        let id = config.connector_id.as_deref().unwrap_or(&self.job.connector_id);
        let Some(connector) = self.job.connectors.get(id) else {
            return Err(node.fault(format!("the connector {id:?} does not exist any more")));
        };
        let request = SourceRequest {
            node: &node.id,
            connector,
            config,
            expected,
            past,
            parallelism: parallelism(self.job, self.settings),
            batch_size: self.job.execution.batch_size(),
        };
        let source = sources::open(request, self.settings, &self.hooks.progress).await?;
        self.hooks.progress.log("planning", story::opened(node, &connector.name, &source.schema(), begun.elapsed()));
        Ok(source)
    }

    /// The rows of a source that its target would leave out, where that can be told by one of the source's columns.
    fn past(&self, targets: &[usize], source: usize) -> Option<Past> {
        self.targets.iter().filter(|open| targets.contains(&open.node)).find_map(|open| {
            let (column, from) = open.target.watermark()?;
            let field = open.schema.fields.iter().find(|field| field.name == column)?;
            let column = lineage::unchanged(self.graph, open.node, field, source)?;
            Some(Past { column, field: field.clone(), from: from.clone() })
        })
    }

    /// The nodes that `targets` need, in the order of a walk that goes left first and visits inputs before consumers.
    fn in_order(&self, targets: &[usize]) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<(usize, bool)> = targets.iter().rev().map(|target| (*target, false)).collect();
        while let Some((index, done)) = open.pop() {
            if done {
                order.push(index);
                continue;
            }
            let Some(node) = self.graph.nodes.get(index).filter(|_| seen.insert(index)) else { continue };
            open.push((index, true));
            let mut inputs: Vec<_> = node.inputs.iter().map(|input| (input.node, false)).collect();
            if node.node_type == NodeType::Join && node.left() == 1 {
                inputs.reverse();
            }
            open.extend(inputs.into_iter().rev());
        }
        order
    }

    /// Streams all rows into files that nobody sees yet, and checks that the counts add up.
    async fn stage(&mut self, plans: Plans) -> Result<SessionState, RunError> {
        let Plans { session, targets: plans, left_out } = plans;
        let (progress, stop) = (&self.hooks.progress, &self.hooks.stop);
        let staged = self.open_nodes(&plans);
        let ran: HashSet<usize> = self.in_order(&staged).into_iter().collect();
        let begun = Instant::now();
        progress.log("reading", story::reading(self.graph, &ran));
        for Planned { target, plan } in plans {
            let Some(open) = self.targets.get_mut(target) else { continue };
            let Some(node) = self.graph.nodes.get(open.node) else { continue };
            let context = session.task_ctx();
            let counters = node.counters.clone();
            open.target
                .stage(plan.clone(), context.clone(), counters, progress.clone(), stop)
                .await
                .map_err(|e| e.at(&node.id))?;
            drain(&plan, &context, stop).await?;
            progress.log("writing", story::staged(node, begun.elapsed()));
        }
        for plan in left_out {
            drain(&plan, &session.task_ctx(), stop).await?;
        }
        if stop.is_cancelled() {
            return Err(stopped());
        }
        accounting::close(self.graph, &ran)?;
        progress.log("writing", story::counted(self.graph, &ran, progress.rejected()));
        for warning in story::warned(self.graph, &ran) {
            progress.log("writing", warning);
        }
        for warning in validate::check_counts(self.graph, &ran)? {
            progress.log("writing", warning);
        }
        let errors = self.job.execution.errors();
        accounting::check_rate(progress, accounting::rows_in(self.graph), errors.max_error_rate)?;
        self.stage_rejected(&session, &staged).await?;
        Ok(session)
    }

    /// Stages the rejected rows, each beside the table of the first target that its node leads to.
    async fn stage_rejected(&mut self, session: &SessionState, staged: &[usize]) -> Result<(), RunError> {
        let progress = &self.hooks.progress;
        if !progress.keeps_rows() {
            return Ok(());
        }
        let rows = progress.finish_rows()?;
        let mut tables: Vec<(TableSchema, HashSet<String>, bool)> = Vec::new();
        let mut seen = HashSet::new();
        for open in &self.targets {
            let above = self.in_order(&[open.node]);
            let nodes = above.iter().filter(|index| seen.insert(**index));
            let nodes = nodes.filter_map(|index| self.graph.nodes.get(*index));
            let nodes: HashSet<String> = nodes.map(|node| node.id.clone()).collect();
            let is_staged = staged.contains(&open.node);
            // What a target that has its rows already rejected was kept with them.
            let nodes = if is_staged { nodes } else { HashSet::new() };
            match tables.iter_mut().find(|(schema, _, _)| schema.id == open.schema.id) {
                Some((_, all, every)) => {
                    all.extend(nodes);
                    *every &= is_staged;
                }
                None => tables.push((open.schema.clone(), nodes, is_staged)),
            }
        }
        for (schema, nodes, all) in tables {
            let kept = rejected::Kept { job: self.job, schema: &schema, nodes, all };
            let context = session.task_ctx();
            let target = rejected::stage(kept, rows.as_deref(), context, self.settings, &self.hooks.stop).await?;
            self.rejected.extend(target);
        }
        Ok(())
    }

    fn open_nodes(&self, plans: &[Planned]) -> Vec<usize> {
        plans.iter().filter_map(|planned| self.targets.get(planned.target)).map(|open| open.node).collect()
    }

    async fn commit(&mut self, session: &SessionState) -> Result<Outcome, RunError> {
        let progress = &self.hooks.progress;
        let nothing_ran = self.targets.iter().all(|open| open.target.already_committed());
        let mut outcome = Outcome { rows_in: accounting::rows_in(self.graph), ..Outcome::default() };
        outcome.failed_rows = progress.rejected();
        for target in &mut self.rejected {
            target.commit(session).await?;
        }
        for open in &mut self.targets {
            let Some(node) = self.graph.nodes.get(open.node) else { continue };
            let begun = Instant::now();
            let ran = !open.target.already_committed();
            let committed = open.target.commit(session).await.map_err(|e| e.at(&node.id))?;
            outcome.rows_out += committed.rows_out;
            outcome.skipped_rows += committed.skipped;
            // A target that had its rows already was not read for again: what was rejected is known from its commit.
            outcome.failed_rows = outcome.failed_rows.max(committed.rejected);
            progress.log(
                "committing",
                story::committed(node, &open.schema.name, committed.rows_out, committed.version, ran, begun.elapsed()),
            );
        }
        // A run that found everything in has read nothing: what its commits say is all that is known.
        if nothing_ran {
            outcome.rows_in = outcome.rows_out + outcome.skipped_rows;
        }
        outcome.errors = progress.finish_errors()?;
        Ok(outcome)
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

fn stopped() -> RunError {
    RunError::new(Kind::Cancelled, "the run was stopped")
}
